"""Check groups: carried by an envelope, allowed by the manifest, scored again as they were."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.manifest import epoch_of
from protocols.messages import RolloutGroup, Share
from protocols.peer_id import peer_id
from protocols.reasons import ProtocolError
from protocols.recipe import seed
from swarm.audit.audit_logs import Logs
from swarm.audit.findings import AuditCase
from swarm.errors import ChildDied, ChildError, ChildTimeout
from swarm.pool.admission.checks import agree, forbidden
from swarm.pool.admission.epochs import taken
from swarm.pool.store.packing import unpack_group
from swarm.records import ScoredGroup
from swarm.tasks.scoring import Scored, Scorer

NOT_SCORED = "the verifiers were left out"
NO_BEACON = "the beacon's round of its epoch is not held"


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why a group was not scored again; `failed` says that the verifier ended with an error."""

    why: str
    failed: bool = False


class Groups:
    """The groups of a store, scored again; without a scorer everything else is checked."""

    def __init__(self, case: AuditCase, logs: Logs, scorer: Scorer | None) -> None:
        self._copy = case.copy
        self._manifest = case.manifest
        self._report = case.report
        self._logs = logs
        self._scorer = scorer

    async def check(self) -> None:
        """Check all of them."""
        for key, own, record in self._copy.rows("groups", "key, own, record", "ORDER BY key"):
            kind = "own groups" if own else "foreign groups"
            try:
                group = unpack_group(record)
            except (ValueError, TypeError) as error:
                self._report.contradict(kind, f"group {key} cannot be read: {error}")
                continue
            outcome = self._on_paper(group, own=bool(own)) or await self._scored(group)
            match outcome:
                case str():
                    self._report.contradict(kind, f"group {key} (task {_task(group)}) {outcome}")
                case Unscored():
                    self._report.leave(kind, outcome.why)
                case None:
                    self._report.confirm(kind)

    async def score(self, group: RolloutGroup | ScoredGroup) -> Scored | Unscored:
        """Rebuild a group's task and score its answers, as admission does."""
        recipe = group.task.recipe if isinstance(group, ScoredGroup) else group.recipe
        if self._scorer is None:
            return Unscored(NOT_SCORED)
        installed = self._scorer.versions().get(recipe.environment.partition("/")[0])
        if installed != recipe.version:
            return Unscored(f"{recipe.environment} {recipe.version} is not installed")
        if (beacon := self._logs.beacon(recipe.epoch)) is None:
            return Unscored(NO_BEACON)
        texts = [completion.text for completion in group.completions]
        try:
            return await self._scorer.score(recipe, seed(recipe, beacon), group.rendering, texts)
        except (ChildTimeout, ChildDied):
            return Unscored("the verifier took too long")
        except ChildError:
            return Unscored("the verifier fails", failed=True)

    def _on_paper(self, group: ScoredGroup, *, own: bool) -> str | None:
        """What is wrong with a group, without scoring it."""
        recipe = group.task.recipe
        bare = RolloutGroup(recipe, group.rendering, group.policy, group.completions, group.rewards)
        reason = forbidden(self._manifest, bare)
        # An own group that no peer would take is not shared, and is trained on here all the same.
        if reason is not None and group.envelope:
            return f"is not allowed by the manifest ({reason})"
        if recipe.proposer != group.signer:
            return "was proposed by another key than its signer's"
        if not own and not self._timely(group):
            return f"was received in epoch {epoch_of(self._manifest, group.received_ms)}, and is not of that time"
        if not group.envelope:
            return None if own else "came in no envelope"
        try:
            held = self._logs.held(group.envelope)
        except ProtocolError as error:
            return f"came in an envelope that does not open: {error}"
        if held is None:
            if own:
                return f"names the envelope {group.envelope.hex()[:16]}, which the own log does not hold"
            # Still rebuilt and scored, so it is confirmed as far as that goes.
            self._report.trimmed += 1
            return None
        carried = group_in(held.share, recipe.index) if held.share else None
        if held.envelope.key != group.signer or carried is None or carried.recipe != recipe:
            return f"is not in the envelope that it names, {group.envelope.hex()[:16]}"
        if (carried.rendering, carried.policy, carried.completions) != (group.rendering, group.policy, group.completions):
            return f"is not what its envelope {group.envelope.hex()[:16]} carries"
        return None

    def _timely(self, group: ScoredGroup) -> bool:
        return group.task.recipe.epoch in taken(self._manifest, group.received_ms)

    async def _scored(self, group: ScoredGroup) -> str | Unscored | None:
        scored = await self.score(group)
        if isinstance(scored, Unscored):
            return scored
        task = group.task
        if (scored.task.seed, dict(scored.task.prompts), scored.task.answer) != (task.seed, dict(task.prompts), task.answer):
            return "is not the task that its recipe rebuilds to"
        if not agree(group.rewards, scored.rewards):
            return f"has the rewards {list(group.rewards)}, and the verifier gives {list(scored.rewards)}"
        return None


def group_in(share: Share, index: int) -> RolloutGroup | None:
    """The group of the task with this index."""
    return next((group for group in share.groups if group.recipe.index == index), None)


def _task(group: ScoredGroup) -> str:
    recipe = group.task.recipe
    return f"{recipe.environment} {recipe.epoch}/{recipe.index} of {peer_id(group.signer)}"
