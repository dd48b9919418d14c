"""Running counts of a network's doings."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

from swarm.net.network import NetworkStatistics


class Tally(Counter[str]):
    """Running counts under the names of `NetworkStatistics`' fields."""

    def statistics(self, connections: int) -> NetworkStatistics:
        """Return the present counts, frozen."""
        counts = {field.name: self[field.name] for field in fields(NetworkStatistics)}
        return NetworkStatistics(**{**counts, "connections": connections})
