"""reasoning-gym as an environment: every dataset that rebuilds identically anywhere and whose verifier is safe on hostile text.

A level becomes a dataset configuration: the compact rendering's own levels where the dataset has one (`compact.py`), else
reasoning-gym's curriculum with every attribute at that level, else its defaults. The problem does not depend on the rendering.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum, create_dataset

from swarm.errors import EnvironmentRefused
from swarm.tasks.compact import COMPACT
from swarm.tasks.environment import Problem, VerifierError
from swarm.tasks.refused import LEVEL_CAPS, PERMITTED_CHARACTERS, REFUSED

# Raise it whenever a level, the seed walk or a rendering changes: the same recipe then rebuilds to another task.
REVISION = 1
MAX_ANSWER_CHARS = 8192
INSTRUCTION = "Give only the final answer between <answer> and </answer> at the end of your response."

# What reasoning-gym's verifiers raise on text that they did not expect; anything else is a fault here and is not hidden.
_VERIFIER_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A dataset of one item, and the item: verifiers read the configuration of the dataset that built it."""

    dataset: Any
    item: Mapping[str, Any]


class ReasoningGym:
    """The family "reasoning_gym"; see `swarm.tasks.environment.Environment`."""

    version = f"{version('reasoning-gym')}+{REVISION}"

    def names(self) -> Collection[str]:
        """All datasets but the refused ones."""
        return _names()

    def refused(self) -> Mapping[str, str]:
        """Datasets that differ between processes, have unsafe verifiers, or do not work: name → reason."""
        return REFUSED

    def levels(self, name: str) -> int:
        """The number of levels."""
        self._check(name)
        return _levels(name)

    def build(self, name: str, seed: int, level: int) -> Problem:
        """The dataset's item 0 under this seed, in all renderings."""
        self._check(name)
        if not 0 <= level < _levels(name):
            raise EnvironmentRefused(f"reasoning_gym/{name} has levels 0 to {_levels(name) - 1}, not {level}")
        return _build(name, seed, level)

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        """The dataset's own `score_answer` on what the completion gives as its answer, clamped to [0, 1]."""
        self._check(name)
        entry: _Entry = problem.entry
        answer = COMPACT[name].answer(entry.item, completion) if rendering == "compact" else extract_answer(completion)
        if answer is None or len(answer) > MAX_ANSWER_CHARS or not _permitted(name, answer):
            return 0.0
        try:
            score = float(entry.dataset.score_answer(answer, entry.item))
        except _VERIFIER_FAILURES as error:
            raise VerifierError(f"{type(error).__name__}: {error}") from error
        return min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0

    def _check(self, name: str) -> None:
        if name not in _names():
            raise EnvironmentRefused(f"reasoning_gym/{name}: {REFUSED.get(name, 'no such dataset')}")


def extract_answer(completion: str) -> str | None:
    """The text between the last </answer> and the last <answer> before it, stripped; None where there is no such pair."""
    end = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, max(end, 0))
    return completion[start + len("<answer>") : end].strip() if 0 <= start < end else None


@cache
def _names() -> frozenset[str]:
    return frozenset(DATASETS) - frozenset(REFUSED)


@cache
def _levels(name: str) -> int:
    if name in COMPACT:
        return len(COMPACT[name].levels)
    if name not in CURRICULA:
        return 1
    deepest = max((len(attribute.levels) for attribute in create_curriculum(name).attributes.values()), default=1)
    return min(deepest, LEVEL_CAPS.get(name, deepest))


def _configuration(name: str, level: int) -> dict[str, Any]:
    if name in COMPACT:
        return dict(COMPACT[name].levels[level])
    if name not in CURRICULA:
        return {}
    curriculum = create_curriculum(name)
    curriculum.set_global_level(level)  # clamps each attribute to its own deepest level
    return dict(vars(curriculum.generate_configuration()))


@lru_cache(maxsize=256)
def _build(name: str, seed: int, level: int) -> Problem:
    dataset = create_dataset(name, **(_configuration(name, level) | {"seed": seed, "size": 1}))
    item = dataset[0]
    prompts = {"prose": f"{item['question']}\n\n{INSTRUCTION}"}
    if name in COMPACT:
        prompts["compact"] = COMPACT[name].prompt(item)
    return Problem(question=item["question"], answer=item["answer"], prompts=prompts, entry=_Entry(dataset, item))


def _permitted(name: str, answer: str) -> bool:
    """Whether the answer holds only characters that this dataset's verifier, which evaluates it as code, can be trusted with."""
    characters = PERMITTED_CHARACTERS.get(name)
    return characters is None or (characters.issuperset(answer) and "**" not in answer and "//" not in answer)
