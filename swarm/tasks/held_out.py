"""The split between training and evaluation: a fixed tenth of all problems is never trained on.

Whether a problem is held out depends on its text alone, not on its seed, its proposer or its epoch.
`training_problem` walks from a recipe's seed to the first problem that is not held out;
`evaluation_seeds` collects the held-out ones of a walk. Everybody walks the same way, so no prompt
that any node of any swarm ever trained on is in any evaluation set.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import count, islice

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Environment, Problem, Unbuildable

DOMAIN = b"swarmd held-out problem v1\0"
SEED_DOMAIN = b"swarmd problem seed v1\0"
EXAMPLES_SEED = 3  # of the worked examples; fixed, so that all nodes with one model begin alike
MAX_TRAINING_STEPS = 64  # with a tenth held out, an honest domain gets this far once in 10^64 recipes
MAX_EVALUATION_STEPS = 40  # per wanted problem; 10 are expected


def held_out(key: str) -> bool:
    """Whether the problem of this key is for evaluation only, as 26 of 256 are."""
    return sha256(DOMAIN + key.encode()).digest()[0] < 26


def problem_key(environment: str, problem: Problem) -> str:
    """Return the key of a problem of "family/kind": its compact prompt, or else its question.

    The compact prompt is the finer sieve: prose questions that differ only in phrasing share it.
    """
    return f"{environment}\n{problem.prompts.get('compact', problem.question)}"


def walk(seed: int) -> Iterator[int]:
    """Yield the seeds (63 bits) to try for a recipe's seed, without end.

    They are hashed, since adjacent seeds can ask nearly the same question.
    """
    for step in count():
        yield int.from_bytes(sha256(SEED_DOMAIN + f"{seed}/{step}".encode()).digest()[:8]) >> 1


def training_problem(environment: Environment, family: str, name: str, seed: int, level: int) -> Problem:
    """Return the problem of a recipe's seed: the first of its walk that is not held out.

    Raises `EnvironmentRefused` if the walk's first `MAX_TRAINING_STEPS` seeds have none.
    """
    for key, _, problem in _walked(environment, family, name, seed, level, MAX_TRAINING_STEPS):
        if not held_out(key):
            return problem
    raise EnvironmentRefused(
        f"{family}/{name} at level {level} has too few problems: {MAX_TRAINING_STEPS} in a row are not for training; drop it"
    )


def evaluation_seeds(environment: Environment, family: str, name: str, seed: int, level: int, wanted: int) -> list[int]:
    """Return seeds of up to `wanted` held-out problems with distinct keys; fewer in small domains.

    About ten problems are built to find each.
    """
    found: dict[str, int] = {}
    for key, step, _ in _walked(environment, family, name, seed, level, MAX_EVALUATION_STEPS * wanted):
        if held_out(key):
            found.setdefault(key, step)
        if len(found) == wanted:
            break
    return list(found.values())


def example_problems(environment: Environment, family: str, name: str, level: int, wanted: int) -> list[Problem]:
    """Return up to `wanted` worked examples: distinct problems of a walk that are not held out."""
    found: dict[str, Problem] = {}
    for key, _, problem in _walked(environment, family, name, EXAMPLES_SEED, level, MAX_EVALUATION_STEPS * wanted):
        if not held_out(key):
            found.setdefault(key, problem)
        if len(found) == wanted:
            break
    return list(found.values())


def _walked(
    environment: Environment, family: str, name: str, seed: int, level: int, steps: int
) -> Iterator[tuple[str, int, Problem]]:
    """Yield (key, seed, problem) for a walk's first `steps` seeds, without unbuildable ones."""
    for step in islice(walk(seed), steps):
        try:
            problem = environment.build(name, step, level)
        except Unbuildable:
            continue
        yield problem_key(f"{family}/{name}", problem), step, problem
