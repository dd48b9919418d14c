"""The learning part of a node: one policy, its rounds, and their state that survives a restart.

It knows no network. Foreign groups lie in the pool when a round draws from it; groups worth sharing
go to its `Company`, which may have no peers. The rounds themselves are in loop.py and ahead.py.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import trio

from protocols.peer_id import peer_id, public_key
from swarm.context import Context
from swarm.events import Checkpointed, MostlyCut, RolledBack, RoundFinished, TooLong
from swarm.learner.activity import Activity
from swarm.learner.company import Company
from swarm.learner.cut_answers import CutAnswers
from swarm.learner.device_turns import DeviceTurns
from swarm.learner.freshness import Freshness
from swarm.learner.guest import Guest
from swarm.learner.regression_guard import RegressionGuard
from swarm.learner.round_batch import RoundBatch
from swarm.learner.sampling import Sampling
from swarm.policy import checkpoint
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store import standing_table
from swarm.records import ScoredGroup, Task, TrainReport
from swarm.roles.roles import Roles

# Most records of signers written after a round; the rest wait for the next one.
STANDINGS_WRITTEN = 256
# Rest of a node that has nothing to train on.
REST_S = 1.0


T = TypeVar("T")


class Learner:
    """The state of one node's learning, begun from a checkpoint's `state`; an empty one is a new
    start."""

    def __init__(
        self, context: Context, pool: Pool, standing: PeerScores, roles: Roles, company: Company, state: Mapping[str, Any]
    ) -> None:
        config = context.config
        self.context = context
        self.roles = roles
        self.policy = roles.policy
        self.company = company
        self.activity = Activity()
        self.turns = DeviceTurns.of(config)
        self.guest = Guest(config.guest, context.clock)
        self.sampling = Sampling(context, pool, standing, roles, self.activity)
        self.freshness = Freshness(config.sampling, self.sampling, company, self.activity)
        self.reward_mean: float | None = None
        self.cut = CutAnswers()
        self._too_long: set[str] = set()
        self._guard = RegressionGuard(roles.scorer, context.manifest, config.defences.canary_tasks, _secret_seed(context))
        self._pool = pool
        self._standing = standing
        self._stop = trio.Event()
        self._woken = trio.Event()  # ends a rest
        self._saved, self._save_asked = trio.Event(), False
        self._saved_at = -math.inf
        self._sound: set[Path] = set()  # checkpoints that this run has written
        self._restore(state)

    @property
    def finished(self) -> bool:
        """Whether the rounds end here."""
        return self.ends_before(self.round)

    def ends_before(self, round: int) -> bool:
        """Return whether this round and all after it are left undone."""
        return self.stopping or 0 < self.context.config.node.rounds <= round

    def stop(self) -> None:
        """End after the round under way."""
        self._stop.set()
        self._woken.set()
        self.freshness.stop()
        self.guest.wake()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def heard(self, groups: Sequence[ScoredGroup]) -> None:
        """Take note of foreign groups admitted to the pool."""
        established = self._standing.established_signers(self.context.now_ms())
        # Newcomers' pass rates say nothing where established signers are known.
        self.roles.proposer.curriculum.hear(group for group in groups if not established or group.signer in established)
        self.freshness.arrived(len(groups))

    def pass_over(self, tasks: Sequence[Task]) -> None:
        """Count tasks for which the model has no room, so that fewer of their kind are proposed."""
        self.totals["tasks_passed_over"] += len(tasks)
        self.roles.proposer.curriculum.pass_over(tasks)
        for environment in sorted({task.recipe.environment for task in tasks} - self._too_long):
            self._too_long.add(environment)
            self.context.emit(TooLong(self.context.identity.peer_id, self.round, environment))

    # The end of a round

    async def finish_round(self, own: Sequence[ScoredGroup], batch: RoundBatch, report: TrainReport | None) -> None:
        """Count and report a round, rest, credit its signers, and write a checkpoint when one is
        due."""
        rewards = [reward for group in own for reward in group.rewards]
        self.reward_mean = sum(rewards) / len(rewards) if rewards else self.reward_mean
        await self._rest(idle=not own and not batch.groups)
        finished = self._finished(own, batch, report)
        self.totals.update(
            groups_proposed=finished.proposed,
            groups_informative=finished.informative,
            groups_trained_own=batch.own,
            groups_trained_foreign=finished.trained_foreign,
            generated_tokens=finished.generated_tokens,
        )
        self.sampling.split.measured(finished.seconds, batch.own, finished.trained_foreign)
        self.context.emit(finished)
        if self.cut.observe(own):
            share, cap = self.cut.share or 0.0, self.roles.view.max_tokens
            self.context.emit(MostlyCut(self.context.identity.peer_id, self.round, share, cap))
        self._guard.trained({"": _learned(batch, report).get(self.context.key, 0.0), **finished.weight_from})
        await self._credit(batch, report)
        self.round += 1
        if (self._due() or self._save_asked) and await self._healthy():
            await self.save()

    def _due(self) -> bool:
        """Whether enough rounds and enough time have passed since the last checkpoint of this run;
        the first one waits for rounds only."""
        settings = self.context.config.checkpoint
        waited_s = trio.current_time() - self._saved_at
        return self.round % settings.every_rounds == 0 and waited_s >= 60 * settings.every_minutes

    def _finished(self, own: Sequence[ScoredGroup], batch: RoundBatch, report: TrainReport | None) -> RoundFinished:
        seconds, busy_s = self.activity.take_seconds(), self.policy.take_busy_s()
        took_s = self.activity.end_round(seconds, busy_s)
        learned = _learned(batch, report)
        return RoundFinished(
            peer_id=self.context.identity.peer_id,
            round=self.round,
            reward_mean=self.reward_mean or 0.0,
            informative=sum(group.informative for group in own),
            proposed=len(own),
            trained_own=batch.own,
            trained_foreign=len(batch.groups) - batch.own,
            trained_from=dict(Counter(peer_id(signer) for signer in batch.signers)),
            policy_age=fmean(batch.policy_ages) if batch.policy_ages else 0.0,
            generated_tokens=sum(completion.tokens for group in own for completion in group.completions),
            peers=self.company.connected(),
            loss=report.loss if report else 0.0,
            seconds=seconds,
            took_s=round(took_s, 4),
            busy_s=busy_s,
            weight_from={peer_id(key): share for key, share in learned.items() if key != self.context.key},
            left_out_from={peer_id(key): count for key, count in batch.left_out(report).items()},
        )

    async def _rest(self, *, idle: bool) -> None:
        elapsed, owed_s = self.activity.elapsed_s(), self.guest.owed_s(self.activity)
        rest = max(self.context.config.node.min_round_s - elapsed, owed_s, REST_S if idle else 0.0)
        if rest > 0:
            why = "node.min_round_s" if rest > owed_s else "guest.duty"
            if idle:
                why = self.roles.proposer.problem()
            # Inside the turn, so that nobody generates while the node rests.
            async with self.turns.generating:
                with self.activity.doing("waiting", why), trio.move_on_after(rest):
                    await self._woken.wait()

    async def _credit(self, batch: RoundBatch, report: TrainReport | None) -> None:
        """Credit the signers of this round's batch, and store the records that changed."""
        if batch.groups:
            foreign = {signer: share for signer, share in batch.shares.items() if signer != self.context.key}
            self._standing.trained(foreign, self.context.now_ms(), batch.learned(report))
        changed = self._standing.take_changed(STANDINGS_WRITTEN)
        if changed:
            await self._pool.run(lambda store: standing_table.keep(store, changed))

    async def _healthy(self) -> bool:
        """Look at the guard's held-out tasks. A policy that has unlearned gives way to the newest
        checkpoint."""
        if not self.context.config.defences.canary_tasks:
            return True
        with self.activity.doing("looking at held-out tasks"):
            reading = await self._guard.look(self.policy, self.roles.view)
        for peer in reading.taught:
            self._standing.helped(public_key(peer), reading.change, self.context.now_ms())
        for peer in reading.blamed:
            self._standing.harmed(public_key(peer), self.context.now_ms())
        if reading.harmed:
            harmed_in = self.round
            self.sampling.set_aside()
            # What was learned since came from this node alone: the checkpoint itself is harmed.
            if self._guard.bad_in_a_row > 2:
                await self._on_disk(checkpoint.discard_newest)
            async with self.turns.generating:
                await self.recover()
            name = self.context.identity.peer_id
            self.context.emit(RolledBack(name, harmed_in, self.round, reading.best, reading.accuracy))
        self.sampling.alone = self._guard.alone
        return not reading.harmed

    # What survives a restart

    async def save_after_round(self) -> None:
        """Wait until the newest checkpoint holds the policy as it is after a whole round, whose
        rest it ends. Returns at once while paused: the checkpoint holds it already."""
        if not self.guest.paused:
            self._save_asked = True
            self._woken.set()
            await self._saved.wait()

    def checkpointed(self) -> None:
        """Wake the callers of `save_after_round`: the newest checkpoint holds this policy."""
        self._saved.set()
        self._saved, self._save_asked = trio.Event(), False
        if not self.stopping:
            self._woken = trio.Event()

    async def save(self) -> None:
        """Write a checkpoint: the policy and the state of its learning."""
        with self.activity.doing("saving a checkpoint"):
            path = self.context.home.checkpoints
            self._sound.add(await self.policy.save(path, self.state()))
            await self._on_disk(lambda folder: checkpoint.prune(folder, self.context.config.checkpoint.keep, self._sound))
            self._sound.intersection_update(await self._on_disk(checkpoint.every))
        self._saved_at = trio.current_time()
        self.checkpointed()
        self.context.emit(Checkpointed(self.context.identity.peer_id, self.round, str(path)))

    async def recover(self) -> None:
        """Return policy and state to the newest checkpoint: the child died, or the policy has
        unlearned."""
        newest = await self.newest_checkpoint()
        await self.policy.restart(newest)
        self._restore(checkpoint.node_state(newest) if newest else {})
        self._saved_at = trio.current_time()
        self.checkpointed()

    async def newest_checkpoint(self) -> Path | None:
        """Return the folder of the newest whole checkpoint, or None."""
        return await self._on_disk(checkpoint.newest)

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint besides the policy."""
        curriculum = self.roles.proposer.curriculum
        return {
            "round": self.round,
            "curriculum": curriculum.state(),
            "best": curriculum.best(),
            "totals": dict(self.totals),
            "canary": self._guard.state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.round: int = state.get("round", 0)
        self.totals: Counter[str] = Counter(state.get("totals", {}))
        self.roles.proposer.curriculum.restore(state.get("curriculum", []), state.get("best", {}))
        self._guard.restore(state.get("canary", {}))

    async def _on_disk(self, work: Callable[[Path], T]) -> T:
        async with self.context.clock.work(0):
            return await trio.to_thread.run_sync(work, self.context.home.checkpoints)


def _learned(batch: RoundBatch, report: TrainReport | None) -> dict[bytes, float]:
    """Return each signer's share of the batch, times the learned part of its groups."""
    parts = batch.learned(report)
    return {key: share * fmean(parts.get(key, [1.0])) for key, share in batch.shares.items()}


def _secret_seed(context: Context) -> int:
    """Return the secret seed of this node's held-out tasks; a restart keeps it, so readings stay
    comparable."""
    return int.from_bytes(hashlib.sha256(b"swarmd canary\0" + context.identity.seed).digest()[:6])
