"""What every sampler keeps to, and what each of them prefers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_shapes import NOW_MS, answers, scored

from swarm.config.load import FIELDS
from swarm.pool.sampling import SAMPLERS
from swarm.pool.sampling.drawing import Budget, Drawn, Sampler, Screen, Skill, training_group
from swarm.pool.sampling.signer_quotas import SignerQuotas, Weighted
from swarm.pool.store.candidates import Candidate
from swarm.records import ScoredGroup

ROLLOUTS, UNIFORM, USEFUL = (SAMPLERS[name] for name in ("rollouts", "uniform", "useful"))

OWN = bytes([9]) * 32


def own(index: int, informative: bool) -> ScoredGroup:
    return scored(OWN, index, rewards=(1.0, 0.0) if informative else (1.0, 1.0), token_ids=((1, 2), (3,)))


def candidate(key: int, **changes: object) -> Candidate:
    plain = {
        "signer": bytes(32), "environment": "toy/add", "reward_mean": 0.5, "reward_best": 1.0, "policy_age": 0,
        "received_ms": NOW_MS,
    }  # fmt: skip
    return Candidate(key=key, **(plain | changes))  # type: ignore[arg-type]


own_groups = st.lists(st.booleans(), max_size=6).map(lambda each: [own(index, useful) for index, useful in enumerate(each)])
candidates = st.lists(
    st.builds(
        Candidate,
        key=st.integers(1, 10**6),
        signer=st.binary(min_size=32, max_size=32),
        environment=st.sampled_from(["toy/add", "toy/sort", "toy/new"]),
        reward_mean=st.floats(-1000, 1000) | st.sampled_from([0.0, 0.5, 1.0]),
        reward_best=st.floats(-1000, 1000) | st.sampled_from([0.0, 0.5, 1.0]),
        policy_age=st.integers(0, 1000),
        received_ms=st.integers(0, 2**45),
    ),
    max_size=20,
    unique_by=lambda each: each.key,
)
budgets = st.builds(Budget, st.integers(0, 8), st.integers(0, 8))
rates = st.dictionaries(st.sampled_from(["toy/add", "toy/sort"]), st.floats(0, 1))
skills = st.builds(Skill, rates, rates)


def test_the_settings_name_the_samplers() -> None:
    assert set(FIELDS["sampling.sampler"].metadata["allowed"].choices) == set(SAMPLERS)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@given(own_groups, candidates, budgets, skills, st.integers(0, 2**32))
def test_a_draw_keeps_to_the_budget_and_to_what_there_is(
    sampler: Sampler, own: list[ScoredGroup], pool: list[Candidate], budget: Budget, skill: Skill, seed: int
) -> None:
    drawn = sampler.draw(own, pool, budget, skill, Random(seed))
    assert drawn == sampler.draw(own, pool, budget, skill, Random(seed)), "a seed says all"
    assert len(drawn.own) <= budget.local
    assert len(drawn.own) + len(drawn.foreign) <= budget.local + budget.external
    assert budget.external or not drawn.foreign, "without a foreign budget nothing foreign is trained"
    assert len({group.task.recipe.index for group in drawn.own}) == len(drawn.own)
    assert all(group in own for group in drawn.own)
    assert len(set(drawn.foreign)) == len(drawn.foreign)
    assert set(drawn.foreign) <= {each.key for each in pool}
    teaching = [each for each in pool if sampler.usefulness(each, skill) > 0]
    assert len(drawn.foreign) >= min(budget.external, len(teaching)), "places are not left empty"


def counted(sampler: Sampler, pool: list[Candidate], draws: int, external: int = 1, **rates: float) -> Counter[int]:
    named = {f"toy/{name}": rate for name, rate in rates.items()}
    skill = Skill(named, now_ms=NOW_MS)
    keys = (sampler.draw([], pool, Budget(0, external), skill, Random(seed)).foreign for seed in range(draws))
    return Counter(key for each in keys for key in each)


def test_uniform_is_uniform() -> None:
    pool = [candidate(key, reward_mean=key / 100, policy_age=key, received_ms=key) for key in range(1, 21)]
    counts = counted(UNIFORM, pool, 2000, external=2)
    expected = 2000 * 2 / 20
    assert sum((counts[key] - expected) ** 2 / expected for key in range(1, 21)) < 50, "chi-square, 19 degrees of freedom"
    chosen = Counter(
        group.task.recipe.index
        for seed in range(1000)
        for group in UNIFORM.draw([own(index, False) for index in range(5)], [], Budget(2, 0), Skill(), Random(seed)).own
    )
    assert all(330 < chosen[index] < 470 for index in range(5)), "own groups as well, informative or not"


def test_numbers_do_not_fill_a_batch() -> None:
    """A hundred groups of one signer beside one of another; and what is old beside what is new."""
    quotas = SignerQuotas(heard=2, signer_share=0.5)
    flood = [candidate(key, signer=b"f" * 32) for key in range(100)]
    pool = [*flood, candidate(100, signer=b"h" * 32)]
    drawn = Counter(
        key < 100 for seed in range(2000) for key in UNIFORM.draw([], pool, Budget(0, 1), Skill(), Random(seed), quotas).foreign
    )
    assert 0.45 < drawn[True] / 2000 < 0.55, "as often as the one that sent one"
    free = Counter(
        key < 100 for seed in range(500) for key in UNIFORM.draw([], pool, Budget(0, 1), Skill(), Random(seed)).foreign
    )
    assert free[True] > 480, "without a bound for signers every group is the same"


signed = st.lists(
    st.builds(
        lambda key, signer, environment: candidate(key, signer=signer, environment=environment),
        st.integers(1, 10**6),
        st.sampled_from([b"a" * 32, b"b" * 32, b"c" * 32]),
        st.sampled_from(["toy/add", "toy/sort"]),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda each: each.key,
)


@given(signed, st.data())
def test_a_signers_groups_of_one_kind_have_together_the_chance_of_its_best(pool: list[Candidate], data: st.DataObject) -> None:
    useful = data.draw(st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=len(pool), max_size=len(pool)))
    weights = {signer: data.draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])) for signer in {each.signer for each in pool}}
    quotas = SignerQuotas(weights=weights, heard=3, signer_share=0.34)
    chances = quotas.chances(pool, useful)
    for kind in {(each.signer, each.environment) for each in pool}:
        mine = [place for place, each in enumerate(pool) if (each.signer, each.environment) == kind]
        assert sum(chances[place] for place in mine) == pytest.approx(max(useful[place] for place in mine) * weights[kind[0]])
        assert all((chances[place] > 0) == (useful[place] * weights[kind[0]] > 0) for place in mine)
    more = [*pool, *(replace(each, key=each.key + 10**6) for each in pool if each.signer == b"a" * 32)]
    again = quotas.chances(
        more, [*useful, *(worth for each, worth in zip(pool, useful, strict=True) if each.signer == b"a" * 32)]
    )
    assert sum(again) == pytest.approx(sum(chances)), "twice as many groups have the same chance together"


def test_useful_gives_uninformative_groups_places_to_foreign_ones() -> None:
    pool = [candidate(key) for key in range(1, 11)]
    groups = [own(0, False), own(1, True), own(2, False), own(3, True), own(4, True)]

    def draw(groups: list[ScoredGroup], budget: Budget) -> Drawn:
        return USEFUL.draw(groups, pool, budget, Skill(), Random(1))

    assert [group.task.recipe.index for group in draw(groups, Budget(2, 3)).own] == [1, 3]
    assert len(draw(groups, Budget(2, 3)).foreign) == 3
    assert len(draw(groups[:3], Budget(2, 3)).foreign) == 4
    assert len(draw(groups[:1], Budget(2, 3)).foreign) == 5
    assert draw(groups[:1], Budget(2, 0)) == Drawn((), ())


def test_useful_prefers_what_the_node_fails_at() -> None:
    pool = [candidate(1, environment="toy/add"), candidate(2, environment="toy/sort")]
    counts = counted(USEFUL, pool, 2000, add=0.9, sort=0.1)
    assert counts[2] > 4 * counts[1] > 0
    assert counted(USEFUL, pool, 2000, add=1.0, sort=1.0)[1] > 800, "a solved environment is still drawn, evenly here"
    unknown = counted(USEFUL, pool, 2000, add=0.5)
    assert unknown[2] > 1.5 * unknown[1], "what was never tried counts as failing"


def test_useful_prefers_spread_and_freshness() -> None:
    spread = counted(USEFUL, [candidate(1, reward_mean=0.5), candidate(2, reward_mean=0.05)], 2000)
    assert spread[1] > 3 * spread[2] > 0
    age = counted(USEFUL, [candidate(1), candidate(2, received_ms=NOW_MS - 4000)], 2000)
    assert age[1] > 3 * age[2] > 0


def test_what_is_trained_of_a_foreign_group() -> None:
    group = scored(OWN, 0, rewards=(1.0, 0.0, 0.5, 0.4), token_ids=None)
    assert UNIFORM.foreign_weights(group, Skill()) == (1.0, 1.0, 1.0, 1.0)
    assert USEFUL.foreign_weights(group, Skill()) == (1.0, 0.0, 1.0, 0.0)


def test_a_foreign_group_is_trained_on_its_text_under_the_own_rendering() -> None:
    group = own(0, True)
    ours = training_group(group, group.task.prompts["compact"], (1.0, 1.0))
    theirs = training_group(group, group.task.prompts["prose"], (1.0, 0.0), Screen(0.001, 48))
    assert (ours.foreign, ours.min_probability, ours.max_tokens) == (False, 0.0, 0), "own text was sampled within the bounds"
    assert (theirs.min_probability, theirs.max_tokens) == (0.001, 48)
    assert (ours.prompt, ours.token_ids) == (group.task.prompts["compact"], group.token_ids)
    assert (theirs.prompt, theirs.token_ids, theirs.foreign, theirs.weights) == ("Please.", None, True, (1.0, 0.0))
    assert theirs.completions == group.completions
    assert theirs.rewards == group.rewards


def test_the_best_of_a_bad_group_is_not_imitated_by_a_node_that_does_better() -> None:
    group = scored(OWN, 0, rewards=(0.4, 0.0, 0.4, 0.0), token_ids=None)
    environment = group.task.recipe.environment
    assert USEFUL.foreign_weights(group, Skill(best={environment: 0.4})) == (1.0, 0.0, 1.0, 0.0)
    assert USEFUL.foreign_weights(group, Skill(best={environment: 1.0})) == (0.0, 0.0, 0.0, 0.0)
    bad, good = candidate(1, reward_best=0.4), candidate(2)
    drawn = USEFUL.draw([], [bad, good], Budget(0, 2), Skill(best={"toy/add": 1.0}), Random(1))
    assert drawn.foreign == (2,), "nor is a place wasted on it"


def test_rollouts_draws_completions_and_keeps_their_groups_whole() -> None:
    size, budget = 4, Budget(3, 5, 4)
    mine = [scored(OWN, index, completions=answers(*"abcd"), rewards=(1.0, 0.0, 0.0, 1.0)) for index in range(2)]
    theirs = {
        key: scored(bytes([key]) * 32, 0, completions=answers(*"abcd"), rewards=(1.0, 0.5, 0.0, 0.5)) for key in range(1, 9)
    }
    pool = [candidate(key, signer=group.signer) for key, group in theirs.items()]
    hits: Counter[tuple[int, int]] = Counter()
    for seed in range(2000):
        drawn = ROLLOUTS.draw(mine, pool, budget, Skill(), Random(seed))
        own_weights, foreign_weights = ROLLOUTS.weights(
            drawn, [(key, theirs[key]) for key in drawn.foreign], Skill(), Random(seed)
        )
        assert sum(sum(each.weights) for each in own_weights) == 3
        assert sum(drawn.foreign_counts.values()) == 5
        for key, each in zip(drawn.foreign, foreign_weights, strict=True):
            weights = each.weights
            assert each.group is theirs[key]
            assert len(weights) == size
            assert weights[1] == weights[3] == 0, "a reward equal to the mean is no advantage"
            hits.update((key, place) for place, weight in enumerate(weights) if weight)
    expected = sum(hits.values()) / 16
    assert len(hits) == 16
    assert all(abs(count - expected) < 0.15 * expected for count in hits.values()), "uniform"


def test_whole_groups_keep_all_their_completions() -> None:
    drawn = UNIFORM.draw([own(0, True)], [candidate(1)], Budget(1, 1, 8), Skill(), Random(1))
    group = scored(bytes(32), 0, rewards=(1.0, 0.0))
    mine, theirs = Weighted(drawn.own[0], (1.0, 1.0)), Weighted(group, (1.0, 1.0))
    assert UNIFORM.weights(drawn, [(1, group)], Skill(), Random(1)) == ([mine], [theirs])
