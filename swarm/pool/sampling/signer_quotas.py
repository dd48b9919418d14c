"""The part of a batch that any signer, and all newcomers together, may have.

Applied between a sampler's order and its draw:

1. A group's chance to be drawn is multiplied by its signer's weight
   (`swarm.pool.standing.peer_scores`).
2. All groups of a signer in one environment have together the chance of its best one there. So
   nobody fills a batch by sending much of one thing.
3. No signer gets more than twice an equal part of the foreign places, nor more than a third
   (`defences.signer_share`), but always an equal part. What it leaves is for others, or stays
   empty. Equal parts are counted among the established signers, or else a crowd would shrink them.
   Of its places no signer gets more than twice an equal part in any one environment: where others
   have little new, it would fill the rest of the batch with one thing. And who has less than half
   the weight of the best has fewer places in proportion: most of them would be left out. Who is
   gone has one: what it left behind is to fill no batches.
4. Newcomers, that is everybody but the established signers, get at most a tenth of the batch's
   weight together (`defences.newcomer_share`). Places are too coarse for that: a batch of eight
   groups has no tenth. So they get one place in ten, at least one, and what is drawn for them is
   trained on with a weight that makes the bound hold in every single batch.

What a group moves is its completions' weights times, in a token-level loss, their length. The bound
holds for both measures: by weight alone, long answers would buy influence. Own groups without an
advantage move nothing and do not count, or else a node that learns nothing itself would train on
newcomers only. Where nothing else moves the policy, neither do they.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.config.schema import DefencesSection
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.candidates import Candidate
from swarm.records import ScoredGroup


@dataclass(frozen=True, slots=True)
class SignerQuotas:
    """The bounds of one draw.

    `weights` are those of signers, 1 where missing. `established` are the established signers,
    empty where newcomers are not held back. `gone` are those who are not heard any more.

    `heard` is how many signers there are to share the foreign places. With a `signer_share` of 1
    numbers are no matter: neither is a signer's part bounded, nor its groups' chance.
    """

    weights: Mapping[bytes, float] = field(default_factory=dict)
    established: frozenset[bytes] = frozenset()
    gone: frozenset[bytes] = frozenset()
    heard: int = 0
    signer_share: float = 1.0
    newcomer_share: float = 1.0

    def chances(self, candidates: Sequence[Candidate], usefulness: Sequence[float]) -> list[float]:
        """Return what each candidate's chance to be drawn is proportional to."""
        sums: dict[tuple[bytes, str], float] = {}
        most: dict[tuple[bytes, str], float] = {}
        for each, useful in zip(candidates, usefulness, strict=True):
            kind = each.signer, each.environment
            sums[kind] = sums.get(kind, 0.0) + useful
            most[kind] = max(most.get(kind, 0.0), useful)

        def chance(each: Candidate, useful: float) -> float:
            kind = each.signer, each.environment
            fair = most[kind] / sums[kind] if self.signer_share < 1 and sums[kind] else 1.0
            return useful * fair * self.weights.get(each.signer, 1.0)

        return [chance(*pair) for pair in zip(candidates, usefulness, strict=True)]

    def places(self, places: int) -> int:
        """Return how many of the foreign places any signer may have."""
        if self.signer_share >= 1:
            return places
        equal = 1 / max(self.heard, 1)
        return max(1, round(places * max(min(self.signer_share, EQUAL_PARTS * equal), equal)))

    def places_by_signer(self, signers: Collection[bytes], places: int) -> dict[bytes, int]:
        """Return how many of the foreign places each of these signers may have."""
        most, best = self.places(places), max(self.weights.values(), default=0.0)
        if self.signer_share >= 1 or not best:
            return dict.fromkeys(signers, most)
        worth = {signer: self.weights.get(signer, best) / best for signer in signers}
        return {
            signer: 1 if signer in self.gone else max(1, round(most * min(part / ENOUGH_WORTH, 1.0)))
            for signer, part in worth.items()
        }

    def places_of_one_kind(self, places: int, environments: int) -> int:
        """Return how many of its places a signer may have in one of so many environments."""
        most = self.places(places)
        return max(1, math.ceil(EQUAL_PARTS * most / max(environments, 1))) if self.signer_share < 1 else most

    def newcomer(self, signer: bytes) -> bool:
        """Whether the signer is among those who share the newcomers' part."""
        return bool(self.established) and signer not in self.established


# A signer's part of the places, in equal parts of all that are heard.
EQUAL_PARTS = 2
# The part of the best signer's weight from which on a signer may have all its places.
ENOUGH_WORTH = 0.5

# Everybody counts in full, nobody is held back.
NO_QUOTAS = SignerQuotas()


def quotas_of(standing: PeerScores, signers: Collection[bytes], settings: DefencesSection, now_ms: int) -> SignerQuotas:
    """The quotas of a batch drawn now from candidates of these signers."""
    established = standing.established_signers(now_ms) if settings.newcomer_share < 1 else frozenset()
    return SignerQuotas(
        weights={signer: standing.weight(signer, now_ms) for signer in signers},
        established=established,
        gone=frozenset(signer for signer in signers if standing.gone(signer, now_ms)),
        heard=len(established) or max(len(signers), standing.present(now_ms)),
        signer_share=settings.signer_share,
        newcomer_share=settings.newcomer_share,
    )


def within(ordered: Sequence[Candidate], places: int, quotas: SignerQuotas, *, something_own: bool) -> list[Candidate]:
    """The first `places` of the sampler's order that keep to the quotas."""
    each = quotas.places_by_signer({candidate.signer for candidate in ordered}, places)
    of_one_kind = quotas.places_of_one_kind(places, len({candidate.environment for candidate in ordered}))
    newcomers = max(1, math.floor(places * quotas.newcomer_share))
    chosen: list[Candidate] = []
    taken: Counter[bytes] = Counter()
    kinds: Counter[tuple[bytes, str]] = Counter()
    of_newcomers = 0
    for candidate in ordered:
        if len(chosen) == places:
            break
        new = quotas.newcomer(candidate.signer)
        kind = candidate.signer, candidate.environment
        if taken[candidate.signer] >= each[candidate.signer] or kinds[kind] >= of_one_kind or (new and of_newcomers >= newcomers):
            continue
        chosen.append(candidate)
        taken[candidate.signer] += 1
        kinds[kind] += 1
        of_newcomers += new
    if something_own or of_newcomers < len(chosen):
        return chosen
    return []


@dataclass(frozen=True, slots=True)
class Mass:
    """How far a group moves the policy.

    By the sum of its completions' weights, and by that sum weighted by their characters.
    """

    weight: float = 0.0
    characters: float = 0.0

    def __add__(self, other: Mass) -> Mass:
        return Mass(self.weight + other.weight, self.characters + other.characters)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A drawn group and one weight per completion, which multiplies its advantage."""

    group: ScoredGroup
    weights: tuple[float, ...]

    @property
    def mass(self) -> Mass:
        """How far it moves the policy: not at all where its rewards are all equal."""
        if not self.group.informative:
            return Mass()
        # The end of the sequence is trained on as well.
        lengths = [len(completion.text) + 1 for completion in self.group.completions]
        characters = sum(weight * length for weight, length in zip(self.weights, lengths, strict=True))
        return Mass(sum(self.weights), characters)


@dataclass(frozen=True, slots=True)
class WeightedBatch:
    """Own groups, then foreign ones.

    `shares` is each signer's part of the batch's weight; they sum to 1, or to 0 if all weights are
    0.
    """

    groups: tuple[Weighted, ...]
    shares: Mapping[bytes, float]


def weigh(own: Sequence[Weighted], foreign: Sequence[Weighted], quotas: SignerQuotas) -> WeightedBatch:
    """The sampler's weights, those of newcomers reduced to what they may have together."""
    new = [each for each in foreign if quotas.newcomer(each.group.signer)]
    others = [each for each in foreign if not quotas.newcomer(each.group.signer)]
    factor = _factor(_total(new), _total([*own, *others]), quotas.newcomer_share)

    def reduced(each: Weighted) -> Weighted:
        if not quotas.newcomer(each.group.signer):
            return each
        return Weighted(each.group, tuple(factor * weight for weight in each.weights))

    groups = (*own, *map(reduced, foreign))
    masses = [(each.group.signer, each.mass.weight) for each in groups]
    whole = sum(weight for _, weight in masses)
    shares: dict[bytes, float] = {}
    for signer, weight in masses:
        shares[signer] = shares.get(signer, 0.0) + (weight / whole if whole else 0.0)
    return WeightedBatch(groups, shares)


def _total(groups: Iterable[Weighted]) -> Mass:
    return sum((each.mass for each in groups), Mass())


def _factor(newcomers: Mass, others: Mass, share: float) -> float:
    """The factor that keeps newcomers' weights to `share` of the whole, by both measures."""

    def factor(theirs: float, rest: float) -> float:
        return share * rest / ((1 - share) * theirs) if theirs > 0 and share < 1 else 1.0

    return min(1.0, factor(newcomers.weight, others.weight), factor(newcomers.characters, others.characters))
