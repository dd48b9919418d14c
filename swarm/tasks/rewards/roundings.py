"""Decimals to the digits asked: which of them is right for an exact value."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction


def nearest(value: Fraction, quantum: Fraction) -> frozenset[Fraction]:
    """Return the multiple of `quantum` nearest to `value`; both of two equally near ones."""
    whole, rest = divmod(value, quantum)
    return frozenset((whole + up) * quantum for up in (0, 1) if abs(up * quantum - rest) * 2 <= quantum)


def to_places(value: Fraction, places: int) -> frozenset[Fraction]:
    """Return `value` rounded to `places` decimals."""
    return nearest(value, Fraction(1, 10**places))


def to_digits(value: Fraction, digits: int) -> frozenset[Fraction]:
    """Return `value` rounded to `digits` significant digits."""
    return nearest(value, _unit(value, digits)) if value else frozenset({value})


def half_up(value: Fraction, digits: int) -> Decimal:
    """Return `value` rounded to `digits` significant digits, a half away from zero."""
    right = max(to_digits(value, digits), key=abs)
    precise = Context(prec=digits + 1)
    return precise.divide(Decimal(right.numerator), Decimal(right.denominator)).normalize(precise)


def _unit(value: Fraction, digits: int) -> Fraction:
    """Return the value of the last of `digits` significant digits."""
    size = Context(prec=50).divide(Decimal(abs(value.numerator)), Decimal(value.denominator)).adjusted()
    return Fraction(10) ** (size - digits + 1)
