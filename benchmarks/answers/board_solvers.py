"""Solves problems on boards: distances, islands, turns, and Conway's game of life."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from swarm.tasks.rewards.judged import JUDGED

Item = Mapping[str, Any]


Board = Sequence[Sequence[int]]


def rows(cells: Iterable[Iterable[object]]) -> str:
    return "\n".join(" ".join(map(str, row)) for row in cells)


def flood(starts: Iterable[tuple[int, int]], open_: Callable[[int, int], bool]) -> dict[tuple[int, int], int]:
    """Return the steps to every cell that can be reached in four directions."""
    steps = dict.fromkeys(starts, 0)
    waiting = deque(steps)
    while waiting:
        r, c = waiting.popleft()
        for cell in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if cell not in steps and open_(*cell):
                steps[cell] = steps[r, c] + 1
                waiting.append(cell)
    return steps


def inside(board: Sequence[Sequence[object]], r: int, c: int) -> bool:
    return 0 <= r < len(board) and 0 <= c < len(board[0])


def distances(item: Item) -> str:
    board = item["metadata"]["matrix"]
    zeros = [(r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell == 0]
    steps = flood(zeros, lambda r, c: inside(board, r, c))
    return rows([steps[r, c] for c in range(len(row))] for r, row in enumerate(board))


def island(item: Item) -> str:
    board = item["metadata"]["grid"]
    land = {(r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell}
    return str(max((len(flood([cell], lambda r, c: (r, c) in land)) for cell in land), default=0))


def oranges(item: Item) -> str:
    board = item["metadata"]["matrix"]
    rotten = [(r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell == 2]
    steps = flood(rotten, lambda r, c: inside(board, r, c) and board[r][c] == 1)
    whole = all(cell != 1 or (r, c) in steps for r, row in enumerate(board) for c, cell in enumerate(row))
    return str(max(steps.values(), default=0) if whole else -1)


def maze(item: Item) -> str:
    data = item["metadata"]
    board = data["grid"]
    places = {cell: (r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell in (data["start"], data["goal"])}
    steps = flood([places[data["start"]]], lambda r, c: inside(board, r, c) and board[r][c] != data["wall"])
    return str(steps[places[data["goal"]]])


def path(item: Item) -> bool:
    board = item["metadata"]["matrix"]
    places = {cell: (r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell in "*#"}
    steps = flood([places["*"]], lambda r, c: inside(board, r, c) and board[r][c] != "X")
    if places["#"] not in steps:
        return bool(item["answer"] == "infeasible")
    return len(item["answer"].split()) == steps[places["#"]] and JUDGED["shortest_path"].judge(item["answer"], item)


def rotated(item: Item) -> str:
    board = item["metadata"]["matrix"]
    for _ in range(item["metadata"]["num_rotations"] % 4):
        board = [list(row) for row in zip(*board[::-1], strict=True)]
    return rows(board)


def spiral(item: Item) -> str:
    board, found = [list(row) for row in item["metadata"]["matrix"]], []
    while board:
        found += board.pop(0)
        board = [list(row) for row in zip(*board, strict=True)][::-1]
    return " ".join(map(str, found))


def life(board: Board) -> list[list[int]]:
    height, width = len(board), len(board[0])

    def lives(r: int, c: int) -> int:
        around = sum(board[(r + i) % height][(c + j) % width] for i in (-1, 0, 1) for j in (-1, 0, 1)) - board[r][c]
        return int(around == 3 or (around == 2 and board[r][c]))

    return [[lives(r, c) for c in range(width)] for r in range(height)]


def _board(item: Item) -> list[list[int]]:
    shown = max(re.findall(r"\[\[.*?\]\]", item["question"], re.DOTALL), key=len)  # not the example
    return [[int(cell) for cell in re.findall(r"[01]", row)] for row in re.findall(r"\[+([01,\s]+)\]", shown)]


def lived(item: Item) -> str:
    board = _board(item)
    for _ in range(item["metadata"]["simulation_steps"]):
        board = life(board)
    return json.dumps(board)


def halts(item: Item) -> str:
    board = _board(item)
    for _ in range(item["metadata"]["simulation_steps"]):
        board = life(board)
    return str(not any(map(any, board)))
