"""Screens answers before a dataset's verifier: they come from strangers, and verifiers trust them.

Found by reading every `score_answer` of reasoning-gym 0.1.25: some evaluate the answer as Python or
with sympy, some repeat a move as often as the answer says. `Fraction("1e999999999")` never ends, a
few take NaN for equal to anything, and three take one answer for every problem. An answer that is
refused here is wrong (reward 0.0); the dataset's own always passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

# Longest answer in characters: room for other forms of the dataset's own answer, while quadratic
# verifiers stay fast.
MAX_CHARS, MAX_CHARS_PER_SOLUTION_CHAR = 1024, 4

# NaN and infinity compare in surprising ways; numbers with exponents of four digits and more do not
# fit in memory. A hexadecimal number such as 0x1e1234 has no exponent.
_UNBOUNDED_NUMBER = re.compile(
    r"(?<![a-z])(s?nan|inf|infinity)[ij]?(?![a-z]) | (?<![\da-fx._])[\d._]+ e [+-]? [\d_]{4}", re.IGNORECASE | re.VERBOSE
)

# No name, call, attribute or loop can be written with these characters, and without ** and // no
# number grows fast.
_ARITHMETIC = re.compile(r"(?!.*(\*\s*\*|/\s*/))[0-9+\-*/()\s]*", re.DOTALL)
_NUMBER_LISTS = re.compile(r"[0-9.,\-\[\]'\"\s]*")
_REPEATS_AT_MOST_99 = re.compile(r"(?!.*\d{3}).*", re.DOTALL)

# A polynomial in x or X with the constant C; only x has exponents, of one or two digits, and no
# exponent is on top of another.
_POLYNOMIAL = re.compile(r"(?:[xX]\s?\*\*\s?\d{1,2}(?!\d|\s*\*\s*\*)|[xXC]|[\d.]|\*(?!\s*\*)|[-+/()\s]){0,256}")

# An answer must match its dataset's pattern as a whole.
PERMITTED: Mapping[str, re.Pattern[str]] = {
    "binary_matrix": _NUMBER_LISTS,  # evaluates lists
    "countdown": _ARITHMETIC,  # evaluates with sympy
    "n_queens": re.compile(r"[Q_\[\],'\"\s]*"),  # evaluates lists
    "number_sorting": _NUMBER_LISTS,  # takes NaN for sorted and for equal
    "propositional_logic": re.compile(r".{0,256}", re.DOTALL),  # takes the cube of the length
    "puzzle24": _ARITHMETIC,  # evaluates with sympy
    "rubiks_cube": _REPEATS_AT_MOST_99,  # expands "R9999999999"
    "rush_hour": _REPEATS_AT_MOST_99,  # plays "A+9999999999"
    "simple_integration": _POLYNOMIAL,  # evaluates with sympy
    "spiral_matrix": _NUMBER_LISTS,  # evaluates lists
    "string_insertion": re.compile(r"[A-E\[\],'\"\s]*"),  # evaluates lists
}


def _near(answer: str, solution: str) -> bool:
    try:
        return abs(Fraction(answer) - Fraction(solution)) < Fraction(1, 10**6)
    except (ValueError, ZeroDivisionError):
        return False


# Checks that a verifier forgets, so that one answer would be right for every problem.
UNCHECKED: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = {
    # takes "0" for every probability, since it compares the digits that both have
    "coin_flip": lambda answer, item: _near(answer, item["answer"]),
    # takes any answer that is not empty
    "game_of_life_halting": lambda answer, item: answer.lower() == str(item["answer"]).lower(),
    # takes any four numbers that make 24
    "puzzle24": lambda answer, item: sorted(map(int, re.findall(r"\d+", answer))) == sorted(item["metadata"]["numbers"]),
}


def may_be_scored(name: str, answer: str, solution: str, item: Mapping[str, Any]) -> bool:
    """Whether `answer` to `item` may reach the verifier of dataset `name`.

    `solution` is the item's own, or "".
    """
    if answer == solution:
        return True
    if len(answer) > MAX_CHARS + MAX_CHARS_PER_SOLUTION_CHAR * len(solution) or _UNBOUNDED_NUMBER.search(answer):
        return False
    if name in PERMITTED and PERMITTED[name].fullmatch(answer) is None:
        return False
    return name not in UNCHECKED or UNCHECKED[name](answer, item)
