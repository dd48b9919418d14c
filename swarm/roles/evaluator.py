"""Scores own answers with the environment's verifier, which also judges foreign answers."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from swarm.errors import ChildError
from swarm.records import ScoredGroup, SolvedGroup
from swarm.tasks.scoring import Scorer


async def evaluate(scorer: Scorer, solved: Sequence[SolvedGroup], signer: bytes, now_ms: int) -> list[ScoredGroup]:
    """Return the groups with rewards, in order. A failing or late verifier leaves its group out."""
    scored: list[ScoredGroup | None] = [None] * len(solved)

    async def score(position: int) -> None:
        group = solved[position]
        task = group.task
        texts = [sample.completion.text for sample in group.samples]
        try:
            result = await scorer.score(task.recipe, task.seed, group.rendering, texts)
        except ChildError:
            return
        scored[position] = ScoredGroup(
            task=task,
            rendering=group.rendering,
            policy=group.policy,
            completions=tuple(sample.completion for sample in group.samples),
            rewards=result.rewards,
            signer=signer,
            envelope=b"",
            received_ms=now_ms,
            token_ids=tuple(sample.token_ids for sample in group.samples),
        )

    async with trio.open_nursery() as nursery:
        for position in range(len(solved)):
            nursery.start_soon(score, position)
    return [group for group in scored if group is not None]
