"""Attacked and troubled simulations: honest nodes are measured alone, and the seed decides all."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from swarm.config.schema import Config, DefencesSection
from swarm.errors import ConfigError
from swarm.net.simulated import Conditions, MemoryNetwork
from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import node_configs, run_simulation, without_defences
from swarm.sim.weather import Divider, stays

pytestmark = pytest.mark.usefixtures("few_prompts")


def options(directory: Path, **changes: Any) -> SimulationOptions:
    plain: dict[str, Any] = {
        "nodes": 3, "rounds": 3, "seed": 7, "network": "memory", "plain": True, "report": directory,
        "overrides": {"generation.num_generations": "4"},
    }  # fmt: skip
    return SimulationOptions(**(plain | changes))


def run(directory: Path, **changes: Any) -> dict[str, Any]:
    with redirect_stderr(io.StringIO()):
        return run_simulation(options(directory, **changes))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("attacked")
    report = run(directory, attack="text", attackers=1)
    report["page"] = (directory / "report.html").read_text()
    return report


def test_an_attacked_run_follows_from_its_seed(attacked: dict[str, Any], tmp_path: Path) -> None:
    again = run(tmp_path, attack="text", attackers=1)
    assert {key: value for key, value in attacked.items() if key not in {"wall_s", "page"}} == {
        key: value for key, value in again.items() if key != "wall_s"
    }


def test_only_honest_nodes_are_counted(attacked: dict[str, Any]) -> None:
    attack = attacked["attack"]
    assert (attacked["nodes"], attack["attackers"], attack["identities"]) == (2, 1, 1)
    assert len(attacked["reward_per_round_per_node"]) == len(attacked["trained_from"]) == 2
    assert attacked["delivery_ratio"] == attacked["logs_complete"] == 1.0
    assert attack["groups_delivered"] == 2 * attack["groups_sent"] > 0
    assert attack["groups_admitted"] == attack["groups_delivered"]
    assert attack["refused"] == attack["refused_honest"] == {}
    assert attack["groups_trained"] == attacked["groups_trained_foreign"] - sum(
        count for i, row in enumerate(attacked["trained_from"]) for k, count in enumerate(row) if i != k
    )
    assert 0 < attack["trained_share"] < 1
    shares = attack["honest_share_per_round_per_node"]
    assert [len(rounds) for rounds in shares] == attacked["rounds_per_node"]
    assert all(0 <= share <= 1 for rounds in shares for share in rounds)
    assert max(map(max, shares)) > 0
    assert len(attack["weight_share_per_third"]) == 3
    assert attacked["rollbacks"] == 0
    assert attacked["patterns_last"].keys() == attacked["patterns_first"].keys() >= {"text", "statement", "suffix"}
    assert attacked["completion_tokens_first"] > 1
    assert "attacking peers" in attacked["page"]


def test_without_defences_lies_are_believed_and_with_them_not(tmp_path: Path) -> None:
    honest = run(tmp_path / "on", attack="truth", attackers=1)
    assert honest["attack"]["groups_admitted"] == 0
    assert set(honest["attack"]["refused"]) <= {"reward", "standing"}
    assert honest["attack"]["refused"]["reward"] > 0
    naive = run(tmp_path / "off", attack="truth", attackers=1, undefended=True)
    assert naive["attack"]["groups_admitted"] == naive["attack"]["groups_delivered"] > 0
    assert naive["attack"]["groups_trained"] > 0


def test_impersonators_are_turned_away_at_the_door(tmp_path: Path) -> None:
    report = run(tmp_path, attack="impersonate", attackers=1)
    attack = report["attack"]
    assert attack["messages_turned_away"] > 0
    assert set(attack["refused"]) == {"proposer"}
    assert attack["refused_honest"] == {}
    assert attack["groups_admitted"] == 0


def test_every_defence_says_how_it_is_turned_off(tmp_path: Path) -> None:
    off = without_defences()
    assert {f"defences.{each.name}" for each in fields(DefencesSection)} <= off.keys()
    (config, *_), manifest = node_configs(options(tmp_path, undefended=True, attack="text", attackers=1, overrides={}))
    assert manifest.name == "scratch"
    for each in fields(DefencesSection):
        value = getattr(config.defences, each.name)
        assert value == each.metadata["off"] != getattr(Config().defences, each.name)
    kept = {"defences.verify": "true", "swarm.manifest": "embedded"}
    (config, *_), manifest = node_configs(options(tmp_path, undefended=True, attack="text", attackers=1, overrides=kept))
    assert (config.defences.verify, manifest.name) == (True, "embedded")


@pytest.mark.parametrize(("places", "rounds", "churn"), [(8, 60, 0.5), (4, 4, 1.0), (3, 3, 0.4), (8, 60, 0.0), (1, 2, 1.0)])
def test_places_are_held_all_the_time_and_the_asked_share_is_replaced(places: int, rounds: int, churn: float) -> None:
    lives = stays([rounds] * places, churn)
    assert len(lives) == places
    assert sum(len(each) - 1 for each in lives) == round(churn * places)
    numbers = [stay.number for each in lives for stay in each]
    assert sorted(numbers) == list(range(len(numbers)))
    for place, each in enumerate(lives):
        reached = 0
        for stay in each:
            assert (stay.place, stay.first) == (place, reached)
            assert stay.rounds > 0
            reached += stay.rounds
        assert reached == rounds


def test_nodes_come_and_go(tmp_path: Path) -> None:
    report = run(tmp_path, nodes=3, rounds=3, churn=0.34)
    stays_ = report["weather"]["stays"]
    assert [(each["place"], each["first_round"] + each["rounds"]) for each in stays_ if each["node"] >= 3] == [(0, 3)]
    assert len(stays_) == 4
    assert report["nodes"] == len(report["eval_after_per_node"]) == 3
    assert [len(each) for each in report["reward_per_round_per_node"]] == [3, 3, 3]
    assert sum(each["foreign"] for each in report["groups_trained_per_node"]) > 0
    assert report["logs_complete"] is not None


def test_who_replaces_a_node_comes_while_the_others_still_learn(tmp_path: Path) -> None:
    def least_s(**changes: Any) -> float:
        configs, _ = node_configs(options(tmp_path, **changes))
        return configs[0].node.min_round_s

    assert least_s(churn=0.5) >= 1, "a virtual round would be over long before a node has started"
    assert least_s(churn=0.5, overrides={"node.min_round_s": "3"}) == 3
    assert least_s(churn=0.5, network="libp2p") == least_s() == 0


def test_a_partition_divides_the_swarm_and_heals(tmp_path: Path) -> None:
    report = run(tmp_path, nodes=4, rounds=6, partition=True)
    parted = report["weather"]["partition"]
    assert (parted["cut_at"], parted["healed_at"]) == (2, 4)
    assert [half["places"] for half in parted["halves"]] == [[0, 1], [2, 3]]
    assert report["logs_complete"] == report["delivery_ratio"] == 1.0, "what gossip did not bring is fetched after healing"


def test_the_network_is_cut_for_the_middle_third() -> None:
    network = MemoryNetwork(1, Conditions(loss=0.1))
    divider = Divider(network, 9, lambda: [frozenset({"a"})])
    cut = []
    for rounds in range(10):
        divider.slowest(rounds)
        cut.append(any(each.separates("a", "b", 5.0) for each in network.conditions.partitions))
    assert cut == [False] * 3 + [True] * 3 + [False] * 4
    assert network.conditions.loss == 0.1


def test_lost_copies_are_repaired(tmp_path: Path) -> None:
    report = run(tmp_path, loss=0.3)
    assert report["weather"]["loss"] == 0.3
    assert report["delivery_ratio"] > 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "text"}, "belong together"),
        ({"attackers": 1}, "belong together"),
        ({"attack": "kindness", "attackers": 1}, "--attack must be one of text"),
        ({"attack": "text", "attackers": 3}, "at most 2"),
        ({"churn": 1.5}, "--churn is a share"),
        ({"loss": 1.0}, "--loss a probability"),
        ({"partition": True, "network": "libp2p"}, "need --network memory"),
        ({"loss": 0.1, "network": "libp2p"}, "need --network memory"),
    ],
)
def test_troubles_that_contradict_each_other(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_simulation(options(tmp_path, **changes))
