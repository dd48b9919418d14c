"""The protocol of environments: they rebuild a problem from a seed, and verify answers to it.

Environments run in the scoring workers only (`task_worker.py`): they may be heavy, may hang, and
see text from the network. A package adds its own through an entry point in the group
"swarmd.environments", whose name is the *family*. The recipe environment
"reasoning_gym/spell_backward" is the problem kind "spell_backward" of the family "reasoning_gym".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

from swarm.errors import EnvironmentRefused

ENTRY_POINT_GROUP = "swarmd.environments"


@dataclass(frozen=True, slots=True)
class Problem:
    """One rebuilt problem, inside a worker.

    `question` is the environment's own prose and `answer` its own solution. `prompts` maps a
    rendering to the prompt text. `entry` is for the environment's verifier. `solutions` maps a
    rendering, if known, to a right completion.
    """

    question: str
    answer: str
    prompts: Mapping[str, str] = field(hash=False)
    entry: Any = field(hash=False, compare=False)
    solutions: Mapping[str, str] = field(default_factory=dict, hash=False)


class Environment(Protocol):
    """A family of problem kinds.

    `levels` and `build` raise `EnvironmentRefused` for a name that is not in `names()`.
    """

    @property
    def version(self) -> str:
        """Changes whenever any seed rebuilds another problem or any answer scores differently."""

    def names(self) -> Collection[str]:
        """Return the problem kinds that may be used."""

    def refused(self) -> Mapping[str, str]:
        """Return the problem kinds that exist and may not be used: name → reason."""

    def levels(self, name: str) -> int:
        """Return the number of levels of difficulty; level 0 is the easiest."""

    def build(self, name: str, seed: int, level: int) -> Problem:
        """Return the problem of this seed (63 bits), the same on every machine.

        Raises `Unbuildable` for a seed without a problem.
        """

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        """Return the reward in [0, 1] of a completion of `problem.prompts[rendering]`.

        A completion without an answer is worth 0.0. `completion` is text from the network: the only
        exception that it may cause is `VerifierError`, and it may not cost more than a tenth of a
        second of this process's CPU time.
        """


class Unbuildable(Exception):
    """The generator gave up on a seed, as it would anywhere; the walk takes the next seed."""


class VerifierError(Exception):
    """The verifier stumbled over a completion, which is worth 0.0; the event is counted."""


def load_environments() -> dict[str, Environment]:
    """Return every installed family. Raises `EnvironmentRefused` if one cannot be imported."""
    families: dict[str, Environment] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            families[entry_point.name] = entry_point.load()()
        except ImportError as error:
            raise EnvironmentRefused(
                f"the environment family {entry_point.name!r} ({entry_point.value}) cannot be imported: {error}; "
                "repair or uninstall the package that brings it"
            ) from error
    return families


def find(families: Mapping[str, Environment], environment: str) -> tuple[Environment, str]:
    """Return the family and the kind of a recipe's "family/kind".

    Raises `EnvironmentRefused`, which says why.
    """
    family, _, name = environment.partition("/")
    if family not in families:
        raise EnvironmentRefused(f"unknown environment family {family!r}; installed: {', '.join(sorted(families))}")
    if reason := families[family].refused().get(name):
        raise EnvironmentRefused(f"the environment {environment!r} is refused: {reason}")
    if name not in families[family].names():
        raise EnvironmentRefused(f"unknown environment {environment!r}")
    return families[family], name
