"""A node: one identity with its pool, verifiers, policy and place in a network, and what the loop asks of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from statistics import fmean
from typing import Any

import trio

from protocols.manifest import Manifest
from protocols.peer_id import peer_id, public_key
from protocols.reasons import ProtocolError
from swarm.beacon.beacon import Beacon
from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.errors import NetworkError
from swarm.events import Checkpointed, Event, Listener, PartRestarted, RolledBack, RoundFinished
from swarm.exchange.log_sync import LogSync
from swarm.exchange.own_log import OwnLog, share_of
from swarm.home import Home
from swarm.identity import Identity
from swarm.learner.activity import Activity
from swarm.learner.device_turns import DeviceTurns
from swarm.learner.freshness import Freshness
from swarm.learner.guest import Guest
from swarm.learner.regression_guard import RegressionGuard
from swarm.learner.round_batch import RoundBatch
from swarm.learner.split import Split
from swarm.net.network import Network
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.sampling import SAMPLERS
from swarm.pool.sampling.drawing import Budget, Skill, training_group
from swarm.pool.sampling.signer_quotas import quotas_of, weigh
from swarm.pool.store import standings
from swarm.pool.store.candidates import Candidate, candidates
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup, TrainReport
from swarm.roles.examples import Examples
from swarm.roles.proposer import Proposer, Reached
from swarm.tasks.scoring import Scorer

logger = logging.getLogger(__name__)

# Newest foreign groups a sampler chooses among.
CANDIDATES = 512
# Records of signers written after a round at most; the rest waits for the next one.
STANDINGS_WRITTEN = 256
# How long a node without anything to train on rests before it looks again.
REST_S = 1.0
# Weight of the newest round in the running mean of their seconds.
NEWEST_ROUND = 0.2


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made of, all of it open."""

    home: Home
    identity: Identity
    config: Config
    manifest: Manifest
    clock: Clock
    pool: Pool
    scorer: Scorer
    policy: Policy
    proposer: Proposer
    admission: Admission
    beacon: Beacon
    log: OwnLog
    canary: RegressionGuard
    examples: Examples


class Node:
    """The state of a running node. `network` is None while there is none; the loop goes on without."""

    def __init__(self, parts: Parts, listeners: Sequence[Listener], state: Mapping[str, Any]) -> None:
        self.home = parts.home
        self.identity = parts.identity
        self.config = parts.config
        self.manifest = parts.manifest
        self.clock = parts.clock
        self.pool = parts.pool
        self.scorer = parts.scorer
        self.policy = parts.policy
        self.proposer = parts.proposer
        self.admission = parts.admission
        self.beacon = parts.beacon
        self.canary = parts.canary
        self.examples = parts.examples
        self.network: Network | None = None
        self.activity = Activity()
        self.turns = DeviceTurns.of(self.config)
        self.seed = self.config.node.seed or SystemRandom().getrandbits(53)
        self.sync = LogSync(self)
        self.freshness = Freshness(self)
        self.split = Split(self.config.training)
        self.guest = Guest(self.config.guest, self.clock)
        self.started_ms = self.clock.now_ms()
        self.reward_mean: float | None = None
        self.log = parts.log
        self._listeners = tuple(listeners)
        self._stop = trio.Event()
        self.round_begun = trio.current_time()
        self.round_s = 1.0
        self.restore(state)

    # What the loop needs

    @property
    def finished(self) -> bool:
        """Whether the loop ends here."""
        return self.ends_before(self.round)

    def ends_before(self, round: int) -> bool:
        """Whether this round, and any after it, is not begun."""
        return self.stopping or 0 < self.config.node.rounds <= round

    @property
    def rendering(self) -> str:
        """How tasks are shown to this node's policy."""
        return rendering_of(self.config, self.manifest)

    @property
    def max_tokens(self) -> int:
        """Tokens per completion: the setting, within the manifest's cap."""
        cap = self.manifest.max_completion_tokens
        return min(self.config.generation.max_completion_length or cap, cap)

    @property
    def tasks_per_round(self) -> int:
        """Tasks proposed and solved in one round."""
        return self.config.tasks.per_round or self.config.training.local

    async def share(self, own: Sequence[ScoredGroup], reached: Reached) -> None:
        """Keep own groups, and publish those worth it as the next entry of the own log, with the indices up to `reached`."""
        worth = [group for group in own if self._worth_sharing(group)][: self.manifest.max_groups_per_share]
        data = b""
        async with self.log.one:
            worth = [] if self.log.silent else [group for group in worth if self.proposer.unshared(group.task.recipe, reached)]
            while worth and not data:
                try:
                    share = share_of(self.round, self.proposer.proposed(reached), worth)
                    data = await self.log.append(share, worth, self.clock.now_ms())
                    # Only now: indices that no share accounts for would be held against this node.
                    self.proposer.take_proposed(reached)
                except ProtocolError as error:
                    logger.warning("%d groups of round %d do not fit into one share: %s", len(worth), self.round, error)
                    worth = worth[: len(worth) // 2]
            self.totals["groups_shared"] += len(worth)
        if data and self.network is not None:
            try:
                await self.network.publish(data)
            except NetworkError as error:
                logger.warning("round %d was not published: %s", self.round, error)
        # The log has kept those it carries; compared by identity, since equality would compare every text.
        kept = [group for group in own if all(group is not each for each in worth)]
        if kept:
            await self.pool.run(lambda store: store.add_groups(kept, own=True))

    def _worth_sharing(self, group: ScoredGroup) -> bool:
        """Whether the settings want a group published, and no peer would hold an over-long text against this node."""
        settings, most = self.config.tasks, self.manifest.max_completion_chars
        wanted = settings.share and (group.informative or settings.share_uninformative)
        return wanted and all(len(completion.text) <= most for completion in group.completions)

    async def sample(self, own: Sequence[ScoredGroup], random: Random) -> RoundBatch:
        """Draw this round's groups from the own ones and the pool."""
        sampler = SAMPLERS[self.config.sampling.sampler]
        budget = Budget(self.config.training.local, self.split.external, self.config.generation.num_generations)
        found, skill = await self.candidates() if budget.external else [], self.skill
        signers = {each.signer for each in found}
        quotas = quotas_of(self.admission.standing, signers, self.config.defences, self.clock.now_ms())
        drawn = sampler.draw(own, found, budget, skill, random, quotas)
        foreign = await self.pool.run(lambda store: _take(store, drawn.foreign, self.round)) if drawn.foreign else []
        weighted = weigh(*sampler.weights(drawn, foreign, skill, random), quotas)
        floor, count = self.config.defences.min_probability, len(drawn.own)
        shown, form = self.examples.shown, self.rendering
        groups = [
            training_group(each.group, shown(each.group.task, form), each.weights, foreign=number >= count, min_probability=floor)
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

    @property
    def skill(self) -> Skill:
        """What the own policy can do, as its own rounds have shown."""
        curriculum = self.proposer.curriculum
        return Skill(curriculum.pass_rates(), curriculum.best(), self.clock.now_ms(), max(self.round_s * 1000, 1.0))

    async def candidates(self) -> list[Candidate]:
        """The foreign groups that may be drawn now."""
        settings, now_ms = self.config.sampling, self.clock.now_ms()
        old = self.admission.standing.old(now_ms)
        environments = [rule.name for rule in self.manifest.environments]
        return await self.pool.run(
            lambda store: candidates(
                store,
                max_uses=settings.max_uses,
                since_ms=now_ms - int(settings.max_age_s * 1000),
                max_policy_age=settings.max_policy_age,
                rendering=self.rendering,
                environments=environments,
                limit=CANDIDATES,
                old=old,
            )
        )

    async def finish_round(self, own: Sequence[ScoredGroup], batch: RoundBatch, report: TrainReport | None) -> None:
        """Count, tell, and every so often make everything up to here survive a kill."""
        rewards = [reward for group in own for reward in group.rewards]
        self.reward_mean = sum(rewards) / len(rewards) if rewards else self.reward_mean
        foreign = len(batch.groups) - batch.own
        tokens = sum(completion.tokens for group in own for completion in group.completions)
        self.totals.update(groups_trained_own=batch.own, groups_trained_foreign=foreign, generated_tokens=tokens)
        self.totals.update(groups_proposed=len(own), groups_informative=sum(group.informative for group in own))
        await self._rest(idle=not own and not batch.groups)
        seconds, took_s, busy_s = self.activity.take_seconds(), self._took_s(), self.policy.take_busy_s()
        self.activity.round(took_s, seconds, busy_s)
        self.split.measured(seconds, batch.own, foreign)
        parts = batch.learned(report)
        learned = {key: share * fmean(parts.get(key, [1.0])) for key, share in batch.shares.items()}
        learned_from = {peer_id(key): share for key, share in learned.items() if key != self.identity.public_key}
        self.emit(
            RoundFinished(
                peer_id=self.identity.peer_id,
                round=self.round,
                reward_mean=self.reward_mean or 0.0,
                informative=sum(group.informative for group in own),
                proposed=len(own),
                trained_own=batch.own,
                trained_foreign=foreign,
                trained_from=dict(Counter(peer_id(signer) for signer in batch.signers)),
                policy_age=fmean(batch.policy_ages) if batch.policy_ages else 0.0,
                generated_tokens=tokens,
                peers=self.connected_peers,
                loss=report.loss if report else 0.0,
                seconds=seconds,
                took_s=round(took_s, 4),
                busy_s=busy_s,
                weight_from=learned_from,
                left_out_from={peer_id(key): count for key, count in batch.left_out(report).items()},
            )
        )
        self.canary.trained({"": learned.get(self.identity.public_key, 0.0), **learned_from})
        await self._learn_of_peers(batch, parts)
        self.round += 1
        if self.round % self.config.checkpoint.every_rounds == 0 and await self._healthy():
            await self.save()

    async def _learn_of_peers(self, batch: RoundBatch, learned: Mapping[bytes, Sequence[float]]) -> None:
        """What was trained on earns its signers standing; a restart forgets nothing of it but the last moments."""
        standing = self.admission.standing
        if batch.groups:
            foreign = {signer: share for signer, share in batch.shares.items() if signer != self.identity.public_key}
            standing.trained(foreign, self.clock.now_ms(), learned)
        changed = standing.take_changed(STANDINGS_WRITTEN)
        if changed:
            await self.pool.run(lambda store: standings.keep(store, changed))

    async def _healthy(self) -> bool:
        """Ask the canary; a policy that was harmed is that of the newest checkpoint again."""
        if not self.config.defences.canary_tasks:
            return True
        with self.activity.doing("looking at held-out tasks"):
            reading = await self.canary.look(self.policy, self.rendering, self.max_tokens, self.examples)
        for peer, amount in reading.credit.items():
            self.admission.standing.helped(public_key(peer), amount, self.clock.now_ms())
        if reading.harmed:
            harmed_in = self.round
            if self.canary.bad_in_a_row > 1:
                async with self.clock.work(0):
                    await trio.to_thread.run_sync(checkpoint.discard_newest, self.home.checkpoints)
            async with self.turns.generating:
                await self.recover_policy()
            self.emit(RolledBack(self.identity.peer_id, harmed_in, self.round, reading.best, reading.accuracy))
        return not reading.harmed

    async def _rest(self, *, idle: bool) -> None:
        elapsed, owed_s = trio.current_time() - self.round_begun, self.guest.owed_s(self.activity)
        rest = max(self.config.node.min_round_s - elapsed, owed_s, REST_S if idle else 0.0)
        if rest > 0:
            why = "node.min_round_s" if rest > owed_s else "guest.duty"
            if idle:
                why = self.beacon.problem() or "this epoch's task indices are used up and no foreign groups came"
            # In this turn: nobody generates while the node rests.
            async with self.turns.generating:
                with self.activity.doing("waiting", why), trio.move_on_after(rest):
                    await self._stop.wait()

    def _took_s(self) -> float:
        """Seconds of the round that ends now."""
        now = trio.current_time()
        took_s, self.round_begun = now - self.round_begun, now
        self.round_s += NEWEST_ROUND * (took_s - self.round_s)
        return took_s

    # What survives, and what others may ask

    async def save(self) -> None:
        """Write a checkpoint: the policy and this node's own state."""
        with self.activity.doing("saving a checkpoint"):
            path = self.home.checkpoints
            await self.policy.save(path, self.state())
            async with self.clock.work(0):
                await trio.to_thread.run_sync(checkpoint.prune, path, self.config.checkpoint.keep)
        self.emit(Checkpointed(self.identity.peer_id, self.round, str(path)))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the policy."""
        return {
            "round": self.round,
            "curriculum": self.proposer.curriculum.state(),
            "best": self.proposer.curriculum.best(),
            "totals": dict(self.totals),
            "canary": self.canary.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a checkpoint; an empty one is the beginning."""
        self.round: int = state.get("round", 0)
        self.totals: Counter[str] = Counter(state.get("totals", {}))
        self.proposer.curriculum.restore(state.get("curriculum", []), state.get("best", {}))
        self.canary.restore(state.get("canary", {}))

    async def recover_policy(self) -> None:
        """After the policy's child died, or was led astray: back to the newest checkpoint, the node's state too."""
        async with self.clock.work(0):
            newest: Path | None = await trio.to_thread.run_sync(checkpoint.newest, self.home.checkpoints)
        await self.policy.restart(newest)
        self.restore(checkpoint.node_state(newest) if newest else {})

    def stop(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()
        self.freshness.wake()
        self.guest.wake()

    @property
    def stopping(self) -> bool:
        """Whether the node was told to stop."""
        return self._stop.is_set()

    @property
    def connected_peers(self) -> int:
        """Peers with an open connection."""
        return sum(peer.connected for peer in self.network.peers()) if self.network else 0

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(event)

    def part_failed(self, part: str, error: str) -> None:
        """Told by the supervisor."""
        self.activity.state = f"restarting {part}: {error}"
        self.emit(PartRestarted(self.identity.peer_id, part, error))


def _take(store: Store, keys: Sequence[int], round: int) -> list[tuple[int, ScoredGroup]]:
    """Load groups to train on in this round, with their keys, and count this use of them; those trimmed meanwhile are missing."""
    groups = [(key, group) for key in keys for group in store.load([key])]
    store.mark_trained(keys, round)
    return groups


def rendering_of(config: Config, manifest: Manifest) -> str:
    """How tasks are shown to a node's policy; "auto" takes what suits the model, where the swarm allows it."""
    if config.policy.rendering != "auto":
        return config.policy.rendering
    suits = "compact" if config.policy.model == "embedded" else "prose"
    return suits if suits in manifest.renderings else manifest.renderings[0]
