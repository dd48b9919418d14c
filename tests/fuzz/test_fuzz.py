"""The fuzzer finds planted faults, and none in the real readers; `make soak` runs it for long."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz import gate, streams, wire
from fuzz.engine import guided_report, run_plain
from fuzz.mutation import mutated
from fuzz.target import MEASURE_EVERY, Target, refusing
from protocols.codec import decode
from protocols.reasons import ProtocolError, Reason

ROOT = Path(__file__).parents[2]


def found(target: Target, runs: int) -> list[dict[str, str]]:
    faults = io.StringIO()
    run_plain(target, runs, 1, faults)
    return [json.loads(line) for line in faults.getvalue().splitlines()]


@pytest.mark.parametrize("target", [*wire.TARGETS, *streams.TARGETS, *gate.TARGETS], ids=lambda target: target.name)
def test_nothing_is_found(target: Target) -> None:
    assert found(target, round(300 / target.cost)) == []


def test_a_fault_is_noted_once_with_its_input() -> None:
    def read(data: bytes) -> None:
        if data.startswith(b"a"):
            raise KeyError("planted")
        raise ProtocolError(Reason.MALFORMED, "refused as it should be")

    (fault,) = found(Target("planted", lambda: (refusing(read), [b"abc"])), 500)
    assert (fault["error"], fault["input"][:2]) == ("KeyError", "61")


def test_an_allocation_beyond_the_limit_is_found() -> None:
    def read(data: bytes) -> None:
        bytes(10_000_000)

    (fault,) = found(Target("planted", lambda: (refusing(read), [b"abc"])), MEASURE_EVERY + 1)
    assert "were allocated" in fault["message"]


def test_values_are_mutated_as_values() -> None:
    """Most mutants of a value are values, so that the fuzzer gets past the codec."""
    random = Random(1)
    (seed, *_) = wire.recipe()[1]
    good = 0
    for _ in range(200):
        try:
            decode(mutated(seed, random), 10_000)
            good += 1
        except ProtocolError:
            pass
    assert 100 < good < 200


def test_the_command_prints_json() -> None:
    line = [sys.executable, "-m", "fuzz", "--runs", "200", "--engine", "plain", "--target", "codec", "--target", "envelope"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["crashes"] == 0
    assert [each["target"] for each in report["targets"]] == ["codec", "envelope"]
    assert report["runs"] == 200


def test_what_libfuzzer_says_is_read() -> None:
    said = "#2\tINITED cov: 4 ft: 4 corp: 1/1b\n#5000\tDONE   cov: 77 ft: 378 corp: 73/5Kb exec/s: 0 rss: 61Mb\n"
    report = guided_report(said + "Done 5000 runs in 2 second(s)\n")
    assert (report["runs"], report["coverage"], report["seconds"], report["corpus"]) == (5000, 77, 2.0, "73")
