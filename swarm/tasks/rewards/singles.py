"""Judges of problems with one right answer, which may be written in several ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any

from swarm.tasks.rewards.extracted import readings
from swarm.tasks.rewards.notations import Form, bag, decimal, grid, integer, items, word
from swarm.tasks.rewards.roundings import to_places

Item = Mapping[str, Any]
Judge = Callable[[str, Item], bool]

# A unit that nobody asked for, and the words of the question that make it one.
_SIGNS = {
    "°": ("°", "degree"),
    "degree": ("°", "degree"),
    "degrees": ("°", "degree"),
    "^\\circ": ("°", "degree"),
    "^{\\circ}": ("°", "degree"),
    "$": ("$", "dollar"),
    "dollars": ("$", "dollar"),
    # A share that is given makes no answer a share.
    "%": ("what percent", "which percent", "the percent", "as a percent"),
    "\\%": ("what percent", "which percent", "the percent", "as a percent"),
    "percent": ("what percent", "which percent", "the percent", "as a percent"),
}
_COUNTED = re.compile(r"(?:how many|number of)\s+(?:\d+\s+)?([a-z]+)(?:\s+([a-z]+))?", re.IGNORECASE)
_ASKS_A_COUNT = re.compile(r"how many (?!more dollars|dollars)", re.IGNORECASE)
_MEASURED = re.compile(r"(.*?\d)\s*(°|\$|\\?%|\^\\circ|\^\{\\circ\}|\s[A-Za-z]+(?: [A-Za-z]+)?)", re.DOTALL)


def one(form: Form) -> Judge:
    """Judge by the form: it is that of the dataset's own answer, which may be decorated too."""

    def judge(reading: str, item: Item) -> bool:
        found = form(reading)
        return found is not None and found in [form(own) for own in readings(item["answer"])]

    return judge


def measured(judge: Judge) -> Judge:
    """Judge a number, also with the unit of what the question counts or measures."""

    def judge_without_unit(reading: str, item: Item) -> bool:
        return judge(without_unit(reading, item["question"]), item)

    return judge_without_unit


def without_unit(reading: str, question: str) -> str:
    """Return a number without its unit: a sign or word for what `question` is about."""
    if reading.startswith("$") and "$" in question and _ASKS_A_COUNT.search(question) is None:
        reading = reading[1:]
    match = _MEASURED.fullmatch(reading)
    if match is None:
        return reading
    unit, asked = match[2].strip().casefold(), question.casefold()
    counted = {name.rstrip("s") for pair in _COUNTED.findall(asked) for name in (pair[0], " ".join(pair)) if len(name) > 2}
    known = any(sign in asked for sign in _SIGNS[unit]) if unit in _SIGNS else unit.rstrip("s") in counted
    return match[1] if known else reading


def among(values: Callable[[Item], Collection[Fraction | None]]) -> Judge:
    """Judge a decimal: it is one of several, such as the roundings of an exact value."""

    def judge(reading: str, item: Item) -> bool:
        found = decimal(reading)
        return found is not None and found in values(item)

    return judge


def solved_for(form: Form) -> Judge:
    """Judge the value of a variable, also after "x =" in the question's own letter."""

    def judge(reading: str, item: Item) -> bool:
        variable = re.escape(item["metadata"]["variable"])
        value = re.sub(rf"^{variable}\s*=\s*", "", reading)
        return one(form)(value, item)

    return judge


# --- forms of single datasets


def digits_in_base(reading: str, item: Item) -> bool:
    """Whether these are the digits in the target base, perhaps after 0b, 0o or 0x."""
    prefix = {2: "0b", 8: "0o", 16: "0x"}.get(item["metadata"]["target_base"], "")
    return bool(reading.casefold().removeprefix(prefix) == item["answer"].casefold())


def hexadecimal(reading: str) -> str | None:
    """Return a hexadecimal number with its 0x, without leading zeros."""
    found = re.fullmatch(r"-?0x(?:0|[1-9a-f][0-9a-f]*)", reading.casefold(), re.ASCII)
    return found[0] if found and found[0] != "-0x0" else None


def complex_number(reading: str) -> tuple[Fraction, Fraction] | None:
    """Return real and imaginary part."""
    text = re.sub(r"\s+", "", reading).replace("\N{MINUS SIGN}", "-").replace("j", "i").replace("*i", "i")
    match = re.fullmatch(r"(?P<real>[+-]?[\d.,]+(?![\d.,]*i))?(?:(?P<imaginary>[+-]?[\d.,]*)i)?", text, re.ASCII)
    if match is None or not text:
        return None
    imaginary = match["imaginary"]
    if imaginary in ("", "+", "-"):
        imaginary += "1"
    parts = [Fraction(0) if part is None else decimal(part) for part in (match["real"], imaginary)]
    return None if None in parts else (parts[0], parts[1])  # type: ignore[return-value]


def duration(reading: str) -> str | None:
    """Return a time span in lower case, of "days" even if it is one; a bare number is of days."""
    text = word(reading)
    if text is None:
        return None
    return f"{text} days" if integer(text) else re.sub(r"^(-?\d+) days?,? ?", r"\1 days ", text).strip()


def factors(reading: str) -> Any:
    """Return the factors of a product, in any order; powers may be written as such."""
    text = re.sub(r"\s*(?:×|\\times|\\cdot|·|\*(?!\*))\s*", ",", reading.replace("**", "^"))
    text = re.sub(r"(\d+)\s*\^\s*\{?([1-9]|[1-5]\d)\}?(?!\d)", lambda match: ",".join([match[1]] * int(match[2])), text)
    return bag(items(integer))(text)


def assignments(reading: str) -> Any:
    """Return who is what, in any order, as in "Ann is a fool, and Bob is a sage"."""
    found = set()
    parts = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*\n\s*", reading.strip().rstrip("."))
    for part in parts:
        match = re.fullmatch(r"(\w+) is (?:an? )?(\w+)", part.casefold())
        if match is None:
            return None
        found.add(match.groups())
    return frozenset(found) if len({name for name, _ in found}) == len(found) == len(parts) else None


def picture(reading: str) -> tuple[str, ...] | None:
    """Return the lines of a picture, without the space in them."""
    return tuple("".join(line.split()) for line in reading.split("\n") if line.strip()) or None


def point(values: Callable[[Item], Any]) -> Judge:
    """Judge coordinates, each among its own values."""

    def judge(reading: str, item: Item) -> bool:
        found = items(decimal)(reading)
        allowed = values(item)
        return (
            found is not None
            and len(found) == len(allowed)
            and all(at in right for at, right in zip(found, allowed, strict=True))
        )

    return judge


def pooled(reading: str, item: Item) -> bool:
    """Whether each cell is the maximum or the mean of its block, correct to two decimals."""
    data = item["metadata"]
    found: Any = grid(decimal)(reading)
    size, cells = data["pool_size"], data["matrix"]
    blocks = [
        [[cell for row in cells[r : r + size] for cell in row[c : c + size]] for c in range(0, len(cells[0]), size)]
        for r in range(0, len(cells), size)
    ]
    if found is None or [len(row) for row in found] != [len(row) for row in blocks]:
        return False
    exact = max if data["pool_type"] == "max" else lambda block: Fraction(sum(block), len(block))
    return all(
        cell in to_places(Fraction(exact(block)), 2)
        for row, line in zip(found, blocks, strict=True)
        for cell, block in zip(row, line, strict=True)
    )
