"""Proof of the allowed reasoning-gym datasets: they rebuild identically anywhere, and the refused
ones do not.

`SWARMD_PROOF_SEEDS=20` proves it for all levels and 20 seeds each; it takes minutes.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections import deque
from decimal import Context, localcontext
from importlib import resources
from itertools import islice
from pathlib import Path

import pytest
from reasoning_gym.factory import DATASETS, create_dataset
from reasoning_gym.games.rush_hour import Board

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Unbuildable, find, load_environments
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym, _build, configurations
from swarm.tasks.refused import REFUSED, USABLE_LEVELS
from swarm.tasks.rewards.judged import JUDGED
from swarm.tasks.rewards.own_answers import own_answer

PROGRAM = Path(__file__).with_name("rebuild_reasoning.py")
PROOF_SEEDS = int(os.environ.get("SWARMD_PROOF_SEEDS", "0"))
GYM = ReasoningGym()


def rebuilt_twice(which: str, seeds: int, levels: str) -> tuple[dict[str, str], dict[str, str]]:
    """By two processes with different hash seeds, of which one goes through the list from its
    end."""
    runs = []
    for hash_seed, order in (("1", "forward"), ("4242", "reverse")):
        command = [sys.executable, str(PROGRAM), order, which, str(seeds), levels]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment))
    first, second = (json.loads(run.communicate()[0]) for run in runs)
    return first, second


def test_every_allowed_dataset_rebuilds_identically_in_other_processes():
    first, second = rebuilt_twice("allowed", PROOF_SEEDS or 2, "all" if PROOF_SEEDS else "ends")
    assert {key.split("/")[0] for key in first} == set(GYM.names())
    assert first.keys() == second.keys()
    assert [key for key in first if first[key] != second[key]] == []


def test_every_dataset_refused_for_differing_does_differ():
    first, second = rebuilt_twice("refused", 5, "ends")
    differing = {key.split("/")[0] for key in first if first[key] != second[key]}
    assert differing == {name for name, reason in REFUSED.items() if reason.startswith("its problems or answers differ")}


def test_the_list_covers_reasoning_gym():
    assert set(GYM.names()) | set(REFUSED) == set(DATASETS)
    assert not set(GYM.names()) & set(REFUSED)
    assert set(USABLE_LEVELS) <= set(GYM.names())
    assert set(JUDGED) == set(GYM.names())
    assert len(GYM.names()) > 90


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_names_are_refused_with_the_reason(name):
    families = load_environments()
    with pytest.raises(EnvironmentRefused, match=name) as refused:
        find(families, f"reasoning_gym/{name}")
    assert REFUSED[name] in str(refused.value)
    with pytest.raises(EnvironmentRefused, match=name):
        GYM.build(name, 1 << 40, 0)


def test_allowed_names_are_found():
    families = load_environments()
    for name in GYM.names():
        assert find(families, f"reasoning_gym/{name}") == (families["reasoning_gym"], name)


@pytest.mark.parametrize("name", sorted(GYM.names()))
def test_a_reseeded_dataset_gives_what_a_new_one_gives(name):
    # Building in between leaves traces in a dataset that keeps state.
    seeds = list(islice(walk(77), 2))
    level = GYM.levels(name) // 2 if name not in {"zebra_puzzles", "game_of_life"} else 0
    built = {}
    for seed in [*seeds, seeds[0]]:
        _build.cache_clear()
        try:
            problem = GYM.build(name, seed, level)
        except Unbuildable:
            continue
        assert built.setdefault(seed, problem) == problem
    for seed, problem in built.items():
        with localcontext(Context()):
            item = create_dataset(name, **(configurations(name)[level] | {"seed": seed >> 32, "size": 1}))[0]
        assert problem.question == item["question"]
        assert problem.answer == own_answer(name, item)


def test_levels_are_bounded():
    with pytest.raises(EnvironmentRefused, match="levels 0 to"):
        GYM.build("gcd", 1 << 40, GYM.levels("gcd"))
    with pytest.raises(EnvironmentRefused, match="levels 0 to"):
        GYM.build("gcd", 1 << 40, -1)
    assert min(GYM.levels(name) for name in GYM.names()) >= 1


def rush_hour_solution(board_config: str) -> str:
    """Breadth first over the positions of all pieces."""
    start: list[str] = []
    pieces = Board(board_config)._pieces
    seen = {tuple(piece.position for piece in pieces)}
    waiting = deque([start])
    while waiting:
        moves = waiting.popleft()
        for letter in (chr(ord("A") + place) for place, piece in enumerate(pieces) if not piece.fixed):
            for step in ("+1", "-1"):
                board = Board(board_config)
                board.perform_moves(" ".join([*moves, letter + step]))
                if board.solved:
                    return " ".join([*moves, letter + step])
                state = tuple(piece.position for piece in board._pieces)
                if state not in seen:
                    seen.add(state)
                    waiting.append([*moves, letter + step])
    raise AssertionError("no solution")


def boxnet_solution(state: dict[str, list[str]]) -> str:
    """Carry every box to its target, one square at a time, and drop it there."""
    squares = {square: [float(part) for part in square.split("_")] for square in state}
    targets = [(thing, square) for square, things in state.items() for thing in things if thing.startswith("target_")]
    plan = []
    for square, things in state.items():
        for box in [thing for thing in things if thing.startswith("box_")]:
            goal = "target_" + box.removeprefix("box_")
            target = next(target for target in targets if target[0] == goal)
            targets.remove(target)
            here, there = squares[square], squares[target[1]]
            while here != there:
                axis = 0 if here[0] != there[0] else 1
                after = list(here)
                after[axis] += 1 if there[axis] > here[axis] else -1
                plan.append({f"Agent{here}": f"move({box}, square{after})"})
                here = after
            plan.append({f"Agent{here}": f"move({box}, {goal})"})
    return json.dumps(plan)


def test_datasets_without_an_answer_of_their_own_can_be_solved():
    without = {name for name in GYM.names() if not own_answer(name, create_dataset(name, seed=1, size=1)[0])}
    assert without == {"boxnet", "rush_hour"}
    for board in [GYM.build("boxnet", seed, 0) for seed in islice(walk(3), 20)]:
        answer = boxnet_solution(board.entry["metadata"]["initial_state"])
        assert GYM.score("boxnet", board, "prose", f"<answer>{answer}</answer>") == 1.0
    roads = [GYM.build("rush_hour", seed, 0) for seed in islice(walk(3), 200)]
    road = min(roads, key=lambda problem: problem.entry["metadata"]["min_moves"])
    answer = rush_hour_solution(road.entry["metadata"]["board_config"])
    assert GYM.score("rush_hour", road, "prose", f"<answer>{answer}</answer>") == 1.0


@pytest.mark.parametrize("manifest", ["embedded", "reasoning", "scratch"])
def test_the_built_in_manifests_name_what_can_be_rebuilt(manifest):
    rules = tomllib.loads(resources.files("swarm").joinpath("manifests", f"{manifest}.toml").read_text())["environment"]
    assert rules
    for rule in rules:
        environment, name = find(load_environments(), rule["name"])
        assert rule["version"] == environment.version
        hardest = 0 if name == "binary_matrix" and manifest == "reasoning" else environment.levels(name) - 1
        assert rule["parameters"] == {"level": {"min": 0, "max": hardest}}
