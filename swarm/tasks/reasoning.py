"""reasoning-gym as an environment: its datasets that rebuild identically and verify safely.

A level becomes a dataset configuration: one of the compact template's own levels (`compact.py`),
else reasoning-gym's curriculum with every attribute at that level, else its defaults. The problem
does not depend on the rendering.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Context, localcontext
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum, create_dataset

from swarm.errors import EnvironmentRefused
from swarm.tasks.compact import COMPACT, without_scratch
from swarm.tasks.environment import Problem, Unbuildable, VerifierError
from swarm.tasks.refused import REFUSED, USABLE_LEVELS
from swarm.tasks.screening import may_be_scored

# Raise it whenever a level, the walk over seeds, a rendering or the screening changes: a recipe
# then means another task.
REVISION = 2
INSTRUCTION = "Give only the final answer, between <answer> and </answer>, at the end of your response."

# Making a dataset can mean reading a book, so it is made once and given other seeds; these datasets
# use their seed while they are made.
_SEEDED_ONCE = frozenset({"acre", "gsm_symbolic"})

# Errors of generators that give up; they depend on the seed alone.
_GENERATOR_FAILURES = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)

# Errors of reasoning-gym's verifiers on unexpected text; any other is a fault here, and is raised.
_VERIFIER_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# Datasets with many right answers and no "answer" of their own, but an example among the metadata.
_EXAMPLES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "graph_color": lambda metadata: json.dumps(metadata["possible_answer"]),
    "propositional_logic": lambda metadata: str(metadata["example_answer"]),
    "rubiks_cube": lambda metadata: str(metadata["example_correct_answer"]),
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item and the dataset that built it, whose configuration its verifier reads."""

    dataset: Any
    item: Mapping[str, Any]


class ReasoningGym:
    """The family "reasoning_gym"; see `swarm.tasks.environment.Environment`."""

    version = f"{version('reasoning-gym')}+{REVISION}"

    def names(self) -> Collection[str]:
        """Return all datasets but the refused ones."""
        return _names()

    def refused(self) -> Mapping[str, str]:
        """Return the datasets that are unsafe or rebuild differently: name → reason."""
        return REFUSED

    def levels(self, name: str) -> int:
        """Return the number of levels."""
        return len(_levels(name))

    def build(self, name: str, seed: int, level: int) -> Problem:
        """Return the dataset's item 0 under this seed, in all renderings.

        `answer` is "" for the few datasets that give no answer.
        """
        if not 0 <= level < len(_levels(name)):
            raise EnvironmentRefused(f"reasoning_gym/{name} has levels 0 to {len(_levels(name)) - 1}, not {level}")
        return _build(name, seed, level)

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        """Return the dataset's own `score_answer` of the completion's answer, clamped to [0, 1]."""
        if rendering in ("compact", "scratch"):
            item = problem.entry.item
            text = without_scratch(completion) if rendering == "scratch" else completion
            answer: str | None = COMPACT[name].answer(item, text)
            if not answer and text != COMPACT[name].solution(item):
                return 0.0  # "" means a malformed completion, except for the rare problem whose answer is ""
        else:
            answer = extract_answer(completion)
        return 0.0 if answer is None else _reward(name, problem, answer)


def extract_answer(completion: str) -> str | None:
    """Return the stripped text between the last <answer> and </answer>; None without that pair."""
    end = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, max(end, 0))
    return completion[start + len("<answer>") : end].strip() if 0 <= start < end else None


@cache
def _names() -> frozenset[str]:
    return frozenset(DATASETS) - frozenset(REFUSED)


@cache
def _levels(name: str) -> tuple[dict[str, Any], ...]:
    """Return the configuration of each of a dataset's levels."""
    if name not in _names():
        raise EnvironmentRefused(f"reasoning_gym/{name}: {REFUSED.get(name, 'no such dataset')}")
    if name in COMPACT:
        return tuple(dict(level) for level in COMPACT[name].levels)
    if name not in CURRICULA:
        return ({},)
    curriculum = create_curriculum(name)
    deepest = max(len(attribute.levels) for attribute in curriculum.attributes.values())
    configurations = []
    for level in USABLE_LEVELS.get(name, range(deepest)):
        curriculum.set_global_level(level)  # clamps each attribute to its own deepest level
        configurations.append(dict(vars(curriculum.generate_configuration())))
    return tuple(configurations)


@lru_cache(maxsize=128)
def _dataset(name: str, level: int) -> Any:
    return create_dataset(name, **(_levels(name)[level] | {"seed": 0, "size": 1}))


def make_datasets() -> None:
    """Make and keep the datasets of the compact tasks."""
    for name in COMPACT:
        for level in range(len(_levels(name))):
            _dataset(name, level)


@lru_cache(maxsize=256)
def _build(name: str, seed: int, level: int) -> Problem:
    small_seed = seed >> 32  # 31 bits: numpy's generators take no more than 32
    try:
        with localcontext(Context()):  # one dataset sets the precision of decimals, another depends on it
            if name in _SEEDED_ONCE:
                dataset = create_dataset(name, **(_levels(name)[level] | {"seed": small_seed, "size": 1}))
            else:
                dataset = _dataset(name, level)
                dataset.seed = dataset.config.seed = small_seed
            item = dataset[0]
    except _GENERATOR_FAILURES as error:
        raise Unbuildable(f"reasoning_gym/{name}, level {level}, seed {small_seed}: {error}") from error
    answer = item["answer"]
    if answer is None:
        answer = _EXAMPLES[name](item["metadata"]) if name in _EXAMPLES else ""
    prompts = {"prose": f"{item['question']}\n\n{INSTRUCTION}"}
    solutions = {"prose": f"<answer>{answer}</answer>"} if answer else {}
    if name in COMPACT:
        prompts["compact"] = prompts["scratch"] = COMPACT[name].prompt(item)
        solutions["compact"] = solutions["scratch"] = COMPACT[name].solution(item)
    problem = Problem(item["question"], answer, prompts, _Entry(dataset, item), solutions)
    if answer and _reward(name, problem, answer.strip()) != 1.0:
        raise Unbuildable(f"reasoning_gym/{name}, level {level}, seed {small_seed}: its own answer {answer!r} is not right")
    return problem


def _reward(name: str, problem: Problem, answer: str) -> float:
    if not may_be_scored(name, answer, problem.answer, problem.entry.item):
        return 0.0
    try:
        with localcontext(Context()):
            score = float(problem.entry.dataset.score_answer(answer, problem.entry.item))
    except _VERIFIER_FAILURES as error:
        raise VerifierError(f"{type(error).__name__}: {error}") from error
    return min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0
