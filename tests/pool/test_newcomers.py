"""A thousand fresh identities against eight old ones: their part of batch, candidates and pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_shapes import NOW_MS, answers, scored

from swarm.config.schema import DefencesSection, PoolSection
from swarm.pool.sampling import SAMPLERS
from swarm.pool.sampling.drawing import Budget, Sampler, Skill
from swarm.pool.sampling.signer_quotas import Mass, SignerQuotas, Weighted, quotas_of, weigh, within
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.candidates import Candidate, Eligible, candidates
from swarm.pool.store.store import Store

MINUTE_MS = 60_000
OLD = [b"old" + number.to_bytes(29) for number in range(8)]
CROWD = [b"new" + number.to_bytes(29) for number in range(1000)]
OWN = b"\x09" * 32
SHARE = DefencesSection().newcomer_share
END_MS = NOW_MS + 120 * MINUTE_MS


@pytest.fixture
def standing() -> PeerScores:
    standing = PeerScores()
    for minute in range(121):
        for signer in OLD:
            standing.proposed(signer, 2, 1, NOW_MS + minute * MINUTE_MS)
        standing.trained(dict.fromkeys(OLD, 0.09), NOW_MS + minute * MINUTE_MS)
    return standing


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "pool.sqlite", PoolSection(max_groups=1500, max_bytes=2**29, groups_per_peer=200))) as store:
        yield store


def asked(store: Store, old: frozenset[bytes], limit: int = 512) -> list[Candidate]:
    return candidates(store, Eligible(1, 0, 100, "compact", ("toy/add",)), limit, old)


def flooded(store: Store, standing: PeerScores, *, old_groups: int) -> None:
    """Groups of the old ones, then a thousand newer ones of the crowd, whose texts are longer."""
    old = standing.established_signers(END_MS)
    for signer in OLD:
        store.add_groups([scored(signer, index, received_ms=END_MS - 1000 + index) for index in range(old_groups)], own=False)
    long = answers("right" * 3, "wrong")
    crowd = [scored(signer, 0, received_ms=END_MS, completions=long) for signer in CROWD]
    store.add_groups(crowd, own=False, established=old)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("own_groups", [0, 2])
@pytest.mark.parametrize("old_groups", [20, 1, 0], ids=["busy", "slow", "silent"])
def test_a_crowd_gets_a_tenth_of_any_batch(
    store: Store, standing: PeerScores, sampler: Sampler, own_groups: int, old_groups: int
) -> None:
    flooded(store, standing, old_groups=old_groups)
    old = standing.established_signers(END_MS)
    assert old == frozenset(OLD)
    own = [scored(OWN, index, token_ids=((1,), (2,))) for index in range(own_groups)]
    largest = 0.0
    for seed in range(30):
        found = asked(store, old)
        quotas = quotas_of(standing, {each.signer for each in found}, DefencesSection(), END_MS)
        drawn = sampler.draw(own, found, Budget(2, 6), Skill(), Random(seed), quotas)
        foreign = list(zip(drawn.foreign, store.load(drawn.foreign), strict=True))
        batch = weigh(*sampler.weights(drawn, foreign, Skill(), Random(seed)), quotas)
        share = sum(part for signer, part in batch.shares.items() if signer in set(CROWD))
        characters = Counter[bool]()
        for each in batch.groups:
            characters[each.group.signer in set(CROWD)] += each.mass.characters
        assert share <= SHARE + 1e-9
        assert characters[True] <= SHARE * characters.total() + 1e-9, "long answers do not buy influence"
        full = all(each.weights == (1.0, 1.0) for each in batch.groups if each.group.signer == OWN)
        assert full or sampler.by_rollout, "own groups count in full"
        if not own_groups and not old_groups:
            assert not foreign, "newcomers alone move nothing"
        largest = max(largest, share)
    assert largest > 0 or not (own_groups or old_groups), "the crowd is held back, not shut out"


def test_candidates_are_shared_fairly(store: Store, standing: PeerScores) -> None:
    flooded(store, standing, old_groups=40)
    found = Counter(each.signer in set(OLD) for each in asked(store, standing.established_signers(END_MS)))
    assert found == {True: 320, False: 128}
    few = Counter(each.signer for each in asked(store, standing.established_signers(END_MS), limit=16))
    assert [few[signer] for signer in OLD] == [2] * 8, "every signer's newest before anybody's second"
    unknown = Counter(each.signer in set(OLD) for each in asked(store, frozenset()))
    assert unknown.total() == 512


def test_a_crowd_does_not_push_the_old_out_of_the_pool(store: Store, standing: PeerScores) -> None:
    old = standing.established_signers(END_MS)
    for signer in OLD:
        store.add_groups([scored(signer, index, received_ms=END_MS - 10_000 + index) for index in range(150)], own=False)
    for index in range(5):
        crowd = [scored(signer, index, received_ms=END_MS + index) for signer in CROWD]
        store.add_groups(crowd, own=False, established=old)
    held = Counter(group.signer for _, _, group in store.groups(limit=5000))
    assert sum(held.values()) <= 1500
    assert [held[signer] for signer in OLD] == [140] * 8 or sum(held[signer] for signer in OLD) >= 1100
    assert sum(held[signer] for signer in CROWD) >= 300
    assert max(held[signer] for signer in CROWD) <= 2, "among newcomers who holds the most loses first"


def test_without_anybody_established_whoever_holds_most_loses_first(store: Store) -> None:
    store.add_groups([scored(CROWD[0], index, received_ms=END_MS) for index in range(200)], own=False)
    for signer in CROWD[1:]:
        store.add_groups([scored(signer, index, received_ms=END_MS + 1) for index in range(2)], own=False)
    held = Counter(group.signer for _, _, group in store.groups(limit=5000))
    assert sum(held.values()) <= 1500
    assert 1 <= held[CROWD[0]] <= 2


def candidate(key: int, signer: bytes) -> Candidate:
    return Candidate(key, signer, "toy/add", 0.5, 1.0, 0, NOW_MS)


@given(st.integers(1, 60), st.integers(0, 200), st.floats(0.05, 1))
def test_a_signers_places_fall_with_the_number_of_signers_heard(places: int, heard: int, share: float) -> None:
    quotas = SignerQuotas(heard=heard, signer_share=share)
    each, more = quotas.places(places), replace(quotas, heard=heard + 1).places(places)
    assert 1 <= more <= each <= places
    if share == 1:
        assert each == places
    else:
        assert each * max(heard, 1) >= places - heard / 2, "all of them together may fill the batch, but for rounding"
        assert each <= max(1, share * places + 0.5, places / max(heard, 1) + 0.5)
        assert each <= max(1, 2 * places / max(heard, 1) + 0.5)


def test_one_signer_gets_a_third_and_the_rest_stays_empty() -> None:
    greedy, modest, third = OLD[:3]
    ordered = [candidate(key, greedy) for key in range(50)] + [candidate(100, modest), candidate(101, third)]
    quotas = SignerQuotas(heard=3, signer_share=0.34)
    chosen = Counter(each.signer for each in within(ordered, 8, quotas, something_own=True))
    assert chosen == {greedy: 3, modest: 1, third: 1}
    two = within(ordered[:50], 8, replace(quotas, heard=2), something_own=True)
    assert len(two) == 4, "of two signers each has half, also while the other has nothing new"
    assert len(within(ordered[:50], 8, replace(quotas, heard=1), something_own=True)) == 8
    assert len(within(ordered[:50], 1, quotas, something_own=True)) == 1


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_no_signer_fills_its_places_with_one_thing(places: int, environments: int, heard: int, seed: int) -> None:
    quotas = SignerQuotas(heard=heard, signer_share=0.34)
    pool = [
        replace(candidate(key, OLD[key % 3]), environment=f"toy/{key // 3 % environments}")
        for key in range(3 * 20 * environments)
    ]
    Random(seed).shuffle(pool)
    chosen = within(pool, places, quotas, something_own=True)
    of_signer = Counter(each.signer for each in chosen)
    of_kind = Counter((each.signer, each.environment) for each in chosen)
    assert max(of_kind.values()) <= max(1, 2 * quotas.places(places) / environments + 1)
    assert sum(of_signer.values()) == min(places, 3 * quotas.places(places)), "with all tasks there, nobody loses a place by it"
    one_thing = [each for each in pool if each.signer != OLD[0] or each.environment == "toy/0"]
    flooded = Counter(each.signer for each in within(one_thing, places, quotas, something_own=True))
    assert flooded[OLD[0]] <= max(1, 2 * quotas.places(places) / environments + 1)


def test_who_teaches_little_of_what_is_drawn_has_few_places() -> None:
    weights = {OLD[0]: 0.9, OLD[1]: 0.5, OLD[2]: 0.09}
    pool = [candidate(key, OLD[key % 3]) for key in range(300)]
    quotas = SignerQuotas(weights=weights, heard=6, signer_share=0.34)
    chosen = Counter(each.signer for each in within(pool, 30, quotas, something_own=True))
    assert chosen == {OLD[0]: 10, OLD[1]: 10, OLD[2]: 2}
    strangers = replace(quotas, weights=dict.fromkeys(weights, 0.25))
    assert set(Counter(each.signer for each in within(pool, 30, strangers, something_own=True)).values()) == {10}


def test_what_the_gone_left_behind_fills_no_batch(standing: PeerScores) -> None:
    for minute in range(10):
        for signer in OLD[3:]:
            standing.proposed(signer, 2, 1, END_MS + minute * MINUTE_MS)
    pool = [candidate(key, OLD[key % 6]) for key in range(300)]
    quotas = quotas_of(standing, set(OLD[:6]), DefencesSection(), END_MS + 10 * MINUTE_MS)
    chosen = Counter(each.signer for each in within(pool, 30, quotas, something_own=True))
    assert [chosen[signer] for signer in OLD[:3]] == [1, 1, 1]
    assert min(chosen[signer] for signer in OLD[3:6]) >= 9


def test_who_is_there_counts_among_those_who_share_and_a_crowd_does_not(standing: PeerScores) -> None:
    assert quotas_of(standing, {OLD[0]}, DefencesSection(), END_MS).heard == 8
    assert quotas_of(standing, set(CROWD), DefencesSection(), END_MS).heard == 8, "or a crowd would leave the old a place each"
    gone_ms = END_MS + 20 * MINUTE_MS
    assert quotas_of(standing, {OLD[0]}, DefencesSection(), gone_ms).heard == 1
    assert quotas_of(PeerScores(), set(CROWD), DefencesSection(), END_MS).heard == 1000


def test_those_who_fell_silent_hold_no_places(standing: PeerScores) -> None:
    """A newcomer beside eight old ones, of whom five are gone after some minutes, and then all."""
    pool = [candidate(key, CROWD[0]) for key in range(30)]

    def places(minutes: int, talking: int) -> int:
        for minute in range(minutes + 1):
            for signer in [*OLD[:talking], CROWD[0]]:
                standing.proposed(signer, 1, 1, END_MS + minute * MINUTE_MS)
        quotas = quotas_of(standing, {CROWD[0]}, DefencesSection(), END_MS + minutes * MINUTE_MS)
        return len(within(pool, 30, quotas, something_own=True))

    assert places(0, 8) == 3
    assert places(7, 3) == 3, "three established ones that are there are enough to hold newcomers back"
    assert places(14, 0) == 30


def test_the_share_of_newcomers_can_be_turned_off(standing: PeerScores) -> None:
    quotas = quotas_of(standing, {CROWD[0]}, DefencesSection(newcomer_share=1.0, signer_share=1.0), END_MS)
    group = scored(CROWD[0], 0)
    assert weigh([], [Weighted(group, (1.0, 0.0))], quotas).groups[0].weights == (1.0, 0.0)
    assert len(within([candidate(key, CROWD[0]) for key in range(8)], 8, quotas, something_own=False)) == 8


weights = st.lists(st.floats(0, 10), min_size=2, max_size=8).map(tuple)


@st.composite
def weighted(draw: st.DrawFn, signers: list[bytes]) -> Weighted:
    each = draw(weights)
    rewards = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(each), max_size=len(each)).map(tuple))
    texts = [draw(st.text(max_size=20)) for _ in each]
    return Weighted(scored(draw(st.sampled_from(signers)), 0, completions=answers(*texts), rewards=rewards), each)


@given(
    st.lists(weighted([OWN]), max_size=3),
    st.lists(weighted(OLD[:3]), max_size=4),
    st.lists(weighted(CROWD[:5]), min_size=1, max_size=4),
)
def test_the_bound_holds_for_any_groups(
    own: list[Weighted],
    old: list[Weighted],
    new: list[Weighted],
) -> None:
    quotas = SignerQuotas(established=frozenset(OLD), newcomer_share=SHARE)
    batch = weigh(own, old + new, quotas)
    parts = {True: Mass(), False: Mass()}
    for each in batch.groups:
        parts[quotas.newcomer(each.group.signer) and each.group.signer != OWN] += each.mass
    for measure in ("weight", "characters"):
        theirs, rest = getattr(parts[True], measure), getattr(parts[False], measure)
        assert theirs <= SHARE * (theirs + rest) + 1e-6
    assert sum(batch.shares.values()) == pytest.approx(1) or not any(batch.shares.values())
