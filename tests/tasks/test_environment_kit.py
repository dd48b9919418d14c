"""`check_environment`: every built-in environment passes, and each planted fault is reported."""

from __future__ import annotations

import itertools
import random

import pytest

from swarm.errors import EnvironmentRefused
from swarm.tasks.code.family import Code
from swarm.tasks.environment import Problem, VerifierError
from swarm.tasks.reasoning import ReasoningGym
from swarm.testing.environments import check_environment


def test_every_built_in_environment_passes() -> None:
    check_environment(ReasoningGym(), problems=1)


def test_the_programs_pass() -> None:
    check_environment(Code(), problems=1)


class Sums:
    """An honest environment, of which each class below breaks one promise."""

    version = "1"

    def names(self):
        return ["sum"]

    def refused(self):
        return {"product": "it overflows"}

    def levels(self, name):
        self._check(name, 0)
        return 2

    def _check(self, name, level):
        if name != "sum" or level not in (0, 1):
            raise EnvironmentRefused(f"toy/{name} at level {level} is not offered")

    def numbers(self, seed):
        return [seed % 7, seed % 11]

    def build(self, name, seed, level):
        self._check(name, level)
        one, other = self.numbers(seed)
        answer = str(one + other)
        return Problem(f"{one}+{other}", answer, {"prose": f"{one}+{other}="}, answer, {"prose": answer})

    def score(self, name, problem, rendering, completion):
        if completion == "nan":
            raise VerifierError("not a number")
        return float(completion == problem.entry)


class SetOrder(Sums):
    def numbers(self, seed):
        return [len(word) for word in list({"a", "bb", "ccc", "dddd", "eeeee"})[:2]]


class GlobalRandom(Sums):
    def numbers(self, seed):
        return [random.randrange(10**9), 1]


class Counting(Sums):
    made = itertools.count()

    def numbers(self, seed):
        return [next(self.made), 1]


class Overpaid(Sums):
    def score(self, name, problem, rendering, completion):
        return 2.0 * (completion == "") + super().score(name, problem, rendering, completion)


class Fragile(Sums):
    def score(self, name, problem, rendering, completion):
        return float(int(completion) == int(problem.entry))


class Stingy(Sums):
    def score(self, name, problem, rendering, completion):
        return 0.5 * super().score(name, problem, rendering, completion)


class Lax(Sums):
    def _check(self, name, level):
        return


class Unnamed(Sums):
    version = ""


class Torn(Sums):
    def refused(self):
        return {"sum": "and offered all the same"}


def test_an_honest_environment_passes() -> None:
    check_environment(Sums())


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (SetOrder(), "differs in another process"),
        (GlobalRandom(), "gives another problem the second time"),
        (Counting(), "gives another problem the second time"),
        (Overpaid(), "'' in prose is worth 2.0"),
        (Fragile(), "ValueError"),
        (Stingy(), "its prose solution is worth 0.5, not 1"),
        (Lax(), "product is refused by name and can be built"),
        (Unnamed(), "version is ''"),
        (Torn(), "sum is both offered and refused"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sums) else None,
)
def test_a_planted_fault_is_told(environment: Sums, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_environment(environment)


def test_a_class_that_no_other_process_can_import_is_told() -> None:
    class Hidden(Sums):
        pass

    with pytest.raises(AssertionError, match="no other process can import it"):
        check_environment(Hidden())
