"""The learner's view of the swarm. A node alone has none of it, and goes on learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swarm.pool.indices import Reached
from swarm.records import ScoredGroup


class Company(Protocol):
    """The exchange of groups that a learner takes part in."""

    def connected(self) -> int:
        """Return the number of peers with an open connection."""

    async def share(self, round: int, own: Sequence[ScoredGroup], reached: Reached) -> int:
        """Keep a round's own groups in the pool; publish some, with the indices up to `reached`.

        Returns the number of groups published.
        """
