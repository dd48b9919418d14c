"""Two nodes under the built-in manifest "code": one proposes, solves and shares; the other
rebuilds, runs and admits."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trio
from node_shapes import Medium, on_virtual_time
from swarm_shapes import tasks_of

import swarm
from protocols.messages import Completion
from swarm.config.manifest_lookup import built_in
from swarm.node.node import Node
from swarm.records import Sample, ScoredGroup, SolvedGroup, Task
from swarm.roles.evaluator import evaluate
from swarm.tasks.code.family import Code
from swarm.tasks.code.sandbox import Sandbox

RULES = built_in()["code"]
# Any language model: under its own name the embedded one is refused, since it cannot read prose.
MODEL = str(Path(swarm.__file__).parent / "policy" / "embedded")
WRONG = "```python\ndef solve(x):\n    while True: pass\n```"


def solved(node: Node, task: Task, texts: list[str]) -> SolvedGroup:
    """A group as the solver gives it, of answers written by hand: the embedded model's prompts have
    no room for these tasks."""
    samples = tuple(Sample(Completion(text, True, 9, -1.0), (1,) * 9) for text in texts)
    return SolvedGroup(task, node.learner.roles.view.rendering, node.learner.policy.tag, samples)


async def seen(node: Node, signer: bytes, groups: int, refused: int) -> tuple[list[ScoredGroup], dict[str, int]]:
    """What of a signer's groups the node has admitted, and its refusals, once there are so many of
    both or none come any more."""
    for _ in range(100):
        rows = await node.pool.run(lambda store: store.groups(limit=99, signer=signer))
        refusals = await node.pool.run(lambda store: store.refusals())
        if len(rows) >= groups and sum(refusals.values()) >= refused:
            break
        await trio.sleep(0.5)
    return [group for _, _, group in rows], refusals


@pytest.mark.skipif(bool(Sandbox().missing), reason="this machine has no sandbox for programs")
@pytest.mark.skipif(RULES.environments[0].version != Code.version, reason="the manifest names another Python")
def test_programs_are_shared_run_and_admitted_and_false_rewards_are_not(tmp_path):
    async def main(medium: Medium) -> None:
        async with (
            medium.node(0, rules=RULES, policy_model=MODEL) as one,
            medium.node(1, rules=RULES, policy_model=MODEL) as other,
        ):
            signer = one.context.identity.public_key
            tasks = await tasks_of(one.learner.roles.proposer, 6, Random(1))
            assert {task.recipe.environment for task in tasks} <= {rule.name for rule in RULES.environments}
            assert len(tasks) == 6
            groups = [solved(one, task, [f"```python\n{task.answer}```", WRONG, task.answer, "print(1)"]) for task in tasks]
            own = await evaluate(one.learner.roles.scorer, groups, signer, medium.clock.now_ms())
            assert [group.rewards for group in own] == [(1.0, 0.0, 1.0, 0.0)] * 6
            await one.exchange.share(
                0,
                [*own[:4], *(replace(group, rewards=(1.0, 0.0, 1.0, 1.0)) for group in own[4:])],
                one.learner.roles.proposer.reached,
            )
            admitted, refusals = await seen(other, signer, 4, 2)
            assert [group.rewards for group in admitted] == [(1.0, 0.0, 1.0, 0.0)] * 4
            assert {group.task for group in admitted} == set(tasks[:4])
            assert refusals == {"reward": 2}

    on_virtual_time(tmp_path, main)
