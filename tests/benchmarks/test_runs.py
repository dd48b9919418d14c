"""Finished runs survive: a run in the file is never repeated, even if the file's end is damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.experiment import runs
from swarm.errors import ChildDied

# Stands for swarmd: its report says what it was asked, and it fails on request.
PROGRAM = """
import json, pathlib, sys
if "fail" in sys.argv:
    sys.exit("Error: it cannot be done")
report = pathlib.Path(sys.argv[sys.argv.index("--report") + 1], "report.json")
report.write_text(json.dumps({"asked": sys.argv[1], "wall_s": 0.5, "long": [0] * 1000}))
"""


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SWARMD", (sys.executable, "-c", PROGRAM))


def make(path: Path, *commands: str, jobs: int = 1) -> tuple[dict[runs.Command, dict[str, object]], int]:
    said: list[str] = []
    return runs.make([(each,) for each in commands], path, ("asked", "wall_s"), jobs, said.append), len(said)


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.jsonl"
    reports, made = make(path, "one", "two", "one", jobs=2)
    assert reports == {(name,): {"asked": name, "wall_s": 0.5} for name in ("one", "two")}, "of a report what is kept"
    assert made == 2
    reports, made = make(path, "two", "three")
    assert made == 1
    assert set(reports) == {("one",), ("two",), ("three",)}


def test_a_line_that_was_cut_off_costs_that_run_only(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    make(path, "one", "two")
    path.write_text(path.read_text()[:-9])
    assert make(path, "one", "two")[1] == 1
    assert make(path, "one", "two")[1] == 0
    assert [json.loads(line)["command"] for line in path.read_text().splitlines() if line.endswith("}")] == [["one"], ["two"]]


def test_a_failed_run_is_told_with_its_words_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with pytest.raises(ChildDied, match="swarmd fail ended with code 1: Error: it cannot be done"):
        make(path, "one", "fail", "two")
    assert ("one",) in runs.finished(path)
