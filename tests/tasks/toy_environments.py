"""An honest environment, and one for each promise that an author may break.

Light to import: each is rebuilt in processes of its own.
"""

from __future__ import annotations

import itertools
import random

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Problem, Unbuildable, VerifierError


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


class Barren(Sums):
    def build(self, name, seed, level):
        self._check(name, level)
        raise Unbuildable("never")


class Nameless(Sums):
    def names(self):
        return []


class Generous(Sums):
    def score(self, name, problem, rendering, completion):
        return 1.0


class Moody(Sums):
    def score(self, name, problem, rendering, completion):
        right = super().score(name, problem, rendering, completion)
        return right or (random.random() / 2 if completion.strip() else 0.0)


class Hashing(Sums):
    def score(self, name, problem, rendering, completion):
        right = super().score(name, problem, rendering, completion)
        return right or (hash(completion) % 2 / 2 if completion.strip() else 0.0)


class Stumbling(Sums):
    def score(self, name, problem, rendering, completion):
        raise VerifierError("always")
