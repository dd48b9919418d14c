"""What of a completion's answer may reach a dataset's verifier: the text comes from strangers, verifiers expect friends.

Found by reading every `score_answer` of reasoning-gym 0.1.25: some evaluate the answer as Python or with sympy, some repeat
a move as often as the answer says, `Fraction("1e999999999")` never ends, and a few take NaN for equal to anything. An answer
that is refused here is simply wrong (reward 0.0), and no right answer is refused: the dataset's own always passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Longest answer in characters: room for other forms of the dataset's own answer, while quadratic verifiers stay fast.
MAX_CHARS, MAX_CHARS_PER_SOLUTION_CHAR = 1024, 4

# NaN and infinity compare in surprising ways; exponents of four digits and more are numbers that do not fit in memory.
# A hexadecimal number such as 0x1e1234 has no exponent.
_UNBOUNDED_NUMBER = re.compile(
    r"(?<![a-z])(s?nan|inf|infinity)[ij]?(?![a-z]) | (?<![\da-fx._])[\d._]+ e [+-]? [\d_]{4}", re.IGNORECASE | re.VERBOSE
)

# No name, call, attribute or loop can be written with these characters, and without ** and // no number grows fast.
_ARITHMETIC = re.compile(r"(?!.*(\*\s*\*|/\s*/))[0-9+\-*/()\s]*", re.DOTALL)
_NUMBER_LISTS = re.compile(r"[0-9.,\-\[\]'\"\s]*")
_REPEATS_AT_MOST_99 = re.compile(r"(?!.*\d{3}).*", re.DOTALL)

# What an answer must match as a whole.
PERMITTED: Mapping[str, re.Pattern[str]] = {
    "binary_matrix": _NUMBER_LISTS,  # evaluates lists
    "countdown": _ARITHMETIC,  # evaluates with sympy
    "n_queens": re.compile(r"[Q_\[\],'\"\s]*"),  # evaluates lists
    "number_sorting": _NUMBER_LISTS,  # takes NaN for sorted and for equal
    "puzzle24": _ARITHMETIC,  # evaluates with sympy
    "rubiks_cube": _REPEATS_AT_MOST_99,  # "R9999999999" is expanded
    "rush_hour": _REPEATS_AT_MOST_99,  # "A+9999999999" is played
    "spiral_matrix": _NUMBER_LISTS,  # evaluates lists
    "string_insertion": re.compile(r"[A-E\[\],'\"\s]*"),  # evaluates lists
}


def may_be_scored(name: str, answer: str, solution: str) -> bool:
    """Whether `answer` may be given to the verifier of dataset `name`, whose own answer is `solution` ("" if it has none)."""
    if answer == solution:
        return True
    if len(answer) > MAX_CHARS + MAX_CHARS_PER_SOLUTION_CHAR * len(solution) or _UNBOUNDED_NUMBER.search(answer):
        return False
    return name not in PERMITTED or PERMITTED[name].fullmatch(answer) is not None
