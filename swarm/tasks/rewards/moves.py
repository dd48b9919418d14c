"""Judges of puzzles that are solved by moves: every move is legal, and the last one solves it.

Nothing but moves may be written, none without effect and none after the solution, so that an answer
has no room for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from magiccube import Cube
from magiccube.cube_base import CubeException
from reasoning_gym.games.contrib.sokoban.src.game import Game
from reasoning_gym.games.contrib.sokoban.src.utils import is_solved
from reasoning_gym.games.rush_hour import Board

from swarm.tasks.rewards.notations import items, parsed_json, sentence, word

Item = Mapping[str, Any]
MAX_MOVES = 1000

_STEPS = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}
_PEG_MOVE = re.compile(r"move disk ([1-9]\d?) from peg ([1-9]) to peg ([1-9])\.?", re.IGNORECASE)
_CAR_MOVE = re.compile(r"([A-Z])([+-][1-9]\d?)", re.ASCII)
_TURN = re.compile(r"(?:[2-9]?[UDLRFB]w?|[MESXYZ])'?")
_BOX_MOVE = re.compile(r"move\((box_\w+), (?:(target_\w+)|square\[(\d+\.\d), (\d+\.\d)\])\)", re.ASCII)


def _moves(reading: str) -> Sequence[str] | None:
    """Return what is between commas, else spaces or arrows."""
    found: Any = items(sentence)(reading)
    return found if found and len(found) <= MAX_MOVES else None


def _solves(states: Iterator[bool | None]) -> bool:
    """Whether a play reaches its goal with its last move; None is an illegal move."""
    last: bool | None = None
    for solved in states:
        if solved is None or last:
            return False
        last = solved
    return bool(last)


def jugs(reading: str, item: Item) -> bool:
    """Whether the list of moves ends with a jug that holds the target."""
    moves = parsed_json(reading)
    if not isinstance(moves, list) or not all(isinstance(move, str) for move in moves) or len(moves) > MAX_MOVES:
        return False
    capacities = dict(zip("ABCDEFGHIJ", item["metadata"]["puzzle"]["jug_capacities"], strict=False))

    def play() -> Iterator[bool | None]:
        held = dict.fromkeys(capacities, 0)
        for move in moves:
            match = re.fullmatch(r"(?:(fill|empty) ([A-J])|pour ([A-J])\s*->\s*([A-J]))", move.strip())
            before = dict(held)
            if match is None or not {each for each in match.groups()[1:] if each} <= set(held):
                yield None
                return
            if match[1]:
                held[match[2]] = capacities[match[2]] if match[1] == "fill" else 0
            elif match[3] != match[4]:
                poured = min(held[match[3]], capacities[match[4]] - held[match[4]])
                held[match[3]] -= poured
                held[match[4]] += poured
            yield None if held == before else item["metadata"]["puzzle"]["target"] in held.values()

    return _solves(play())


def quantum_lock(reading: str, item: Item) -> bool:
    """Whether as few buttons as can be lead to the target, each pressed in its light."""
    data = item["metadata"]
    pressed: Any = items(word)(" ".join(reading) if re.fullmatch("[A-Ca-c]+", reading) else reading)
    buttons = {button["name"].casefold(): button for button in data["buttons"]}
    if not pressed or len(pressed) != len(data["solution_path"]) or not set(pressed) <= set(buttons):
        return False
    value, light = data["initial_value"], data["initial_state"]
    for name in pressed:
        button = buttons[name]
        if button["active_state"] not in (light, "any"):
            return False
        amount = button["value"]
        value = {"add": value + amount, "subtract": value - amount, "multiply": value * amount}[button["type"]]
        light = "green" if light == "red" else "red"
    return bool(value == data["target_value"])


def shortest_path(reading: str, item: Item) -> bool:
    """Whether the steps, as few as can be, lead over open cells; or the word is "infeasible"."""
    said: Any = items(word)(reading)
    shortest = item["answer"].split()
    if shortest == ["infeasible"] or not said or len(said) != len(shortest):
        return bool(said) and list(said) == shortest
    cells = item["metadata"]["matrix"]
    r, c = next((r, c) for r, row in enumerate(cells) for c, cell in enumerate(row) if cell == "*")
    for step in said:
        if step not in _STEPS:
            return False
        r, c = r + _STEPS[step][0], c + _STEPS[step][1]
        if not (0 <= r < len(cells) and 0 <= c < len(cells[0])) or cells[r][c] == "X":
            return False
    return bool(cells[r][c] == "#")


def sokoban(reading: str, item: Item) -> bool:
    """Whether the steps push all boxes onto goals, none of them against a wall."""
    if re.fullmatch(rf"[LDUR]{{1,{MAX_MOVES}}}", reading) is None:
        return False
    rows = item["metadata"]["gamestr"].replace(" ", "").strip().split("\n")
    matrix = np.array([list(row) for row in rows])
    game = Game(height=matrix.shape[0], width=matrix.shape[1])
    game.load_puzzle_matrix(matrix)
    return _solves(is_solved(game.get_curr_state()) if game.player.update(key=step) else None for step in reading)


def rush_hour(reading: str, item: Item) -> bool:
    """Whether the moves, each of them whole, bring the red car to the exit."""
    matches = [_CAR_MOVE.fullmatch(move) for move in _moves(reading) or ()]
    board = Board(item["metadata"]["board_config"])
    pieces = board._pieces

    def play() -> Iterator[bool | None]:
        for match in matches:
            place, steps = (ord(match[1]) - ord("A"), int(match[2])) if match else (len(pieces), 0)
            if place >= len(pieces):
                yield None
                return
            wanted = pieces[place].position + pieces[place].stride * steps
            board.move(chr(place + ord("A")), steps)
            yield board.solved if pieces[place].position == wanted else None

    return _solves(play())


def tower_of_hanoi(reading: str, item: Item) -> bool:
    """Whether lines of "Move disk 1 from Peg 1 to Peg 2" bring the tower to its target."""
    data = item["metadata"]
    lines = [_PEG_MOVE.fullmatch(line.strip()) for line in reading.splitlines() if line.strip()]
    whole = list(range(data["num_disks"], 0, -1))

    def play() -> Iterator[bool | None]:
        pegs: dict[int, list[int]] = {peg: [] for peg in range(1, data["num_pegs"] + 1)}
        pegs[data["start_peg"]] = list(whole)
        for line in lines:
            disk, start, end = map(int, line.groups()) if line else (0, 0, 0)
            source, target = pegs.get(start), pegs.get(end)
            if not source or target is None or source[-1] != disk or (target and target[-1] <= disk):
                yield None
                return
            target.append(source.pop())
            yield pegs[data["target_peg"]] == whole

    return len(lines) <= MAX_MOVES + data["solution_length"] and _solves(play())


def rubiks_cube(reading: str, item: Item) -> bool:
    """Whether turns in Singmaster's notation solve the cube."""
    turns = _moves(reading)
    if turns is None or not all(_TURN.fullmatch(turn) for turn in turns):
        return False
    cube = Cube(item["metadata"]["cube_size"])
    cube.rotate(item["metadata"]["scramble_moves"])
    return not cube.is_done() and _solves(_turned(cube, turn) for turn in turns)


def _turned(cube: Any, turn: str) -> bool | None:
    try:
        cube.rotate(turn)
    except CubeException:
        return None
    return bool(cube.is_done())


def boxnet(reading: str, item: Item) -> bool:
    """Whether the plan brings every box to its target, and each agent moves a box that it has."""
    plan = parsed_json(reading)
    if not isinstance(plan, list) or not all(isinstance(step, dict) for step in plan) or len(plan) > MAX_MOVES:
        return False
    squares = {place: list(held) for place, held in item["metadata"]["initial_state"].items()}

    def play() -> Iterator[bool | None]:
        for step in plan:
            legal = bool(step) and all(_carried(squares, agent, action) for agent, action in step.items())
            yield not any(thing.startswith("box_") for held in squares.values() for thing in held) if legal else None

    return _solves(play())


def _carried(squares: Mapping[str, list[str]], agent: str, action: object) -> bool:
    """Play one agent's action; return whether it is legal."""
    place = re.fullmatch(r"Agent\[(\d+\.\d), (\d+\.\d)\]", agent)
    match = _BOX_MOVE.fullmatch(action) if isinstance(action, str) else None
    if place is None or match is None:
        return False
    box, target = match[1], match[2]
    here = squares.get(f"{place[1]}_{place[2]}", [])
    if box not in here:
        return False
    if target:
        if target not in here or target.removeprefix("target_") != box.removeprefix("box_"):
            return False
        here.remove(target)
    else:
        there = squares.get(f"{match[3]}_{match[4]}")
        apart = sorted(abs(float(place[axis]) - float(match[axis + 2])) for axis in (1, 2))
        if there is None or apart != [0, 1]:
            return False
        there.append(box)
    here.remove(box)
    return True


MOVES: Mapping[str, Callable[[str, Item], bool]] = {
    judge.__name__: judge
    for judge in (boxnet, jugs, quantum_lock, rubiks_cube, rush_hour, shortest_path, sokoban, tower_of_hanoi)
}
