"""The exchanging part of a node: its own log, foreign messages, and the network in between.

It knows no policy. Admitted groups lie in the pool; the learner hears of them as the `Audience`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from protocols.reasons import ProtocolError
from swarm.beacon.beacon import Beacon
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.exchange.answering import answer_requests
from swarm.exchange.equivocation import publish_proofs
from swarm.exchange.judging import judge_peers
from swarm.exchange.log_sync import LogSync
from swarm.exchange.own_log import OwnLog, share_of
from swarm.exchange.receiving import Receiver
from swarm.exchange.recovery import Recovery
from swarm.exchange.uplink import Uplink
from swarm.net.network import OpenNetwork
from swarm.pool.admission.admission import Admission
from swarm.pool.indices import Reached
from swarm.pool.pool import Pool
from swarm.records import ScoredGroup
from swarm.supervisor import supervise

logger = logging.getLogger(__name__)

# Called when a part has failed and begins again, with its name and the error in words.
OnFailure = Callable[[str, str], None]


class Audience(Protocol):
    """The exchange's view of the learner."""

    def heard(self, groups: Sequence[ScoredGroup]) -> None:
        """Take note of foreign groups that were admitted to the pool."""


class Exchange:
    """One node's side of its swarm."""

    def __init__(self, context: Context, pool: Pool, admission: Admission, beacon: Beacon, log: OwnLog, uplink: Uplink) -> None:
        self.admission = admission
        self.beacon = beacon
        self.log = log
        self.uplink = uplink
        self.sync = LogSync(context, pool, admission)
        self._context = context
        self._pool = pool
        self._recovery = Recovery(context, pool, log)

    def connected(self) -> int:
        """Return the number of peers with an open connection."""
        return self.uplink.connected()

    async def share(self, round: int, own: Sequence[ScoredGroup], reached: Reached) -> int:
        """Keep a round's own groups, and publish the worthy ones as the next entry of the own log.

        The entry accounts for the indices up to `reached`. Returns the number of groups published;
        0 while the log is silent.
        """
        log, worth, data = self.log, [group for group in own if self._worth_sharing(group)], b""
        worth = worth[: self._context.manifest.max_groups_per_share]
        async with log.one:
            worth = [] if log.silent else [group for group in worth if log.indices.carries(group.task.recipe, reached)]
            while worth and not data:
                try:
                    data = await log.append(share_of(round, log.indices.up_to(reached), worth), worth)
                except ProtocolError as error:
                    logger.warning("%d groups of round %d do not fit into one share: %s", len(worth), round, error)
                    worth = worth[: len(worth) // 2]
        if data:
            try:
                await self.uplink.publish(data)
            except NetworkError as error:
                logger.warning("round %d was not published: %s", round, error)
        # The log has kept the groups it carries. By identity: equality would compare every text.
        kept = [group for group in own if all(group is not each for each in worth)]
        if kept:
            await self._pool.run(lambda store: store.add_groups(kept, own=True))
        return len(worth)

    def _worth_sharing(self, group: ScoredGroup) -> bool:
        """Return whether the settings want a group published and no text is too long for the
        manifest."""
        settings, most = self._context.config.tasks, self._context.manifest.max_completion_chars
        wanted = settings.share and (group.informative or settings.share_uninformative)
        return wanted and all(len(completion.text) <= most for completion in group.completions)

    async def run(self, open_network: OpenNetwork, audience: Audience, on_failure: OnFailure, opened: Callable[[], None]) -> None:
        """Open the network, call `opened`, and exchange until the network breaks or this is
        cancelled."""
        context, pool = self._context, self._pool
        receiver = Receiver(context, pool, self.admission, self.beacon, self.log, audience.heard)
        async with open_network(receiver.subscription) as network:
            self.uplink.network = network
            answer_requests(network, context.manifest, pool)
            self.beacon.serve(network)
            parts = {
                "own log": lambda: self._recovery.run(network),
                "proofs": lambda: publish_proofs(context, pool, self.log, network),
                "judging": lambda: judge_peers(self.admission.standing, context.clock, network),
                "log sync": lambda: self.sync.run(network, receiver),
                "admission": receiver.run,
            }
            opened()
            try:
                async with trio.open_nursery() as nursery:
                    for name, part in parts.items():
                        nursery.start_soon(supervise, name, part, on_failure)
            finally:
                self.uplink.network = None
