"""reasoning-gym as an environment: its datasets that rebuild identically and verify safely.

A level becomes a dataset configuration: one of the compact template's own levels (`compact.py`),
else reasoning-gym's curriculum with every attribute at that level, else its defaults. The problem
does not depend on the rendering.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Context, localcontext
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum, create_dataset

from swarm.errors import EnvironmentRefused
from swarm.tasks.compact import COMPACT, without_scratch
from swarm.tasks.environment import Problem, Unbuildable, VerifierError
from swarm.tasks.refused import REFUSED, USABLE_LEVELS
from swarm.tasks.rewards.extracted import extract_answer
from swarm.tasks.rewards.judged import JUDGED, is_right
from swarm.tasks.rewards.own_answers import own_answer

# Raise it whenever a level, the walk over seeds, a rendering or a judge changes: a recipe then
# means another task.
REVISION = 3
INSTRUCTION = "Give only the final answer, between <answer> and </answer>, at the end of your response."

# Making a dataset can mean reading a book, so it is made once and given other seeds; these datasets
# use their seed while they are made.
_SEEDED_ONCE = frozenset({"acre", "gsm_symbolic"})

# Errors of generators that give up; they depend on the seed alone.
_GENERATOR_FAILURES = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)

# Errors of judges on unexpected text, where they use reasoning-gym's games; any other is raised.
_VERIFIER_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


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
        return len(configurations(name))

    def build(self, name: str, seed: int, level: int) -> Problem:
        """Return the dataset's item 0 under this seed, in all renderings.

        `answer` is "" for the few datasets that give no answer.
        """
        if not 0 <= level < len(configurations(name)):
            raise EnvironmentRefused(f"reasoning_gym/{name} has levels 0 to {len(configurations(name)) - 1}, not {level}")
        return _build(name, seed, level)

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        """Return 1.0 for a right answer, else 0.0; `rewards/judged.py` says what is right."""
        try:
            if rendering in ("compact", "scratch"):
                text = without_scratch(completion) if rendering == "scratch" else completion
                return float(COMPACT[name].right(problem.entry, text))
            answer = extract_answer(completion)
            return float(answer is not None and is_right(name, answer, problem.entry))
        except _VERIFIER_FAILURES as error:
            raise VerifierError(f"{type(error).__name__}: {error}") from error


@cache
def _names() -> frozenset[str]:
    return frozenset(DATASETS) - frozenset(REFUSED)


@cache
def configurations(name: str) -> tuple[dict[str, Any], ...]:
    """Return the configuration of each of a dataset's levels."""
    if name not in _names():
        raise EnvironmentRefused(f"reasoning_gym/{name}: {REFUSED.get(name, 'no such dataset')}")
    if name in COMPACT:
        return tuple(dict(level) for level in COMPACT[name].levels)
    if name not in CURRICULA:
        return ({},)
    curriculum = create_curriculum(name)
    deepest = max(len(attribute.levels) for attribute in curriculum.attributes.values())
    found = []
    for level in USABLE_LEVELS.get(name, range(deepest)):
        curriculum.set_global_level(level)  # clamps each attribute to its own deepest level
        found.append(dict(vars(curriculum.generate_configuration())))
    return tuple(found)


@lru_cache(maxsize=128)
def _dataset(name: str, level: int) -> Any:
    return create_dataset(name, **(configurations(name)[level] | {"seed": 0, "size": 1}))


def make_datasets() -> None:
    """Make and keep the datasets of the compact tasks."""
    for name in COMPACT:
        for level in range(len(configurations(name))):
            _dataset(name, level)


@lru_cache(maxsize=256)
def _build(name: str, seed: int, level: int) -> Problem:
    small_seed = seed >> 32  # 31 bits: numpy's generators take no more than 32
    try:
        with localcontext(Context()):  # one dataset sets the precision of decimals, another depends on it
            if name in _SEEDED_ONCE:
                dataset = create_dataset(name, **(configurations(name)[level] | {"seed": small_seed, "size": 1}))
            else:
                dataset = _dataset(name, level)
                dataset.seed = dataset.config.seed = small_seed
            item = dataset[0]
        answer = own_answer(name, item)
    except _GENERATOR_FAILURES as error:
        raise Unbuildable(f"reasoning_gym/{name}, level {level}, seed {small_seed}: {error}") from error
    if answer is None:
        raise Unbuildable(f"reasoning_gym/{name}, level {level}, seed {small_seed}: its own answer is not right")
    item = dict(item) | {"answer": answer}
    if answer and not is_right(name, answer.strip(), item):
        raise Unbuildable(f"reasoning_gym/{name}, level {level}, seed {small_seed}: its own answer {answer!r} is not right")
    prompts = {"prose": "\n\n".join(filter(None, (item["question"], JUDGED[name].ask, INSTRUCTION)))}
    solutions = {"prose": f"<answer>{answer}</answer>"} if answer else {}
    if name in COMPACT:
        prompts["compact"] = prompts["scratch"] = COMPACT[name].prompt(item)
        solutions["compact"] = solutions["scratch"] = COMPACT[name].solution(item)
    return Problem(item["question"], answer, prompts, item, solutions)
