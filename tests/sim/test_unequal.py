"""Nodes of unequal speed: a slower one does less in the same time, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from trio.testing import MockClock

from swarm.cli.main import main
from swarm.clock import PacedClock, VirtualClock
from swarm.errors import ConfigError
from swarm.sim.options import Pace, SimulationOptions
from swarm.sim.simulation import node_configs, run_simulation

pytestmark = pytest.mark.usefixtures("few_prompts")


def options(directory: Path, **changes: Any) -> SimulationOptions:
    plain: dict[str, Any] = {
        "nodes": 3, "rounds": 4, "seed": 7, "network": "memory", "plain": True, "report": directory,
        "overrides": {"generation.num_generations": "4"}, "speeds": (1.0, 0.5),
    }  # fmt: skip
    return SimulationOptions(**(plain | changes))


def test_work_costs_a_slow_node_more_and_moments_are_the_same() -> None:
    mock = MockClock()

    async def busy() -> None:
        clock = VirtualClock(mock, 1000)
        slow = PacedClock(clock, 0.25)
        async with slow.work(2):
            assert slow.now_ms() == clock.now_ms() == 1000
        assert slow.now_ms() == clock.now_ms() == 9000

    trio.run(busy, clock=mock)


def test_who_is_slower_does_less_and_is_heard_all_the_same(tmp_path: Path) -> None:
    # Waiting for fresh groups too is the same in every run.
    fresh = {"generation.num_generations": "4", "sampling.wait_s": "2"}
    report, again = (run_simulation(options(tmp_path / name, overrides=fresh)) for name in ("one", "other"))
    assert report["seconds_per_activity"]["waiting"] > 0
    assert report["speeds"] == [1.0, 0.5, 1.0]
    assert report["rounds_per_node"] == [4, 2, 4]
    assert [len(each) for each in report["reward_per_round_per_node"]] == [4, 2, 4]
    rewards = report["reward_per_round_per_node"]
    assert report["reward_per_round"][0] == pytest.approx(sum(each[0] for each in rewards) / 3)
    assert report["reward_per_round"][3] == pytest.approx((rewards[0][3] + rewards[2][3]) / 2)
    assert report["trained_from"][1][0] + report["trained_from"][1][2] > 0, "it learns from those that were faster"
    foreign = [each["foreign"] for each in report["groups_trained_per_node"]]
    ages = zip(report["policy_age_per_node"], foreign, strict=True)
    assert report["policy_age"] == pytest.approx(sum((age or 0) * count for age, count in ages) / sum(foreign))
    assert report["delivery_ratio"] == 1.0
    assert report["digest"] == again["digest"]
    assert "<td>0.500</td><td>2</td>" in (tmp_path / "one" / "report.html").read_text()


def test_rounds_go_with_the_speed() -> None:
    asked = SimulationOptions(rounds=60, speeds=(2.0, 1.0, 0.001))
    assert asked.paces(4) == [Pace(2.0, 60), Pace(1.0, 30), Pace(0.001, 1), Pace(2.0, 60)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": "libp2p"}, "--network memory"),
        ({"partition": True}, "--partition"),
        ({"speeds": (1.0, 0.0)}, "above 0"),
        ({"speeds": ()}, "above 0"),
    ],
)
def test_what_speeds_do_not_go_with(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        node_configs(options(tmp_path, **changes))


def test_speeds_on_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sim", "--speeds", "1,fast", "--report", str(tmp_path)])
    assert result.exit_code != 0
    assert "numbers separated by commas" in result.output
