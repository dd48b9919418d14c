"""Of which admitted groups the curriculum hears."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from swarm_shapes import NOW_MS, scored

from swarm.exchange.receiving import admit
from swarm.node.node import Node
from swarm.pool.admission.admission import Admitted
from swarm.records import ScoredGroup
from swarm.roles.curriculum import Curriculum

KNOWN, NEW = bytes([1]) * 32, bytes([2]) * 32


def node_with(groups: tuple[ScoredGroup, ...], established: frozenset[bytes]) -> Any:
    async def admitted(data: bytes, peer: str) -> Admitted:
        return Admitted(groups, ())

    async def seek(*_: object) -> None:
        return

    return SimpleNamespace(
        admission=SimpleNamespace(
            admit=admitted,
            body=lambda data: None,
            signer=lambda data: KNOWN,
            standing=SimpleNamespace(old=lambda ms: established),
        ),
        beacon=SimpleNamespace(seek=seek),
        clock=SimpleNamespace(now_ms=lambda: NOW_MS),
        freshness=SimpleNamespace(arrived=lambda count: None),
        proposer=SimpleNamespace(curriculum=Curriculum([("toy/add", 0), ("toy/add", 1)], adaptive=True)),
    )


@pytest.mark.parametrize(("signer", "established", "heard"), [(NEW, (), True), (KNOWN, (KNOWN,), True), (NEW, (KNOWN,), False)])
async def test_newcomers_are_heard_only_while_nobody_is_established(
    signer: bytes, established: tuple[bytes, ...], heard: bool
) -> None:
    node = node_with((scored(signer, 0),), frozenset(established))
    await admit(cast(Node, node), b"", "peer")
    node.proposer.curriculum.observe([scored(bytes(32), 0, parameters=(("level", 0),))])
    assert {row[1] for row in node.proposer.curriculum.state()} == ({0, 1} if heard else {0})
