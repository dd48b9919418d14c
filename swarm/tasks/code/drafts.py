"""Drafts of programming problems: words for the solver, and the program that they describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

FUNCTION = "solve"


@dataclass(frozen=True, slots=True)
class Draft:
    """A problem without its cases.

    `program` defines `solve`, is right by definition, and does not change its argument. `draw_case`
    draws an argument for it.
    """

    question: str
    program: str
    draw_case: Callable[[Random], object]


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words and code with the same gaps, and the values that may fill each gap."""

    words: str
    code: str
    gaps: Mapping[str, Sequence[object]]

    def filled(self, random: Random) -> tuple[str, str]:
        """Return words and code with values drawn for all gaps."""
        values = {name: random.choice(choices) for name, choices in self.gaps.items()}
        return self.words.format(**values), self.code.format(**values)


def phrase(words: str, code: str, **gaps: Sequence[object]) -> Phrase:
    """Make a `Phrase`, as the tables write it."""
    return Phrase(words, code, gaps)


def draw(phrases: Sequence[Phrase], random: Random) -> tuple[str, str]:
    """Draw one of the phrases and fill it; return words and code."""
    return random.choice(phrases).filled(random)
