"""What training was good for: a checkpoint and the base model on the same held-out tasks, which no node of any swarm trains on
(swarm/tasks/held_out.py), answered greedily."""

from __future__ import annotations

import trio

from swarm.clock import WallClock
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import Config
from swarm.errors import ConfigError
from swarm.home import Home
from swarm.node.node import rendering_of
from swarm.roles.examples import gather_examples
from swarm.roles.held_out_accuracy import held_out_set, solved
from swarm.serving.comparison import Evaluation, compare, remember
from swarm.serving.trained import choose, open_policy
from swarm.tasks.scoring import Scorer


def run_evaluation(home: Home, config: Config, which: str, tasks: int) -> Evaluation:
    """Evaluate the checkpoint `which` (see `choose`) and the base on some `tasks` per environment, and remember the result.

    Works beside a daemon and without one, and needs no network. Raises `SwarmdError`.
    """
    evaluation = trio.run(_evaluate, home, config, which, tasks)
    remember(home, evaluation)
    return evaluation


async def _evaluate(home: Home, config: Config, which: str, tasks: int) -> Evaluation:
    manifest = find_manifest(config.swarm.manifest, home)
    if manifest is None:
        raise ConfigError(
            "the swarm's manifest is not here yet, and it says what there is to solve; start the node once to fetch it"
        )
    rendering = rendering_of(config, manifest)
    max_tokens = min(config.generation.max_completion_length or manifest.max_completion_tokens, manifest.max_completion_tokens)
    path = await trio.to_thread.run_sync(choose, home, which)
    async with Scorer(config.scoring.workers, config.scoring.timeout_s, WallClock()) as scorer:
        blocks = await held_out_set(scorer, manifest, tasks)
        examples = await gather_examples(scorer, manifest, rendering, config.policy.examples)
        answers = []
        # One after the other: together they may not fit into the memory.
        for each in dict.fromkeys((None, path)):
            async with open_policy(config, each) as policy:
                answers.append(await solved(policy, scorer, blocks, rendering, max_tokens, examples))
                tag = policy.tag
    comparisons = compare(answers[0], answers[1] if path is not None else None)
    return Evaluation(tag.model, tag.step, tag.digest.hex(), manifest.name, rendering, comparisons)
