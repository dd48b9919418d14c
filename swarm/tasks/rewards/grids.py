"""Judges of number puzzles: any grid that keeps the puzzle's rules and its given cells is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isqrt
from typing import Any

from swarm.tasks.rewards.notations import grid, integer

Item = Mapping[str, Any]
Cells = Sequence[Sequence[int]]
MAX_DIGITS = 9


def sudoku(reading: str, item: Item) -> bool:
    """Whether rows, columns and boxes hold each number once, the given ones in their place."""
    puzzle = item["metadata"]["puzzle"]
    found = _numbers(reading, puzzle)
    if found is None or not _keeps(found, puzzle) or not _latin(found):
        return False
    return all(sorted(box) == sorted(found[0]) for box in _boxes(found))


def futoshiki(reading: str, item: Item) -> bool:
    """Whether rows and columns hold each number once, and all signs are true.

    The signs may be written between the numbers or left out.
    """
    data = item["metadata"]
    found = _numbers(re.sub("[<>∧∨]", " ", reading), data["puzzle"])
    if found is None or not _keeps(found, data["puzzle"]) or not _latin(found):
        return False
    signs = data["constraints"]
    return all((found[r][c] < found[r2][c2]) if sign == "<" else (found[r][c] > found[r2][c2]) for r, c, r2, c2, sign in signs)


def kakurasu(reading: str, item: Item) -> bool:
    """Whether zeros and ones have the asked weighted sums of rows and columns."""
    data = item["metadata"]
    found = _numbers(reading, data["puzzle"])
    if found is None or not all(cell in (0, 1) for row in found for cell in row):
        return False
    return [_weighted(found), _weighted(list(zip(*found, strict=True)))] == [data["row_sums"], data["col_sums"]]


def survo(reading: str, item: Item) -> bool:
    """Whether the empty cells hold the given numbers, and the last of each line is its sum."""
    data = item["metadata"]
    puzzle = data["puzzle"]
    found = _numbers(reading, puzzle)
    if found is None or not _keeps(found, puzzle):
        return False
    filled = [cell for row, given in zip(found, puzzle, strict=True) for cell, hint in zip(row, given, strict=True) if not hint]
    lines = [*found, *zip(*found, strict=True)]
    return sorted(filled) == sorted(data["candidate_numbers"]) and all(sum(line[:-1]) == line[-1] for line in lines)


def n_queens(reading: str, item: Item) -> bool:
    """Whether n queens, the given ones among them, share no row, column or diagonal."""
    puzzle = item["metadata"]["puzzle"]
    found: Any = grid(lambda cell: cell if cell in ("Q", "_") else None)(reading)
    if found is None or [len(row) for row in found] != [len(row) for row in puzzle]:
        return False
    queens = [(r, c) for r, row in enumerate(found) for c, cell in enumerate(row) if cell == "Q"]
    given = {(r, c) for r, row in enumerate(puzzle) for c, cell in enumerate(row) if cell == "Q"}
    lines = [{r for r, _ in queens}, {c for _, c in queens}, {r - c for r, c in queens}, {r + c for r, c in queens}]
    return given <= set(queens) and all(len(line) == len(queens) == len(puzzle) for line in lines)


def _numbers(reading: str, puzzle: Cells) -> list[list[int]] | None:
    """Return a grid of whole numbers of the puzzle's shape."""
    found: Any = grid(integer)(reading)
    if found is None or [len(row) for row in found] != [len(row) for row in puzzle]:
        return None
    return (
        [[int(cell) for cell in row] for row in found] if all(len(cell) < MAX_DIGITS for row in found for cell in row) else None
    )


def _keeps(found: Cells, puzzle: Cells) -> bool:
    """Whether the given cells, those that are not 0, are as in the puzzle."""
    return all(
        not given or cell == given
        for row, givens in zip(found, puzzle, strict=True)
        for cell, given in zip(row, givens, strict=True)
    )


def _latin(cells: Cells) -> bool:
    """Whether each row and each column holds 1 to n."""
    numbers = list(range(1, len(cells) + 1))
    lines: Iterable[Sequence[int]] = [*cells, *zip(*cells, strict=True)]
    return all(sorted(line) == numbers for line in lines)


def _boxes(cells: Cells) -> list[list[int]]:
    """Return the cells of each box."""
    side = isqrt(len(cells))
    corners = [(r, c) for r in range(0, len(cells), side) for c in range(0, len(cells), side)]
    return [[cells[r + i][c + j] for i in range(side) for j in range(side)] for r, c in corners]


def _weighted(lines: Iterable[Sequence[int]]) -> list[int]:
    return [sum(place for place, cell in enumerate(line, 1) if cell) for line in lines]
