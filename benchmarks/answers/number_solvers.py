"""Solves problems about numbers, from the numbers of the question."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from swarm.tasks.rewards.expressions import expression

Item = Mapping[str, Any]


def value(item: Item) -> str:
    found = expression(item["metadata"]["expression"])
    return str(found.number) if found and found.number is not None and found.number.denominator == 1 else "no whole number"


def decimal_sum(item: Item) -> str:
    found = expression(item["metadata"]["expression"])
    return exact(found.number) if found and found.number is not None else "no number"


def exact(number: Fraction) -> str:
    """Return a fraction whose denominator is a power of ten as a decimal."""
    places = next(places for places in range(60) if 10**places % number.denominator == 0)
    digits = f"{abs(number.numerator) * 10**places // number.denominator:0{places + 1}d}"
    sign = "-" if number < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def in_base(item: Item) -> str:
    data = item["metadata"]
    left, digits = int(data["source_repr"], data["source_base"]), ""
    while left:
        left, digit = divmod(left, data["target_base"])
        digits = (string.digits + string.ascii_lowercase)[digit] + digits
    return digits or "0"


def swaps(item: Item) -> str:
    text = item["metadata"]["string"]
    costs = [
        sum(bit != "01"[(place + first) % 2] for place, bit in enumerate(text))
        for first in (0, 1)
        if Counter(text)["0"] == sum("01"[(place + first) % 2] == "0" for place in range(len(text)))
    ]
    return str(min(costs) // 2 if costs else -1)


def primes(item: Item) -> str:
    data = item["metadata"]
    sieve = bytearray([1]) * (data["end"] + 1)
    sieve[:2] = b"\0\0"[: len(sieve)]
    for n in range(2, math.isqrt(data["end"]) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(sieve[n * n :: n]))
    return str(sum(sieve[data["start"] :]))


def dice(item: Item) -> str:
    sums = Counter({0: 1})
    for count, sides in re.findall(r"(\d+)d(\d+)", item["metadata"]["puzzle"]["dice_str"]):
        for _ in range(int(count)):
            sums = _thrown(sums, int(sides))
    chance = Fraction(sum(ways for total, ways in sums.items() if total >= item["metadata"]["puzzle"]["target"]), sums.total())
    return f"{chance.numerator}/{chance.denominator}"


def _thrown(sums: Counter[int], sides: int) -> Counter[int]:
    after: Counter[int] = Counter()
    for total, ways in sums.items():
        for side in range(1, sides + 1):
            after[total + side] += ways
    return after


def coins(item: Item) -> str:
    count, flips = (int(each) for each in re.findall(r"\d+", item["question"])[:2])
    wanted = range(count, flips + 1) if "at least" in item["question"] else [count]
    return exact(Fraction(sum(math.comb(flips, each) for each in wanted), 2**flips))


def linear(item: Item) -> str:
    variable = item["metadata"]["variable"]
    left, right = (expression(side, variable) for side in item["metadata"]["equation"].split("="))
    if left is None or right is None:
        return "no equation"
    slope, rest = (left.value.get(key, Fraction(0)) - right.value.get(key, Fraction(0)) for key in ((1, 0), (0, 0)))
    return str(-rest / slope)


def factorized(item: Item) -> str:
    left, found, divisor = item["metadata"]["number"], [], 2
    while left > 1:
        while left % divisor == 0:
            left //= divisor
            found.append(divisor)
        divisor += 1
    return " × ".join(map(str, found))


def polygon(item: Item) -> str:
    return exact(Fraction(180) * (item["metadata"]["n_sides"] - 2) - sum(map(Fraction, item["metadata"]["known_angles"])))


def calendar(item: Item) -> str:
    data = item["metadata"]
    task, day = data["task"], date.fromisoformat
    if task == "is_leap_year":
        return "Yes" if (data["year"] % 4 == 0 and data["year"] % 100 != 0) or data["year"] % 400 == 0 else "No"
    if task in ("weekday_offset", "weekday_of_date"):
        return f"{day(data['target_date']):%A}"
    if task == "weekday_of_date_from_first_date":
        first = next(each for each in range(7) if f"{date(2024, 1, 1) + timedelta(each):%A}" == data["first_day"])
        return f"{date(2024, 1, 1) + timedelta(first + data['delta_days']):%A}"
    if task == "recurring_event_day":
        days = [date(data["year"], data["month"], 1) + timedelta(each) for each in range(31)]
        fitting = [each.day for each in days if each.month == data["month"] and f"{each:%A}" == data["weekday"]]
        place = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}[data["ordinal"]]
        return str(fitting[place])
    start, end = day(data["start_date"]), day(data["end_date"])
    span = [start + timedelta(each) for each in range((end - start).days + 1)]
    named = re.search(r"(\w+day)s are there from|occurrences of (\w+day)|does (\w+day) occur", item["question"])
    wanted = {next(filter(None, named.groups()))} if named else {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}
    return str(sum(f"{each:%A}" in wanted for each in span))


def reduced(item: Item) -> str:
    value = Fraction(item["metadata"]["numerator"], item["metadata"]["denominator"])
    return f"{value.numerator}/{value.denominator}"


def triangle(item: Item) -> str:
    """Solve a triangle by complex numbers: an angle, the incircle's radius, or the orthocenter."""
    a, b, c = (complex(*map(float, item["metadata"][corner])) for corner in "ABC")
    sides = abs(b - c), abs(c - a), abs(a - b)
    twice_area = ((b - a).conjugate() * (c - a)).imag
    if item["metadata"]["task_type"] == "angle_measure":
        turn = (a - b) / (c - b)
        return f"{abs(math.degrees(math.atan2(turn.imag, turn.real))):.3f}"
    if item["metadata"]["task_type"] == "incircle_radius":
        return f"{abs(twice_area) / sum(sides):.3f}"
    squares = [(abs(at) ** 2, far - near) for at, near, far in ((a, b, c), (b, c, a), (c, a, b))]
    center = sum(square * side for square, side in squares) * 1j / (2 * twice_area)
    high = a + b + c - 2 * center
    return f"({high.real:.3f}, {high.imag:.3f})"
