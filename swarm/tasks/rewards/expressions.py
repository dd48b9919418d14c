"""Arithmetic that strangers write, in exact numbers: nothing is evaluated but what is listed here.

A text becomes a polynomial with rational coefficients, whose degree and digits are bounded. A
number is a polynomial without variables.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS, MAX_DEGREE, MAX_BITS = 256, 64, 4096
CONSTANT = "C"  # of integration

# Degrees in the variable and in the constant → coefficient, none of which is 0.
Polynomial = Mapping[tuple[int, int], Fraction]

_PERMITTED = re.compile(r"[0-9A-Za-z.+\-*/()\s]*", re.ASCII)
_SIGNS = {"\N{MINUS SIGN}": "-", "×": "*", "·": "*", "÷": "/", "\\times": "*", "\\cdot": "*", "\\div": "/", "^": "**"}
_NUMBER = re.compile(r"0|[1-9]\d*|(?:0|[1-9]\d*)\.\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Expression:
    """The value of a text and the numbers that are written in it, from left to right."""

    value: Polynomial
    numbers: tuple[str, ...]

    @property
    def number(self) -> Fraction | None:
        """The value of an expression without variables."""
        return self.value.get((0, 0), Fraction(0)) if set(self.value) <= {(0, 0)} else None


def expression(text: str, variable: str = "") -> Expression | None:
    """Return the exact value of sums, products, quotients and powers; None for anything else.

    Only `variable` and the constant of integration may occur in it, and without a variable neither.
    """
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    text = text.strip()
    if len(text) > MAX_CHARS or _PERMITTED.fullmatch(text) is None:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        value = _value(tree, text, variable)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    constants.sort(key=lambda node: node.col_offset)
    return Expression(value, tuple(_written(node, text) for node in constants))


def derivative(polynomial: Polynomial) -> Polynomial:
    """Return the derivative by the variable."""
    return {(degree - 1, c): degree * factor for (degree, c), factor in polynomial.items() if degree}


def _value(node: ast.expr, text: str, variable: str) -> Polynomial:
    if isinstance(node, ast.Constant):
        number = _written(node, text)
        if _NUMBER.fullmatch(number) is None:
            raise ValueError("no plain number")
        return _bounded({(0, 0): Fraction(number)})
    if isinstance(node, ast.Name) and variable and node.id in (variable, CONSTANT):
        return {(1, 0) if node.id == variable else (0, 1): Fraction(1)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand, text, variable)
        return inner if isinstance(node.op, ast.UAdd) else {degrees: -factor for degrees, factor in inner.items()}
    if not isinstance(node, ast.BinOp):
        raise ValueError("no arithmetic")
    left, right = _value(node.left, text, variable), _value(node.right, text, variable)
    if isinstance(node.op, ast.Add | ast.Sub):
        sign = 1 if isinstance(node.op, ast.Add) else -1
        return _bounded({each: left.get(each, Fraction(0)) + sign * right.get(each, Fraction(0)) for each in {*left, *right}})
    if isinstance(node.op, ast.Mult):
        return _product(left, right)
    if not set(right) <= {(0, 0)}:
        raise ValueError("a variable below a line or in an exponent")
    divisor = right.get((0, 0), Fraction(0))
    if isinstance(node.op, ast.Div):
        return _bounded({each: factor / divisor for each, factor in left.items()})
    if not isinstance(node.op, ast.Pow) or divisor.denominator != 1 or not 0 <= divisor <= MAX_DEGREE:
        raise ValueError("no power with a small whole exponent")
    power: Polynomial = {(0, 0): Fraction(1)}
    for _ in range(int(divisor)):
        power = _product(power, left)
    return power


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    product: dict[tuple[int, int], Fraction] = {}
    for (degree, c), factor in left.items():
        for (other, d), more in right.items():
            key = (degree + other, c + d)
            product[key] = product.get(key, Fraction(0)) + factor * more
    return _bounded(product)


def _bounded(polynomial: Polynomial) -> Polynomial:
    kept = {degrees: factor for degrees, factor in polynomial.items() if factor}
    if any(sum(degrees) > MAX_DEGREE for degrees in kept):
        raise ValueError("the degree is too high")
    if any(factor.numerator.bit_length() + factor.denominator.bit_length() > MAX_BITS for factor in kept.values()):
        raise ValueError("a number is too long")
    return kept


def _written(node: ast.Constant, text: str) -> str:
    return ast.get_source_segment(text, node) or ""
