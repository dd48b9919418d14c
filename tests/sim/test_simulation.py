"""A simulated swarm: the same for the same seed, and a report that holds what it promises."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from node_shapes import EMBEDDED

from swarm.errors import ConfigError, HomeError, PolicyError
from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import node_configs, run_simulation
from swarm.supervisor import find

pytestmark = pytest.mark.usefixtures("few_prompts")

KEYS: dict[str, type] = {
    "schema": int, "nodes": int, "rounds": int, "seed": int, "network": str, "local": int, "external": int, "wall_s": float,
    "eval_before": float, "eval_after": float, "eval_answer_chars_before": float, "eval_answer_chars_after": float,
    "eval_per_task": dict, "cumulative_reward": float, "reward_per_round": list,
    "generated_tokens": int, "groups_shared": int, "groups_delivered": int, "delivery_ratio": float, "groups_trained_own": int,
    "groups_trained_foreign": int, "payload_bytes": int, "wire_bytes": int, "refused": dict, "digest": str,
}  # fmt: skip
NAMES = {rule.name for rule in EMBEDDED.environments}


@dataclass(frozen=True)
class Run:
    report: dict[str, Any]
    directory: Path
    progress: list[str]


def options(directory: Path, **changes: Any) -> SimulationOptions:
    plain: dict[str, Any] = {
        "nodes": 3, "rounds": 3, "seed": 7, "network": "memory", "specialise": True, "plain": True, "report": directory,
        "overrides": {"generation.num_generations": "4", "checkpoint.every_rounds": "2"},
    }  # fmt: skip
    return SimulationOptions(**(plain | changes))


def run(directory: Path, **changes: Any) -> Run:
    errors = io.StringIO()
    with redirect_stderr(errors):
        report = run_simulation(options(directory, **changes))
    return Run(report, directory, errors.getvalue().splitlines())


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("compared"), compare=True)


def test_the_same_seed_gives_the_same_run_and_another_another(compared: Run, tmp_path: Path) -> None:
    again = run(tmp_path / "again").report
    # What is measured in seconds of this machine may differ, and nothing else.
    both = [{key: value for key, value in each.items() if key not in {"wall_s", "alone"}} for each in (compared.report, again)]
    assert both[0] == both[1]
    other = run(tmp_path / "other", seed=8, rounds=1).report
    assert other["digest"] != again["digest"]
    assert re.fullmatch("[0-9a-f]{64}", other["digest"])


def test_the_report_holds_what_is_promised(compared: Run) -> None:
    report = compared.report
    assert json.loads((compared.directory / "report.json").read_text()) == report
    # Of three rounds the first half is one, so that the second counts twice.
    first, second = report["zero_advantage_share_per_half"]
    assert 0 < report["zero_advantage_share"] < 1
    assert report["zero_advantage_share"] == pytest.approx((first + 2 * second) / 3)
    for part in (report, report["alone"]):
        assert {key: type(part[key]) for key in KEYS if key != "delivery_ratio"} == {
            key: kind for key, kind in KEYS.items() if key != "delivery_ratio"
        }
        assert (part["nodes"], part["rounds"], part["seed"], part["network"]) == (3, 3, 7, "memory")
        assert set(part["eval_per_task"]) == NAMES, "evaluation covers all tasks, also those that no node was given"
        assert all(set(each) == {"before", "after"} for each in part["eval_per_task"].values())
        for when in ("before", "after"):
            mean = sum(each[when] for each in part["eval_per_task"].values()) / len(NAMES)
            assert part[f"eval_{when}"] == pytest.approx(mean)
            assert 0 <= mean <= 1
        assert len(part["reward_per_round"]) == 3
        assert part["cumulative_reward"] == pytest.approx(sum(part["reward_per_round"]))
        trained = part["groups_trained_per_node"]
        assert part["groups_trained_own"] == sum(each["own"] for each in trained)
        assert part["groups_trained_foreign"] == sum(each["foreign"] for each in trained)
        for index, sources in enumerate(part["trained_from"]):
            assert sources[index] == trained[index]["own"]
            assert sum(sources) - sources[index] == trained[index]["foreign"]
    assert set(report) == {*report["alone"], "alone"}


def test_nothing_is_lost_and_everybody_learns_from_others(compared: Run) -> None:
    report = compared.report
    assert report["delivery_ratio"] == 1.0
    assert report["groups_delivered"] == 2 * report["groups_shared"] > 0
    assert all(each["foreign"] > 0 for each in report["groups_trained_per_node"])
    assert report["wire_bytes"] > report["payload_bytes"] > 0
    assert report["refused"] == {}


def test_alone_is_the_same_without_the_swarm(compared: Run) -> None:
    report, alone = compared.report, compared.report["alone"]
    assert (alone["groups_shared"], alone["groups_delivered"], alone["delivery_ratio"]) == (0, 0, None)
    assert (alone["external"], alone["groups_trained_foreign"], alone["payload_bytes"]) == (0, 0, 0)
    assert alone["groups_trained_own"] > 0
    assert alone["eval_before"] == report["eval_before"]
    assert alone["reward_per_round_per_node"][0][0] == report["reward_per_round_per_node"][0][0], "the same seeds"
    assert alone["digest"] != report["digest"]


def test_pictures_and_page(compared: Run) -> None:
    for name in ("reward.png", "accuracy.png", "sources.png"):
        assert (compared.directory / name).read_bytes().startswith(b"\x89PNG")
    page = (compared.directory / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert compared.report["digest"] in page
    assert "http" not in page.replace("https://www.w3.org", ""), "it can be read without a network"


def test_progress_in_plain_lines(compared: Run) -> None:
    lines = compared.progress
    assert [line.partition("  ")[0] for line in lines] == [
        f"{label}: round {number}/3" for label in ("together", "alone") for number in (1, 2, 3)
    ]
    for line in lines:
        assert re.search(
            r"reward \d\.\d{3}  trained \d+ own \+ \d+ foreign groups  \d\.\d peers  \d+ tokens/s  \d+:\d\d left$", line
        )
    assert lines[2].endswith("0:00 left")


# Options


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 8, 20])
def test_specialised_nodes_have_few_tasks_and_cover_all(tmp_path: Path, nodes: int) -> None:
    configs, manifest = node_configs(options(tmp_path, nodes=nodes))
    assert manifest == EMBEDDED
    given = [config.tasks.environments for config in configs]
    assert len(given) == nodes
    assert {name for each in given for name in each} == NAMES
    assert len({len(each) for each in given}) == 1
    assert len(given[0]) == len(set(given[0])) == {1: 9, 2: 5}.get(nodes, 3)
    counts = [sum(name in each for each in given) for name in NAMES]
    assert max(counts) - min(counts) <= 1


def test_options_become_settings_and_nothing_else_has_a_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMD_TRAINING__LOCAL", "7")
    (tmp_path / "node.toml").write_text("[training]\nlocal = 6\n")
    configs, _ = node_configs(options(tmp_path, specialise=False, local=None, external=5, models=("/some/model",)))
    config = configs[0]
    assert configs == [config] * 3
    assert (config.training.external, config.node.rounds, config.policy.model) == (5, 3, "/some/model")
    assert config.training.local not in (6, 7)
    assert node_configs(options(tmp_path, local=4))[0][0].training.local == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "--nodes must be at least 1"),
        ({"rounds": 0}, "--rounds must be at least 1"),
        ({"network": "carrier pigeon"}, "one of libp2p, memory"),
        ({"overrides": {"node.rounds": "5"}}, "use --rounds"),
        ({"overrides": {"node.seed": "5"}}, "use --seed"),
        ({"overrides": {"policy.model": "x"}}, "use --model"),
        ({"overrides": {"training.external": "3"}, "external": 2}, "use --external"),
        ({"overrides": {"training.localy": "3"}}, "did you mean"),
        ({"overrides": {"training.local": "many"}}, "must be a whole number"),
        ({"overrides": {"tasks.environments": "reasoning_gym/none"}}, "the manifest has no"),
        ({"overrides": {"swarm.manifest": "00" * 32}}, "needs the manifest itself"),
    ],
)
def test_options_that_contradict_each_other_or_the_manifest(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_simulation(options(tmp_path, **changes))


def test_settings_of_the_training_are_free_while_no_option_decides_them(tmp_path: Path) -> None:
    configs, _ = node_configs(options(tmp_path, overrides={"training.local": "3", "training.external": "2"}))
    assert (configs[0].training.local, configs[0].training.external) == (3, 2)


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="is not a directory"):
        run_simulation(options(tmp_path / "file"))


def test_a_model_that_is_not_there_is_one_error_of_the_tree(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        run(tmp_path, models=(str(tmp_path / "none"),))
    assert find(raised.value, (PolicyError,)) is not None
