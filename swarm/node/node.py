"""A node: one identity's learner and exchange, joined by the pool that both of them use."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm.context import Context
from swarm.events import PartRestarted
from swarm.exchange.exchange import Exchange
from swarm.learner.keep_learning import keep_learning
from swarm.learner.learner import Learner
from swarm.pool.pool import Pool


@dataclass(frozen=True, slots=True)
class Node:
    """The opened parts of a node (opening.py).

    The learner goes on without any network, the exchange without any policy.
    """

    context: Context
    pool: Pool
    learner: Learner
    exchange: Exchange
    started_ms: int = field(init=False)

    def __post_init__(self) -> None:
        """Note the start time."""
        object.__setattr__(self, "started_ms", self.context.now_ms())

    async def learn(self) -> None:
        """Do rounds until the node has finished; end with a checkpoint."""
        await keep_learning(self.learner, self.part_failed)

    def part_failed(self, part: str, error: str) -> None:
        """Report that a part has failed and begins again."""
        self.learner.activity.state = f"restarting {part}: {error}"
        self.context.emit(PartRestarted(self.context.identity.peer_id, part, error))
