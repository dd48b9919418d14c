"""`benchmarks.swarm` and `.efficiency` from options to files, with a stand-in of known figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import efficiency, swarm
from benchmarks.experiment import runs
from benchmarks.experiment.program import end

# A swarm whose accuracy grows by a hundredth per round and node, and whose reward is ten and one
# more per foreign rollout.
PROGRAM = """
import json, pathlib, sys
def asked(name, default="0"):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default
sets = dict(each.split("=") for each in sys.argv if "=" in each)
nodes, rounds, every = (int(asked(name)) for name in ("--nodes", "--rounds", "--evaluate-every"))
marks = [*range(every, rounds, every), rounds]
reward = 10.0 + float(sets.get("training.external", 0))
pathlib.Path(asked("--report"), "report.json").write_text(json.dumps({
    "wall_s": 1.0, "eval_before": 0.3, "eval_after": 0.9,
    "cumulative_reward": reward, "reward_per_round": [reward / rounds] * rounds,
    "curve": {"rounds": marks, "accuracy": [min(0.9, 0.3 + 0.01 * nodes * mark) for mark in marks],
              "generated_tokens": [50.0 * mark for mark in marks], "cpu_s": [0.1 * mark for mark in marks]},
    "generated_tokens": 1, "zero_advantage_share": 0.5, "groups_trained_own": 1, "groups_trained_foreign": 1,
    "rounds_per_node": [rounds] * nodes, "digest": "00",
}))
"""


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SWARMD", (sys.executable, "-c", PROGRAM))


@dataclass(frozen=True)
class Said:
    exit_code: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(program: ModuleType, *arguments: object) -> Said:
        code: int | str | None = 0
        try:
            end(lambda: program.main([str(each) for each in arguments]))
        except SystemExit as ended:
            code = ended.code
        return Said(code, *capsys.readouterr())

    return run


def test_the_papers_table_is_made_once(tmp_path: Path, bench: Callable[..., Said]) -> None:
    asked = (swarm, "--seeds", "1,2", "--rounds", 24, "--rows", "4/4,alone", "--out", tmp_path)
    said = bench(*asked)
    assert said.exit_code == 0, said.stderr
    assert said.stderr.count("run ") == 6, "8/0 is always beside what is asked for"
    table = json.loads((tmp_path / "table.json").read_text())
    assert list(table["rows"]) == ["8/0", "4/4", "alone"]
    row = table["rows"]["4/4"]
    assert (row["ratio"]["mean"], row["ratio"]["spread"], row["paper_ratio"]) == (1.4, 0.0, 1.946)
    assert row["settings"]["training.external"] == "4"
    for picture in ("curves.png", "8-0.png", "4-4.png", "alone.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    again = bench(*asked, "--json")
    assert again.stderr == ""
    assert json.loads(again.stdout) == table


def test_an_unknown_row_is_refused(tmp_path: Path, bench: Callable[..., Said]) -> None:
    refused = bench(swarm, "--rows", "9/9", "--out", tmp_path)
    assert refused.exit_code == 3
    assert "there is no configuration 9/9; there are 8/0, 6/2" in refused.stderr


def test_efficiency_of_a_swarm_that_shares_everything_is_one(tmp_path: Path, bench: Callable[..., Said]) -> None:
    asked = (efficiency, "--seeds", "1", "--nodes", "1,4", "--target", "0.5", "--opponent", "--out", tmp_path)
    said = bench(*asked)
    assert said.exit_code == 0, said.stderr
    result = json.loads((tmp_path / "efficiency.json").read_text())
    one, four, *lone = result["rows"]
    assert one["tokens"]["mean"] == pytest.approx(1000)
    assert four["efficiency"]["mean"] == 1.0
    assert four["cpu_of_best_lone"]["mean"] == 0.25
    assert len(lone) == 14
    assert bench(efficiency, "--nodes", "1,0").exit_code == 2
