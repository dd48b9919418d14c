"""Of which admitted groups the curriculum hears."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from swarm_shapes import NOW_MS, scored

from swarm.learner.learner import Learner
from swarm.roles.curriculum import Curriculum

KNOWN, NEW = bytes([1]) * 32, bytes([2]) * 32


def learner_that_knows(established: frozenset[bytes]) -> Any:
    return SimpleNamespace(
        _standing=SimpleNamespace(established_signers=lambda ms: established),
        context=SimpleNamespace(now_ms=lambda: NOW_MS),
        freshness=SimpleNamespace(arrived=lambda count: None),
        roles=SimpleNamespace(proposer=SimpleNamespace(curriculum=Curriculum([("toy/add", 0), ("toy/add", 1)], adaptive=True))),
    )


@pytest.mark.parametrize(("signer", "established", "heard"), [(NEW, (), True), (KNOWN, (KNOWN,), True), (NEW, (KNOWN,), False)])
def test_newcomers_are_heard_only_while_nobody_is_established(signer: bytes, established: tuple[bytes, ...], heard: bool) -> None:
    learner = learner_that_knows(frozenset(established))
    Learner.heard(cast(Learner, learner), (scored(signer, 0),))
    curriculum = learner.roles.proposer.curriculum
    curriculum.observe([scored(bytes(32), 0, parameters=(("level", 0),))])
    assert {row[1] for row in curriculum.state()} == ({0, 1} if heard else {0})
