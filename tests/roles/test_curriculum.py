"""The curriculum goes where rewards spread, and keeps looking elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_shapes import scored

from swarm.records import ScoredGroup
from swarm.roles.curriculum import FLOOR, MOST, OTHER, Arm, Curriculum, chances, promise

KEY = bytes(32)
ARMS = [("toy/add", 0), ("toy/add", 1), ("toy/add", 2), ("toy/sort", 0)]


def observed(curriculum: Curriculum, rates: dict[tuple[str, int], tuple[float, ...]], times: int = 40) -> Curriculum:
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


def group(arm: Arm, rewards: tuple[float, ...], signer: bytes = KEY) -> ScoredGroup:
    return scored(signer, 0, environment=arm[0], parameters=(("level", arm[1]),), rewards=rewards)


SOLVED, HOPELESS, HALF = (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)


def test_it_moves_to_where_rewards_spread() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), dict(zip(ARMS, (SOLVED, HALF, HOPELESS, SOLVED), strict=True)))
    counts = choices(curriculum)
    assert counts["toy/add", 1] > 1200
    assert all(counts[arm] > 8 for arm in ARMS), "what seemed solved or hopeless is looked at again"


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


def test_checkpoints_of_the_first_version_still_load() -> None:
    curriculum = Curriculum(ARMS, adaptive=True)
    curriculum.restore([["toy/add", 1, 0.75]], {"toy/add": 1.0})
    assert curriculum.pass_rates() == {"toy/add": 0.75}
    assert set(choices(curriculum)) == set(ARMS)


def test_what_others_learn_from_is_tried_sooner() -> None:
    curriculum, deaf = (observed(Curriculum(ARMS, adaptive=True), {ARMS[0]: HOPELESS}, times=1) for _ in range(2))
    for _ in range(3):
        curriculum.hear([group(ARMS[2], HALF, bytes([peer]) * 32) for peer in range(1, 8)])
        for each in (curriculum, deaf):
            each.observe([group(ARMS[0], HOPELESS)])
    assert choices(curriculum)[ARMS[2]] > choices(deaf)[ARMS[2]] + 400
    assert curriculum.pass_rates() == deaf.pass_rates(), "what others can do is not what this node can do"
    assert curriculum.best() == deaf.best()


@pytest.mark.parametrize("own", [1, 4])
def test_whoever_sends_more_says_no_more(own: int) -> None:
    one, many = (observed(Curriculum(ARMS, adaptive=True), dict.fromkeys(ARMS, HALF), times=5) for _ in range(2))
    for curriculum, times in ((one, 1), (many, 500)):
        curriculum.hear([group(ARMS[3], HALF, bytes([1]) * 32)] * times)
        curriculum.observe([group(ARMS[0], HALF)] * own)
    assert [row[:3] for row in one.state()] == [row[:3] for row in many.state()]
    assert [each for row in one.state() for each in row[3:]] == pytest.approx([each for row in many.state() for each in row[3:]])


@pytest.mark.parametrize("rewards", [SOLVED, HOPELESS])
def test_nobody_else_says_that_an_arm_teaches_nothing(rewards: tuple[float, ...]) -> None:
    """No honest node shares such a group; wrong answers claimed wrong are admitted all the same."""
    curriculum, deaf = (observed(Curriculum(ARMS, adaptive=True), dict.fromkeys(ARMS, HALF), times=2) for _ in range(2))
    for _ in range(5):
        curriculum.hear([group(ARMS[3], rewards, bytes([peer]) * 32) for peer in range(1, 8)])
        for each in (curriculum, deaf):
            each.observe([group(ARMS[0], HALF)])
    assert curriculum.state() == deaf.state()


def test_a_crowd_counts_no_more_than_the_node_itself() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), {ARMS[0]: HALF}, times=1)
    before = {(name, level): groups for name, level, _, _, groups in curriculum.state()}
    curriculum.hear([group(ARMS[3], HALF, peer.to_bytes(32)) for peer in range(1, 500)])
    curriculum.observe([group(ARMS[0], HALF)])
    after = {(name, level): groups for name, level, _, _, groups in curriculum.state()}
    assert after[ARMS[3]] == pytest.approx(1.0)
    assert after[ARMS[0]] == pytest.approx(1.0, abs=before[ARMS[0]])


def test_a_liar_is_found_out_by_looking() -> None:
    """It swears by an arm that is hopeless for this node, round after round; the others are worth
    proposing."""
    arms = [(name, level) for name in ("a", "b", "c", "d") for level in range(3)]
    curriculum, random = Curriculum(arms, adaptive=True), Random(3)
    rounds, proposed = 400, Counter[Arm]()
    for _ in range(rounds):
        tasks = [curriculum.choose(random) for _ in range(2)]
        proposed.update(tasks)
        curriculum.hear([group(arms[0], HALF, bytes([9]) * 32)] * 50)
        curriculum.observe([group(arm, HOPELESS if arm == arms[0] else HALF) for arm in tasks])
    assert proposed[arms[0]] / (2 * rounds) < OTHER


def test_other_environments_groups_are_not_counted() -> None:
    curriculum = Curriculum(ARMS[:2], adaptive=True)
    curriculum.hear([group(("toy/else", 0), HALF)])
    curriculum.observe([group(ARMS[0], HALF)])
    assert {row[0] for row in curriculum.state()} == {"toy/add"}


def test_a_round_without_tasks_forgets_nothing() -> None:
    curriculum = observed(Curriculum(ARMS, adaptive=True), {ARMS[0]: HALF}, times=4)
    before = curriculum.state()
    curriculum.observe([])
    assert curriculum.state() == before


def test_the_probabilities_are_shown() -> None:
    shown = observed(Curriculum(ARMS, adaptive=True), {ARMS[1]: HALF}).proposing()
    assert [len(levels) for levels in shown.values()] == [3, 1]
    assert sum(sum(levels) for levels in shown.values()) == pytest.approx(1, abs=1e-3)
    assert max(shown["toy/add"]) == shown["toy/add"][1]
    assert Curriculum(ARMS, adaptive=False).proposing() == {"toy/add": [0.25] * 3, "toy/sort": [0.25]}


worths = st.dictionaries(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3)), st.floats(1e-9, 1), min_size=1, max_size=32)


@given(worths)
def test_chances_are_probabilities_with_a_floor_and_a_ceiling(worths: dict[Arm, float]) -> None:
    found = chances(worths)
    environments = {name for name, _ in worths}
    assert found.keys() == worths.keys()
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= FLOOR / len(worths) * (1 - 1e-9)
    for name in environments:
        share = sum(chance for (each, _), chance in found.items() if each == name)
        assert share <= min(1.0, MOST / len(environments)) + FLOOR


@given(worths)
def test_of_an_environments_levels_the_better_is_more_likely(worths: dict[Arm, float]) -> None:
    found = chances(worths)
    for one in worths:
        for other in worths:
            if one[0] == other[0] and worths[one] >= worths[other]:
                assert found[one] >= found[other] * (1 - 1e-9)


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=8))
def test_a_promise_is_a_share_and_nothing_where_nothing_can_be_learned(rewards: list[float]) -> None:
    worth = promise(group(ARMS[0], tuple(rewards)))
    assert 0 <= worth <= 1
    assert (worth > 0) == (min(rewards) != max(rewards))


def test_a_level_whose_tasks_do_not_fit_the_model_is_hardly_proposed() -> None:
    curriculum = Curriculum(ARMS, adaptive=True)
    for _ in range(4):
        curriculum.pass_over([group(ARMS[2], HALF).task] * 2)
    counts = choices(curriculum)
    assert counts[ARMS[2]] < 100 < counts[ARMS[1]]
