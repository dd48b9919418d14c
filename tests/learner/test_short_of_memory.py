"""A whole node whose policy really runs out of memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import psutil
import pytest
from node_shapes import Medium, finished, on_virtual_time

from swarm.events import Event, PartRestarted
from swarm.node.status import status

SETTINGS = {
    "node_rounds": 3,
    "tasks_per_round": 48,
    "training_local": 48,
    "training_external": 0,
    "training_groups_per_update": 0,
}


def lived(path: Path, spare: int | None) -> tuple[list[Event], dict[str, Any]]:
    """The events and the last status of a lone node whose policy may take `spare` bytes more than
    it has at first."""
    events: list[Event] = []
    shown: list[dict[str, Any]] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, **SETTINGS) as node:
            if spare is not None:
                assert node.learner.policy.pid is not None
                has = psutil.Process(node.learner.policy.pid).memory_info().vms
                resource.prlimit(node.learner.policy.pid, resource.RLIMIT_AS, (has + spare, has + spare))
            await node.learn()
            shown.append(await status(node))

    on_virtual_time(path, main)
    return events, shown[0]


def test_it_finishes_its_rounds_in_smaller_parts(tmp_path: Path) -> None:
    events, shown = lived(tmp_path / "short", 8 << 20)
    others, plain = lived(tmp_path / "plain", None)
    assert shown["policy"]["out_of_memory"] > 0 == plain["policy"]["out_of_memory"]
    assert not [event for event in events if isinstance(event, PartRestarted)]
    assert shown["policy"]["step"] == plain["policy"]["step"] == 3
    for mine, same in zip(finished(events), finished(others), strict=True):
        assert mine.trained_own == same.trained_own > 0
        assert (mine.generated_tokens, mine.reward_mean) == (same.generated_tokens, same.reward_mean)
        assert mine.loss == pytest.approx(same.loss, abs=1e-5), "the parts of a gradient are added up in another order"
