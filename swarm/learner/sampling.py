"""Draws a round's batch: own groups, and foreign ones from the pool (SAPO, arXiv 2509.08721,
Algorithm 1, step 5)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from swarm.context import Context
from swarm.learner.activity import Activity
from swarm.learner.round_batch import RoundBatch
from swarm.learner.split import Split
from swarm.pool.pool import Pool
from swarm.pool.sampling import SAMPLERS
from swarm.pool.sampling.drawing import Budget, Screen, Skill, training_group
from swarm.pool.sampling.signer_quotas import quotas_of, weigh
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.candidates import Candidate, Eligible, candidates
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup
from swarm.roles.roles import Roles

# A sampler chooses among this many of the newest foreign groups.
CANDIDATES = 512
# Since when foreign groups are drawn: the policy of a signer that fell silent does not age.
MAX_AGE_MS = 3_600_000


class Sampling:
    """One node's draws, by the sampler of its settings; of its own groups only while `alone`."""

    def __init__(self, context: Context, pool: Pool, standing: PeerScores, roles: Roles, activity: Activity) -> None:
        self._context = context
        self._pool = pool
        self._standing = standing
        self._curriculum = roles.proposer.curriculum
        self._view = roles.view
        self._activity = activity
        self._sampler = SAMPLERS[context.config.sampling.sampler]
        self.split = Split(context.config.training, self._sampler.foreign_time)
        self.alone = False
        self._since_ms = 0

    @property
    def external(self) -> int:
        """Foreign groups or completions that a round draws now (J)."""
        return 0 if self.alone else self.split.external

    def set_aside(self) -> None:
        """Draw none of the foreign groups received until now: one of them may have done harm."""
        self._since_ms = self._context.now_ms()

    async def draw(self, own: Sequence[ScoredGroup], round: int, random: Random) -> RoundBatch:
        """Draw from this round's own groups and the pool's foreign ones; count one use of each
        foreign group drawn."""
        config, sampler = self._context.config, self._sampler
        budget = Budget(config.training.local, self.external, config.generation.num_generations)
        found, skill = await self.candidates() if budget.external else [], self._skill()
        signers = {each.signer for each in found}
        quotas = quotas_of(self._standing, signers, config.defences, self._context.now_ms())
        drawn = sampler.draw(own, found, budget, skill, random, quotas)
        foreign = await self._pool.run(lambda store: _take(store, drawn.foreign, round)) if drawn.foreign else []
        weighted = weigh(*sampler.weights(drawn, foreign, skill, random), quotas)
        screen, count = Screen(config.defences.min_probability, self._context.manifest.max_completion_tokens), len(drawn.own)
        groups = [
            training_group(each.group, self._view.prompt(each.group.task), each.weights, None if number < count else screen)
            for number, each in enumerate(weighted.groups)
        ]
        ages = {each.key: each.policy_age for each in found}
        return RoundBatch(
            groups=tuple(groups),
            own=count,
            signers=tuple(group.signer for _, group in foreign),
            policy_ages=tuple(ages[key] for key, _ in foreign),
            shares=weighted.shares,
        )

    async def candidates(self) -> list[Candidate]:
        """Return the foreign groups that may be drawn now."""
        settings, now_ms = self._context.config.sampling, self._context.now_ms()
        established = self._standing.established_signers(now_ms)
        eligible = Eligible(
            max_uses=self._sampler.max_uses,
            since_ms=max(now_ms - MAX_AGE_MS, self._since_ms + 1),
            max_policy_age=settings.max_policy_age,
            rendering=self._view.rendering,
            environments=tuple(rule.name for rule in self._context.manifest.environments),
        )
        return await self._pool.run(lambda store: candidates(store, eligible, CANDIDATES, established))

    async def useful(self) -> int:
        """Return the number of candidates that the sampler has a use for."""
        found, skill = await self.candidates(), self._skill()
        return sum(self._sampler.usefulness(each, skill) > 0 for each in found)

    @property
    def completions_per_group(self) -> int:
        """The part of J that one foreign group takes: 1, or its completions if the sampler counts
        those."""
        return self._context.config.generation.num_generations if self._sampler.by_rollout else 1

    def _skill(self) -> Skill:
        """Return the own policy's pass rates, as its own rounds have shown them."""
        rates, best = self._curriculum.pass_rates(), self._curriculum.best()
        return Skill(rates, best, self._context.now_ms(), max(self._activity.round_s * 1000, 1.0))


def _take(store: Store, keys: Sequence[int], round: int) -> list[tuple[int, ScoredGroup]]:
    """Load the groups of these keys and count one use of each; groups trimmed meanwhile are
    missing."""
    groups = [(key, group) for key in keys for group in store.load([key])]
    store.mark_trained(keys, round)
    return groups
