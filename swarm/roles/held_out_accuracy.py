"""Held-out accuracy: how often the policy's greedy answer is right on prompts never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.manifest import Manifest
from protocols.recipe import Parameter
from swarm.policy.policy import Policy
from swarm.records import Task
from swarm.roles.proposer import levels, parameters_at
from swarm.roles.view import View
from swarm.tasks.scoring import Scorer

EVALUATION_SEED = 20260101


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out tasks of one environment at one level, `asked` or fewer in a small domain."""

    environment: str
    parameters: tuple[tuple[str, Parameter], ...]
    asked: int
    seed: int
    tasks: tuple[Task, ...]


async def held_out_set(scorer: Scorer, manifest: Manifest, per_environment: int, seed: int = EVALUATION_SEED) -> list[HeldOut]:
    """Build about `per_environment` held-out tasks per environment, evenly over its levels."""
    blocks = []
    for rule in manifest.environments:
        allowed = levels(rule)
        for level in allowed:
            parameters = parameters_at(rule, level)
            asked = max(1, per_environment // len(allowed))
            tasks = await scorer.held_out(rule.name, parameters, asked, seed)
            blocks.append(HeldOut(rule.name, parameters, asked, seed, tuple(tasks)))
    return blocks


@dataclass(frozen=True, slots=True)
class Examined:
    """A policy's result on held-out tasks.

    It holds the share solved per environment, and the answers' mean length in characters.
    """

    accuracies: Mapping[str, float]
    answer_chars: float

    @property
    def accuracy(self) -> float:
        """The mean accuracy over environments."""
        return sum(self.accuracies.values()) / len(self.accuracies)


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answers to one block's tasks, and whether each is right."""

    environment: str
    texts: Sequence[str]
    right: Sequence[bool]


async def examine(policy: Policy, scorer: Scorer, blocks: Sequence[HeldOut], view: View) -> Examined:
    """Measure the policy on all held-out tasks, by greedy decoding; a reward of 1 is solved."""
    answered = await _answered(policy, scorer, blocks, view)
    texts = [text for each in answered for text in each.texts]
    accuracies = {environment: sum(right) / len(right) for environment, right in _right(answered).items()}
    return Examined(accuracies, sum(map(len, texts)) / len(texts))


async def solved(policy: Policy, scorer: Scorer, blocks: Sequence[HeldOut], view: View) -> dict[str, list[bool]]:
    """Return per environment, sorted, whether greedy decoding solves each held-out task."""
    return _right(await _answered(policy, scorer, blocks, view))


async def _answered(policy: Policy, scorer: Scorer, blocks: Sequence[HeldOut], view: View) -> list[_Answered]:
    prompts = [view.prompt(task) for block in blocks for task in block.tasks]
    answers = iter(await policy.answer(prompts, max_completion_length=view.max_tokens))
    answered = []
    for block in filter(lambda block: block.tasks, blocks):
        texts = [next(answers) for _ in block.tasks]
        rewards = await scorer.score_held_out(block.environment, block.parameters, block.asked, block.seed, view.rendering, texts)
        answered.append(_Answered(block.environment, texts, [reward >= 1.0 for reward in rewards]))
    return answered


def _right(answered: Sequence[_Answered]) -> dict[str, list[bool]]:
    right: dict[str, list[bool]] = {}
    for each in answered:
        right.setdefault(each.environment, []).extend(each.right)
    return dict(sorted(right.items()))
