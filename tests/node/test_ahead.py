"""Rounds that overlap: what may run at once, how old the answers are that are trained on, and that nothing is lost by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from node_shapes import Medium, checked_log, finished, on_virtual_time

from swarm.events import Event, PartRestarted, RolledBack
from swarm.node.learning import keep_learning
from swarm.node.node import Node
from swarm.node.status import status
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.records import ScoredGroup

SETTINGS = {"tasks_share_uninformative": True, "node_rounds": 6, "training_external": 0, "generation_num_generations": 4}


class Watched:
    """A node's generations and updates: `G2` is the second generation, `T2` the second update, small letters are their ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.sharing_s = 0.0
        self.versions: list[tuple[int, int]] = []  # of each own group that was shared: the step it came from, and that then
        self._watch(monkeypatch, "generate", "Gg")
        self._watch(monkeypatch, "train", "Tt")
        share = Node.share

        async def shared(node: Node, own: Sequence[ScoredGroup], reached: Any) -> None:
            self.versions += [(group.policy.step, node.policy.tag.step) for group in own]
            await trio.sleep(self.sharing_s)
            await share(node, own, reached)

        monkeypatch.setattr(Node, "share", shared)

    def ahead(self, place: int) -> int:
        """Rounds that were generated and not trained on yet."""
        before = [what[0] for what in self.order[:place]]
        return before.count("G") - before.count("t")

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, letters: str) -> None:
        method, begun = getattr(Policy, name), 0

        async def watched(policy: Policy, *args: Any, **options: Any) -> Any:
            nonlocal begun
            number, begun = begun, begun + 1
            self.order.append(f"{letters[0]}{number}")
            result = await method(policy, *args, **options)
            self.order.append(f"{letters[1]}{number}")
            return result

        monkeypatch.setattr(Policy, name, watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def live(path: Path, meanwhile: Any = None, **settings: object) -> tuple[list[Event], dict[str, Any]]:
    """The events of a lone node, and its status after its rounds; its log is as it must be."""
    events: list[Event] = []
    shown: list[dict[str, Any]] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, **SETTINGS | settings) as node, trio.open_nursery() as nursery:
            if meanwhile is not None:
                nursery.start_soon(meanwhile, node)
            await keep_learning(node)
            shown.append(await status(node) | {"log": [share.round for _, share in await checked_log(node)]})
            indices = [group.recipe.index for _, share in await checked_log(node) for group in share.groups]
            assert len(indices) == len(set(indices)), "no task is proposed twice"
            nursery.cancel_scope.cancel()

    on_virtual_time(path, main)
    return events, shown[0]


def test_strict_order_does_one_thing_after_the_other(tmp_path: Path, watched: Watched) -> None:
    events, shown = live(tmp_path, node_rounds=3)
    assert watched.order == ["G0", "g0", "T0", "t0", "G1", "g1", "T1", "t1", "G2", "g2", "T2", "t2"]
    assert all(came == now for came, now in watched.versions)
    assert shown["log"] == [0, 1, 2]


@pytest.mark.parametrize("behind", [1, 2])
def test_a_round_is_generated_while_the_one_before_is_verified(tmp_path: Path, watched: Watched, behind: int) -> None:
    events, shown = live(tmp_path, training_max_versions_behind=behind)
    assert [event.round for event in finished(events)] == list(range(6))
    assert shown["log"] == list(range(6)), "every round is shared, with the indices of its own tasks"
    # One device does not wait: it alternates, whatever it might do ahead.
    assert watched.order[:8] == ["G0", "g0", "G1", "g1", "T0", "t0", "G2", "g2"]
    assert [now - came for came, now in watched.versions[::2]] == [0, 1, 1, 1, 1, 1]
    print(shown["time"], strict(tmp_path / "strict")["time"])
    assert 0


@pytest.mark.parametrize("behind", [1, 2])
def test_generation_is_never_further_ahead(tmp_path: Path, watched: Watched, behind: int) -> None:
    watched.sharing_s = 1000
    live(tmp_path, training_max_versions_behind=behind)
    assert [now - came for came, now in watched.versions[::2]] == [*range(behind), *[behind] * (6 - behind)]
    waiting = [watched.ahead(place) for place, what in enumerate(watched.order) if what[0] == "G"]
    assert max(waiting) == behind, "so many rounds wait for their update as one more is begun"


def strict(path: Path) -> dict[str, Any]:
    return live(path)[1]
