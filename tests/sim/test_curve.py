"""The learning curve of a run, which the run does not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarm.errors import ConfigError
from swarm.sim.cpu import KNOWN
from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import run_simulation

pytestmark = pytest.mark.usefixtures("few_prompts")


def run(report: Path, **changes: Any) -> dict[str, Any]:
    few = {"generation.num_generations": "4"}
    return run_simulation(
        SimulationOptions(nodes=2, seed=3, network="memory", plain=True, report=report, overrides=few, **changes)
    )


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    plain, measured = run(tmp_path, rounds=3), run(tmp_path, rounds=3, evaluate_every=2)
    assert plain["curve"] is None
    assert measured["digest"] == plain["digest"]
    for said in ("eval_after", "eval_answer_chars_before", "eval_answer_chars_after"):
        assert measured[said] == plain[said] > 0
    curve = measured["curve"]
    assert curve["rounds"] == [2, 3]
    assert curve["accuracy"][-1] == pytest.approx(measured["eval_after"])
    assert curve["accuracy_per_node"][-1] == pytest.approx(measured["eval_after_per_node"])
    assert curve["generated_tokens"][-1] == measured["generated_tokens"] / 2
    if KNOWN:
        assert 0 < curve["cpu_s"][0] < curve["cpu_s"][1] < measured["wall_s"] * 4


def test_a_run_ends_where_it_was_to_get(tmp_path: Path) -> None:
    early = run(tmp_path, rounds=40, evaluate_every=2, until=0.01)
    assert early["curve"]["rounds"] == [2]
    assert max(early["rounds_per_node"]) < 10
    with pytest.raises(ConfigError, match="--until needs --evaluate-every"):
        run(tmp_path, rounds=1, until=0.5)
