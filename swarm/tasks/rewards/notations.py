"""Normal forms: two answers are the same if they have the same form, None being no answer.

Numbers are compared exactly in their kind and never as floats: "007" is no integer, "1/2" no
decimal. Lists and grids may be written with or without brackets, commas and quotes, but hold
nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable
from fractions import Fraction
from functools import lru_cache
from typing import Any

Form = Callable[[str], Any]  # text → normal form, None for no answer

_WHOLE = r"(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d*)"
_INTEGER = re.compile(rf"(?!-0)\+?(-?{_WHOLE})(?:\.0+)?", re.ASCII)
_DECIMAL = re.compile(rf"\+?(-?(?:{_WHOLE}(?:\.\d+)?|\.\d+)(?:e[+-]?\d{{1,3}})?)", re.ASCII | re.IGNORECASE)
_POWER_OF_TEN = re.compile(r"\s*(?:\\times|\\cdot|×|\*)\s*10\s*(?:\^|\*\*)\s*\{?\s*([+-]?\d{1,3})\s*\}?")
_FRACTION = re.compile(r"(-?)\s*\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(-?\d+)\s*/\s*(\d+)|(-?\d+)", re.ASCII)
_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)", re.DOTALL)


@lru_cache(maxsize=4096)
def integer(text: str) -> str | None:
    """Return a whole number's digits; it has no leading zeros, and at most ".0" behind."""
    match = _INTEGER.fullmatch(_latin(text))
    return match[1].replace(",", "") if match else None


def decimal(text: str) -> Fraction | None:
    """Return a decimal number's exact value; an exponent has at most three digits."""
    match = _DECIMAL.fullmatch(_POWER_OF_TEN.sub(r"e\1", _latin(text)))
    value = Fraction(match[1].replace(",", "")) if match else None
    return None if match and value == 0 and match[1].startswith("-") else value


def fraction(text: str) -> tuple[int, int] | None:
    """Return numerator and denominator as they stand, so that 2/4 is not 1/2."""
    match = _FRACTION.fullmatch(_latin(text))
    if match is None:
        return None
    numerator = match[1] + match[2] if match[2] else match[4] or match[6]
    denominator = match[3] or match[5] or "1"
    if any(integer(each) is None for each in (numerator, denominator)):
        return None
    return int(numerator), int(denominator)


def word(text: str) -> str | None:
    """Return words regardless of case and of the space between them."""
    return " ".join(_unquoted(text).casefold().split()) or None


def sentence(text: str) -> str | None:
    """Return words regardless of the space between them only."""
    return " ".join(text.split()) or None


def items(form: Form) -> Form:
    """Return the form of a list: between commas, else spaces or arrows; brackets and quotes go."""

    def listed(text: str) -> tuple[Hashable, ...] | None:
        match = _BRACKETS.fullmatch(text.strip())
        inner = (match[1] or match[2] or "").strip() if match else text.strip()
        if not inner:
            return () if match else None
        parts = re.split(r"\s*,\s*", inner) if "," in inner else re.split(r"\s*(?:→|->)\s*|\s+", inner)
        found = tuple(form(_unquoted(part)) for part in parts)
        return None if None in found else found

    return listed


def grid(form: Form) -> Form:
    """Return the form of rows of cells: lines of words, or a list of lists."""
    row = items(form)

    def rows(text: str) -> tuple[Hashable, ...] | None:
        nested = re.fullmatch(r"\[\s*(\[.*\])\s*\]", text.strip(), re.DOTALL)
        lines = re.split(r"(?<=\])\s*,\s*(?=\[)", nested[1]) if nested else text.strip().splitlines()
        found = tuple(row(line) for line in lines if line.strip())
        return None if None in found or not found else found

    return rows


def bag(form: Form) -> Form:
    """Return the form of what `form` lists, in any order."""

    def counted(text: str) -> tuple[Hashable, ...] | None:
        found = form(text)
        return tuple(sorted(found, key=repr)) if isinstance(found, tuple) else None

    return counted


def nested_strings(text: str) -> tuple[Hashable, ...] | None:
    """Return a JSON list of lists of strings, in any order of the outer list."""
    parsed = parsed_json(text)
    if not isinstance(parsed, list) or not all(
        isinstance(each, list) and all(isinstance(item, str) for item in each) for each in parsed
    ):
        return None
    return tuple(sorted(map(tuple, parsed)))


def parsed_json(text: str) -> Any:
    """Return the value of a JSON text, which may have single quotes; None if it is none."""
    try:
        quoted = text if '"' in text else text.replace("'", '"')
        return json.loads(quoted, parse_constant=_no_number, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice, and the first would be lost")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _latin(text: str) -> str:
    """Return a number in ASCII: the minus sign, and LaTeX's comma between thousands."""
    return text.strip().replace("\N{MINUS SIGN}", "-").replace("{,}", ",")


def _unquoted(text: str) -> str:
    if text[:1] not in "\"'“ ":  # most cells of a grid
        return text.strip()
    match = re.fullmatch(r"\s*(?:\"([^\"]*)\"|'([^']*)'|“([^”]*)”)\s*", text)
    return next(group for group in match.groups() if group is not None) if match else text.strip()
