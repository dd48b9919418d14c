"""What is read off a run's curve, and that every configuration is one that a node takes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import attacks
from benchmarks.efficiency import Cost, cost, lines, table
from benchmarks.experiment.cases import OVERSAMPLING, PAPER, PROTOCOL, SWARM, Case, lone_settings
from benchmarks.experiment.table import figures, shown, summary
from swarm.cli.simulate import sim
from swarm.pool.sampling import SAMPLERS
from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import node_configs


def report(*accuracies: float, every: int = 10, reward: float = 5.0, before: float = 0.3) -> dict[str, Any]:
    marks = range(every, every * (len(accuracies) + 1), every)
    return {
        "eval_before": before,
        "cumulative_reward": reward,
        "zero_advantage_share": 0.25,
        "curve": {
            "rounds": list(marks),
            "accuracy": list(accuracies),
            "generated_tokens": [100.0 * mark for mark in marks],
            "cpu_s": [0.5 * mark for mark in marks],
        },
    }


def test_the_figures_of_a_curve() -> None:
    measured = figures(report(0.5, 0.4, 0.6), report(0.3, reward=2.0))
    assert measured.ratio == 2.5
    assert measured.accuracy == 0.6
    assert measured.area == pytest.approx((0.4 + 0.45 + 0.5) / 3), "mean height between the measurements"
    assert measured.drop == pytest.approx(0.1)
    assert figures(report(0.2), report(0.2)).drop == pytest.approx(0.1), "below where it began"
    assert figures(report(0.4, 0.5), report(0.4)).drop == 0


def test_seeds_are_summed_up_as_mean_and_spread() -> None:
    assert summary([1.0, None, 3.0]) == {"mean": 2.0, "spread": 1.4142, "values": [1.0, 3.0]}
    assert summary([None]) is None
    assert [shown(summary(each), 1) for each in ([1.0, 3.0], [2.0], [])] == ["2.0 ± 1.4", "2.0", "-"]


def test_the_cost_is_read_where_the_curve_crosses() -> None:
    assert cost(report(0.5, 0.75), 0.6875) == Cost(17.5, 1750.0, 8.75)
    assert cost(report(0.4, 0.5), 0.55) is None
    unknown = report(0.6)
    unknown["curve"]["cpu_s"] = [None]
    unknown["eval_before"] = 0.5
    unknown["curve"]["accuracy"] = [0.75]
    assert cost(unknown, 0.625) == Cost(5.0, 500.0, None)


def test_efficiency_is_against_the_same_seed_alone_and_the_best_lone_node() -> None:
    costs = {
        (1, "defaults"): [Cost(100, 8000, 40.0), Cost(120, 9000, 50.0)],
        (4, "defaults"): [Cost(40, 2500, 20.0), Cost(50, 3000, 30.0)],
        (8, "defaults"): [Cost(30, 2000, 15.0), None],
        (1, "lone 4:2"): [Cost(50, 16000, 40.0), Cost(50, 16000, 40.0)],
        (1, "lone 8:2"): [Cost(30, 20000, 30.0), None],
    }
    result = table(costs, 0.55, [1, 2])
    one, four, eight, lone, failed = result["rows"]
    assert (one["efficiency"]["mean"], four["fewer_tokens"]["values"], four["efficiency"]["mean"]) == (1.0, [3.2, 3.0], 0.775)
    assert eight["reached"] == failed["reached"] == 1
    assert "tokens" not in eight, "a mean over those seeds only that reached it would flatter"
    assert result["best_lone"] == "lone 4:2", "what a seed did not reach is not the best"
    assert four["cpu_of_best_lone"]["values"] == [0.5, 0.75]
    assert "efficiency" not in lone
    assert [line["settings"] for line in lines(result)][3] == "lone 4:2 (best)"


def config_of(settings: Any) -> Any:
    arguments = Case(settings, nodes=8, rounds=60, seed=1, evaluate_every=5, until=0.5).command()
    asked = sim.make_context("sim", list(arguments[1:])).params
    options = SimulationOptions(
        nodes=asked["nodes"], rounds=asked["rounds"], network=asked["network"], overrides=asked["overrides"]
    )
    return node_configs(options)[0][0]


@pytest.mark.parametrize("name", SWARM)
def test_every_row_generates_the_same(name: str) -> None:
    config = config_of(SWARM[name])
    assert (config.tasks.per_round, config.generation.num_generations, config.tasks.curriculum) == (1, 8, False)


def test_the_papers_rows_train_eight_rollouts() -> None:
    for external in PAPER:
        config = config_of(SWARM[f"{8 - external}/{external}"])
        assert config.sampling.sampler == "rollouts"
        assert (SAMPLERS["rollouts"].max_uses, SAMPLERS["rollouts"].foreign_time) == (1, 0), "in step, and J as it says"
        assert (config.training.local, config.training.external) == (8 - external, external)
        defences = config.defences
        assert (defences.min_probability, defences.signer_share, defences.newcomer_share, defences.canary_tasks) == (0, 1, 1, 0)
        assert defences.verify, "the own verifier is part of the protocol"
    assert "defences.verify" not in PROTOCOL


def test_every_lone_setting_is_one() -> None:
    for per_round, local in OVERSAMPLING:
        config = config_of(lone_settings(per_round, local))
        assert (config.tasks.per_round, config.training.local, config.training.external) == (per_round, local, 0)
        assert not config.tasks.share


def test_an_attack_is_compared_with_the_same_nodes_in_peace() -> None:
    shares = [[0.2] * 13 + [0.5, 0.7, 0.8], [0.2] * 13 + [0.6, 0.5, 0.9]]
    attack = {"name": "vanish", "weight_share": 0.4, "weight_share_per_third": [0.8, 0.4, 0.0]}
    calm = {"attack": None, "patterns_last": {"turn": 0.01}, "eval_answer_chars_after": 8.0, "eval_after": 0.7}
    hit = calm | {"attack": attack | {"honest_share_per_round_per_node": shares}, "eval_after": 0.63}
    measured = attacks.figures(hit, calm)
    assert measured["held_out"] == pytest.approx(0.9)
    assert (measured["weight"], measured["weight_last"], measured["honest_back"]) == (0.4, 0.0, 2)
    shares[0][13:] = [0.5, 0.5, 0.5]
    assert attacks.figures(hit, calm)["honest_back"] is None, "a node that nobody honest reached again"
    assert attacks.figures(calm, calm)["honest_back"] is None
