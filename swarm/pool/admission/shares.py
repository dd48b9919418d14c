"""Judges a share, and each of its groups alone: range, rules, and our own verifier's rewards."""

from __future__ import annotations

from collections.abc import Callable

from protocols.envelope import Envelope
from protocols.manifest import Manifest
from protocols.messages import RolloutGroup, Share, check_share
from protocols.reasons import Reason
from swarm.pool.admission.checks import forbidden
from swarm.pool.admission.epochs import taken
from swarm.pool.admission.ranges import Ranges
from swarm.pool.admission.refusal import TurnedAway, checked
from swarm.pool.admission.verification import Verification
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.records import Refusal, ScoredGroup


class Shares:
    """One node's judgement of shares; admission keeps the groups."""

    def __init__(
        self,
        manifest: Manifest,
        pool: Pool,
        standing: PeerScores,
        verification: Verification,
        beacon: Callable[[int], bytes | None],
    ) -> None:
        self._manifest = manifest
        self._pool = pool
        self._standing = standing
        self._verification = verification
        self._beacon = beacon
        self._ranges = Ranges()

    def pass_over(self, envelope: Envelope) -> None:
        """Note an envelope that takes a sequence number and no indices."""
        self._ranges.pass_over(envelope.key, envelope.sequence)

    def check(self, envelope: Envelope, share: Share, now_ms: int) -> None:
        """Raise `TurnedAway` for a share whose proposer, epoch or indices break the rules."""
        checked(lambda: check_share(share, envelope.key))
        if share.epoch >= taken(self._manifest, now_ms).stop:
            raise TurnedAway(Reason.EPOCH)
        if self.stale(share.epoch, now_ms):
            raise TurnedAway(Reason.STALE)
        if share.first_index + share.count > self._manifest.tasks_per_epoch:
            raise TurnedAway(Reason.INDEX)
        if len(share.groups) > self._manifest.max_groups_per_share:
            raise TurnedAway(Reason.GROUP_COUNT)
        wrong = self._ranges.take(envelope.key, envelope.sequence, share)
        if wrong is not None:
            raise TurnedAway(wrong)

    def stale(self, epoch: int, now_ms: int) -> bool:
        """Return whether shares of this epoch are no longer taken."""
        return epoch < taken(self._manifest, now_ms).start

    async def judge(self, envelope: Envelope, share: Share, now_ms: int) -> tuple[list[ScoredGroup], list[Refusal]]:
        """Return the groups to let in, with our own rewards, and the refusals of the others."""
        self._standing.proposed(envelope.key, share.count, len(share.groups), now_ms)
        groups, refusals = [], []
        held = await self._pool.run(lambda store: store.held_items(envelope.key, share.epoch)) if share.groups else frozenset()
        for group in share.groups:
            try:
                reason = forbidden(self._manifest, group)
                if reason is None and group.recipe.index in held:
                    reason = Reason.DUPLICATE
                if reason is not None:
                    raise TurnedAway(reason)
                groups.append(await self._verify(group, envelope, now_ms))
            except TurnedAway as refused:
                refusals.append(Refusal(envelope.key, refused.reason, envelope.id, group.recipe.index))
        return groups, refusals

    async def _verify(self, group: RolloutGroup, envelope: Envelope, now_ms: int) -> ScoredGroup:
        value = self._beacon(group.recipe.epoch)
        if value is None:
            raise TurnedAway(Reason.BEACON)
        known, young = self._standing.established(envelope.key, now_ms), not self._standing.established_signers(now_ms)
        judged = await self._verification.judge(group, value, envelope.key, established=known, young=young)
        if isinstance(judged, Reason):
            raise TurnedAway(judged)
        task, rewards = judged
        return ScoredGroup(
            task=task,
            rendering=group.rendering,
            policy=group.policy,
            completions=group.completions,
            rewards=rewards,
            signer=envelope.key,
            envelope=envelope.id,
            received_ms=now_ms,
        )
