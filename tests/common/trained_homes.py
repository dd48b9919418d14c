"""Homes whose policy has learned something."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from protocols.messages import Completion
from swarm.clock import WallClock
from swarm.config.load import load
from swarm.home import Home
from swarm.policy.policy import Policy
from swarm.records import TrainingGroup


async def a_checkpoint(home: Home, rounds: int, node_state: Mapping[str, Any] = MappingProxyType({})) -> None:
    """What `rounds` updates on one group leave in the home."""
    config = load(home.path)
    completions = (Completion("1", True, 2, -1.0), Completion("2", True, 2, -1.0))
    group = TrainingGroup("12", completions, (1.0, 0.0), (1.0, 1.0), foreign=True)
    async with Policy(config, WallClock(), checkpoint=None) as policy:
        for _ in range(rounds):
            await policy.train([group])
        await policy.save(home.checkpoints, dict(node_state))
