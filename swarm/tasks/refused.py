"""What is wrong with single datasets of reasoning-gym; `tests/tasks/test_reasoning_list.py` proves that nothing is missing."""

from __future__ import annotations

from collections.abc import Mapping

_DIFFERS = "its problems differ between processes with different hash seeds"
_EVALUATES = "its verifier evaluates the answer as code, and no harmless set of characters covers its answers"

REFUSED: Mapping[str, str] = {
    "composite": "it has no problems of its own; name the datasets themselves",
    "intermediate_integration": _EVALUATES,
    "isomorphic_strings": _DIFFERS,
    "knight_swap": _DIFFERS,
    "polynomial_multiplication": _DIFFERS,
    "ransom_note": _DIFFERS,
    "simple_integration": _EVALUATES,
    "word_ladder": _DIFFERS,
}

# Verifiers that evaluate the answer as Python or with sympy: only these characters reach them (and never ** or //, which
# make numbers that do not end). No name, call, attribute or loop can be written with them.
_ARITHMETIC = frozenset("0123456789+-*/() ")
_NESTED_LISTS = frozenset("0123456789-[], \n")

PERMITTED_CHARACTERS: Mapping[str, frozenset[str]] = {
    "binary_matrix": _NESTED_LISTS,
    "countdown": _ARITHMETIC,
    "n_queens": frozenset("Q_[],\"' \n"),
    "puzzle24": _ARITHMETIC,
    "spiral_matrix": _NESTED_LISTS,
    "string_insertion": frozenset("ABCDE[],\"' "),
}

# Levels from here on crash, or take seconds to build: dataset → number of usable levels.
LEVEL_CAPS: Mapping[str, int] = {}
