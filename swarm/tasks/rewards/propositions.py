"""Propositional logic by truth tables: what follows from premises and is worth saying.

A formula over n variables is an integer of 2^n bits, a bit for each assignment, so that ∧ is & and
a proof is one comparison. Anything follows from a contradiction, a tautology follows from
anything, and a premise follows from itself: none of these is a conclusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_CONNECTIVES = 1  # in a conclusion, as in the dataset's own; more would hold whole premises
MAX_NEGATIONS = 1  # in a row

_NOTATIONS = {
    "¬": r"~|!|\\neg\b|\\lnot\b|\bnot\b",
    "↔": r"<->|<=>|⇔|\\leftrightarrow\b|\\iff\b|\biff\b",
    "→": r"->|=>|⇒|\\rightarrow\b|\\to\b|\\implies\b|\bimplies\b",
    "∧": r"&&?|\\wedge\b|\\land\b|\band\b",
    "∨": r"\|\|?|\\vee\b|\\lor\b|\bor\b",
}
_BINDING = ("↔", "→", "∨", "∧")  # from loose to tight
_TOKENS = re.compile(r"\s*([A-Z]|[¬∧∨→↔()])")
_MAX_CHARS, _MAX_DEPTH = 1024, 40


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula's truth table and its form."""

    table: int
    connectives: int
    negations: int  # most in a row


def formula(text: str, variables: Sequence[str]) -> Formula | None:
    """Return the formula; None if it is none or has other variables."""
    for sign, others in _NOTATIONS.items():
        text = re.sub(others, sign, text)
    text = text.strip()
    tokens = _TOKENS.findall(text)
    if len(text) > _MAX_CHARS or not tokens or _TOKENS.sub("", text):
        return None
    reader = _FormulaParser(tokens, variables)
    try:
        found = reader.binary(0, 0)
    except ValueError:
        return None
    return found if reader.at == len(tokens) else None


def conclusion(text: str, premises: Sequence[str], variables: Sequence[str]) -> bool:
    """Whether the text is short, follows from the premises, and says more than any of them."""
    said = formula(text, variables)
    if said is None or said.connectives > MAX_CONNECTIVES or said.negations > MAX_NEGATIONS:
        return False
    given = [_parsed(premise, variables).table for premise in premises]
    return _follows(said.table, given, variables)


def some_conclusion(premises: Sequence[str], variables: Sequence[str]) -> str | None:
    """Return the first conclusion of one or two literals; None if there is none."""
    given = [_parsed(premise, variables).table for premise in premises]
    literals = [sign + name for name in variables for sign in ("", "¬")]
    pairs = (f"({left} {sign} {right})" for left in literals for right in literals for sign in "∧∨→↔" if left[-1] < right[-1])
    for text in (*literals, *pairs):
        if _follows(_parsed(text, variables).table, given, variables):
            return text
    return None


def _follows(said: int, given: Sequence[int], variables: Sequence[str]) -> bool:
    everything = (1 << (1 << len(variables))) - 1
    together = everything
    for table in given:
        together &= table
    return together != 0 and said != everything and said not in given and together & ~said == 0


def _parsed(text: str, variables: Sequence[str]) -> Formula:
    found = formula(text, variables)
    if found is None:
        raise ValueError(f"{text!r} is no formula; this version of reasoning-gym is not supported")
    return found


class _FormulaParser:
    """Recursive descent over the tokens; raises `ValueError` where they are no formula."""

    def __init__(self, tokens: Sequence[str], variables: Sequence[str]) -> None:
        self._tokens = tokens
        self._variables = list(variables)
        self._everything = (1 << (1 << len(variables))) - 1
        self.at = 0

    def _next(self) -> str:
        return self._tokens[self.at] if self.at < len(self._tokens) else ""

    def binary(self, level: int, depth: int) -> Formula:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if level == len(_BINDING):
            return self._unary(depth)
        sign = _BINDING[level]
        parts = [self.binary(level + 1, depth)]
        while self._next() == sign:
            self.at += 1
            parts.append(self.binary(level + 1, depth))
        if sign == "→" and len(parts) > 2:
            raise ValueError("a → b → c is written with brackets")
        found = parts[0]
        for part in parts[1:]:
            table = self._joined(sign, found.table, part.table)
            found = Formula(table, found.connectives + part.connectives + 1, max(found.negations, part.negations))
        return found

    def _joined(self, sign: str, left: int, right: int) -> int:
        if sign == "∧":
            return left & right
        if sign == "∨":
            return left | right
        if sign == "→":
            return self._everything & ~left | right
        return self._everything & ~(left ^ right)

    def _unary(self, depth: int) -> Formula:
        negations = 0
        while self._next() == "¬":
            self.at += 1
            negations += 1
        sign = self._next()
        self.at += 1
        if sign == "(":
            inner = self.binary(0, depth + 1)
            if self._next() != ")":
                raise ValueError("a bracket is open")
            self.at += 1
        elif sign in self._variables:
            inner = Formula(self._column(self._variables.index(sign)), 0, 0)
        else:
            raise ValueError("no variable")
        table = self._everything & ~inner.table if negations % 2 else inner.table
        return Formula(table, inner.connectives, max(negations, inner.negations))

    def _column(self, place: int) -> int:
        """Return the assignments (bits) in which the variable at `place` is true."""
        return sum(1 << row for row in range(1 << len(self._variables)) if row >> place & 1)
