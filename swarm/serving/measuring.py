"""Measures training: a checkpoint and the base model answer the same held-out tasks greedily.

No node of any swarm trains on these tasks (swarm/tasks/held_out.py).
"""

from __future__ import annotations

from pathlib import Path

import trio

from swarm.clock import WallClock
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import Config
from swarm.errors import ConfigError
from swarm.home import Home
from swarm.roles.held_out_accuracy import held_out_set, solved
from swarm.roles.view import view_of
from swarm.serving.chosen import chosen
from swarm.serving.comparison import Evaluation, compare, remember
from swarm.serving.trained import open_policy
from swarm.tasks.scoring import LIMIT_S, Scorer


def run_evaluation(home: Home, config: Config, which: str, tasks: int) -> Evaluation:
    """Evaluate the checkpoint `which` (see `chosen`) and the base on `tasks` tasks per environment,
    and keep the result.

    Works beside a daemon and without one, and needs no network. Raises `SwarmdError`.
    """
    with chosen(home, which) as path:
        evaluation = trio.run(_evaluate, home, config, path, tasks)
    remember(home, evaluation)
    return evaluation


async def _evaluate(home: Home, config: Config, path: Path | None, tasks: int) -> Evaluation:
    manifest = find_manifest(config.swarm.manifest, home)
    if manifest is None:
        raise ConfigError(
            "the swarm's manifest is not here yet, and it says what there is to solve; start the node once to fetch it"
        )
    async with Scorer(config.scoring.workers, LIMIT_S, WallClock()) as scorer:
        blocks = await held_out_set(scorer, manifest, tasks)
        view = await view_of(config, manifest, scorer)
        answers = []
        # One after the other: together they may not fit into the memory.
        for each in dict.fromkeys((None, path)):
            async with open_policy(config, each) as policy:
                answers.append(await solved(policy, scorer, blocks, view))
                tag = policy.tag
    comparisons = compare(answers[0], answers[1] if path is not None else None)
    return Evaluation(tag.model, tag.step, tag.digest.hex(), manifest.name, view.rendering, comparisons)
