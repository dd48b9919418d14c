"""The curriculum goes where rewards spread, and keeps looking elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from swarm_shapes import scored

from swarm.roles.curriculum import Curriculum

KEY = bytes(32)
ARMS = [("toy/add", 0), ("toy/add", 1), ("toy/add", 2), ("toy/sort", 0)]


def observed(curriculum: Curriculum, rates: dict[tuple[str, int], tuple[float, float]], times: int = 40) -> Curriculum:
    for _ in range(times):
        curriculum.observe(
            [
                scored(KEY, 0, environment=environment, parameters=(("level", level),), rewards=rewards)
                for (environment, level), rewards in rates.items()
            ]
        )
    return curriculum


def choices(curriculum: Curriculum, draws: int = 2000) -> Counter[tuple[str, int]]:
    random = Random(1)
    return Counter(curriculum.choose(random) for _ in range(draws))


SOLVED, HOPELESS, HALF = (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)


def test_it_moves_to_where_rewards_spread() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), dict(zip(ARMS, (SOLVED, HALF, HOPELESS, SOLVED), strict=True)))
    counts = choices(curriculum)
    assert counts["toy/add", 1] > 1200
    assert all(counts[arm] > 25 for arm in ARMS), "what seemed solved or hopeless is looked at again"


def test_it_follows_a_policy_that_gets_better() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), dict(zip(ARMS, (HALF, HOPELESS, HOPELESS, SOLVED), strict=True)))
    assert choices(curriculum).most_common(1)[0][0] == ("toy/add", 0)
    observed(curriculum, {ARMS[0]: SOLVED, ARMS[1]: HALF})
    assert choices(curriculum).most_common(1)[0][0] == ("toy/add", 1)


def test_what_was_never_tried_is_as_promising_as_a_half() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), dict.fromkeys(ARMS[:3], SOLVED))
    assert choices(curriculum)[ARMS[3]] > 1200


def test_switched_off_all_arms_are_alike() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=False), {ARMS[0]: HALF, ARMS[1]: SOLVED})
    counts = choices(curriculum)
    assert all(420 < counts[arm] < 580 for arm in ARMS)


def test_pass_rates_are_means_over_the_levels_seen() -> None:
    curriculum = Curriculum(ARMS, adaptive=True)
    assert curriculum.pass_rates() == {}
    observed(curriculum, {ARMS[0]: SOLVED, ARMS[1]: HOPELESS}, times=100)
    assert curriculum.pass_rates() == {"toy/add": pytest.approx(0.5, abs=0.01)}
    observed(curriculum, {ARMS[3]: SOLVED}, times=100)
    assert curriculum.pass_rates()["toy/sort"] == pytest.approx(1.0, abs=0.01)


def test_a_checkpoint_gives_it_back() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), dict(zip(ARMS, (SOLVED, HALF, HOPELESS, HALF), strict=True)), 3)
    state = json.loads(json.dumps(curriculum.state()))
    again = Curriculum(ARMS, adaptive=True)
    again.restore(state, curriculum.best())
    assert again.state() == curriculum.state()
    assert again.pass_rates() == curriculum.pass_rates()
    assert again.best() == curriculum.best() != {}
    assert choices(again) == choices(curriculum)
    again.restore([], {})
    assert again.pass_rates() == {}


def test_arms_that_the_manifest_has_no_more_do_no_harm() -> None:
    curriculum = Curriculum(ARMS[:2], adaptive=True)
    curriculum.restore([["toy/gone", 0, 0.9], ["toy/add", 0, 0.1]], {})
    assert set(choices(curriculum)) == set(ARMS[:2])
