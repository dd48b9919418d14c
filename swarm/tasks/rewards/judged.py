"""What is right, by dataset: the one table from which every reward follows.

A reward is 1 or 0. Nothing is paid in part: a share for what is nearly right would be worth more
than a right answer that some verifier cannot read, and mistakes that pay are taught.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from swarm.tasks.rewards import grids, moves, singles
from swarm.tasks.rewards.expressions import derivative, expression
from swarm.tasks.rewards.extracted import readings, too_long
from swarm.tasks.rewards.notations import (
    bag,
    decimal,
    fraction,
    grid,
    integer,
    items,
    nested_strings,
    parsed_json,
    sentence,
    word,
)
from swarm.tasks.rewards.propositions import conclusion
from swarm.tasks.rewards.roundings import to_digits, to_places
from swarm.tasks.rewards.singles import Item, Judge, among, measured, one

ONE, SEVERAL = "one", "several"


@dataclass(frozen=True, slots=True)
class Judged:
    """How the answers to a dataset are judged.

    `answers` is `ONE` or `SEVERAL`: how many are right. `right` says what is, for people. `ask` is
    for the prompt: what a dataset's question forgets to say.
    """

    judge: Judge
    right: str
    answers: str = ONE
    ask: str = ""


def table() -> str:
    """Return the table of all datasets for docs/rewards.md."""
    lines = ["| dataset | right answers | what is right |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {kind.answers} | {kind.right} |" for name, kind in sorted(JUDGED.items()))])


def is_right(name: str, answer: str, item: Item) -> bool:
    """Whether `answer` to an item of dataset `name` is right, in whatever notation."""
    own = item["answer"] or ""
    if too_long(answer, own):
        return False
    return any(
        (JUDGED[name].answers == ONE and own == reading) or JUDGED[name].judge(reading, item) for reading in readings(answer)
    )


# --- values that are right to the digits asked


def _probabilities(item: Item) -> frozenset[Fraction]:
    rational = item["metadata"]["rational"]
    exact = Fraction(rational["numerator"], rational["denominator"])
    return frozenset({exact}) | to_digits(exact, 10)


def _probability(reading: str, item: Item) -> bool:
    ratio = fraction(reading)
    value = decimal(reading) if ratio is None else Fraction(*ratio) if ratio[1] else None
    return value is not None and value in _probabilities(item)


def _power(item: Item) -> frozenset[Fraction]:
    data = item["metadata"]
    return to_digits(Fraction(Decimal(str(data["base"]))) ** data["exponent"], 3)


def _candidates(item: Item) -> set[Fraction | None]:
    data = item["metadata"]
    shown = data["formatted_candidates"][data["candidates"].index(data["solution"])]
    return {decimal(shown), decimal(item["answer"])}


def _geometry(reading: str, item: Item) -> bool:
    data = item["metadata"]
    if data["task_type"] == "orthocenter":
        exact = [Fraction(each) for each in data["ortho"]]
        return singles.point(lambda item: [to_places(each, 3) | {each} for each in exact])(reading, item)
    if data["task_type"] == "incircle_radius":
        return among(lambda item: to_places(Fraction(data["incircle_radius_approx"]), 3))(reading, item)
    angle = Fraction(data["angle_ABC_degrees"])
    return measured(among(lambda item: to_places(angle, 3) | to_places(angle, 2)))(reading, item)


def _calendar(reading: str, item: Item) -> bool:
    return measured(one(integer))(reading, item) if integer(item["answer"]) else one(word)(reading, item)


# --- several right answers


def _countdown(reading: str, item: Item) -> bool:
    data = item["metadata"]
    found = expression(reading)
    return found is not None and found.number == data["target"] and sorted(found.numbers) == sorted(map(str, data["numbers"]))


def _puzzle24(reading: str, item: Item) -> bool:
    found = expression(reading)
    return found is not None and found.number == 24 and sorted(found.numbers) == sorted(map(str, item["metadata"]["numbers"]))


def _antiderivative(reading: str, item: Item) -> bool:
    data = item["metadata"]
    found, integrand = (expression(text, data["variable"]) for text in (reading, data["integrand"]))
    return found is not None and integrand is not None and derivative(found.value) == integrand.value


def _cryptarithm(reading: str, item: Item) -> bool:
    data = item["metadata"]
    pairs = [re.fullmatch(r"([A-Z])\s*=\s*(\d)", pair.strip(), re.ASCII) for pair in reading.split(",")]
    digits = {pair[1]: pair[2] for pair in pairs if pair}
    words = [*data["words_letters"], data["result_letters"]]
    if not len(pairs) == len(digits) == len(set(digits.values())) or set(digits) != set("".join(words)):
        return False
    numbers = ["".join(digits[letter] for letter in letters) for letters in words]
    padded = any(number.startswith("0") and len(number) > 1 for number in numbers)
    return (data["allow_leading_zero"] or not padded) and sum(map(int, numbers[:-1])) == int(numbers[-1])


def _coloring(reading: str, item: Item) -> bool:
    puzzle = item["metadata"]["puzzle"]
    colors = parsed_json(reading)
    if not isinstance(colors, dict) or set(colors) != set(map(str, puzzle["vertices"])):
        return False
    allowed = all(type(color) is int and color in puzzle["color_options"] for color in colors.values())
    return allowed and all(colors[str(a)] != colors[str(b)] for a, b in puzzle["edges"])


def _palindrome(reading: str, item: Item) -> bool:
    text = reading.casefold()
    return text == text[::-1] and sorted(text) == sorted(item["metadata"]["letters"])


def _groups(text: str) -> Any:
    found: Any = nested_strings(text)
    return None if found is None else tuple(sorted(tuple(sorted(group)) for group in found))


def _concluded(reading: str, item: Item) -> bool:
    return conclusion(reading, item["metadata"]["premises"], item["metadata"]["variables"])


_COUNT = Judged(measured(one(integer)), "the whole number, perhaps with the unit that the question counts")
_INTEGER = Judged(one(integer), "the whole number")
_WORD = Judged(one(word), "the word or words, in any case")
_EXACT = Judged(one(sentence), "the text, letter by letter")
_INTEGERS = Judged(one(items(integer)), "the whole numbers in their order")
_WORDS = Judged(one(items(sentence)), "the words in their order")
_DECIMALS = Judged(one(items(decimal)), "the numbers in their order, each exact")
_GRID = Judged(one(grid(integer)), "every cell of the grid")
_DECIMAL = Judged(one(decimal), "the exact number")

JUDGED: Mapping[str, Judged] = {
    "ab": _WORDS,
    "acre": _WORD,
    "advanced_geometry": Judged(_geometry, "each number to 3 decimals (angles 2 or 3), an orthocenter also exact"),
    "aiw": _COUNT,
    "arc_1d": _INTEGERS,
    "arc_agi": _GRID,
    "base_conversion": Judged(singles.digits_in_base, "the digits, perhaps after 0b, 0o or 0x"),
    "basic_arithmetic": _INTEGER,
    "bf": _EXACT,
    "binary_alternation": _COUNT,
    "binary_matrix": _GRID,
    "bitwise_arithmetic": Judged(one(singles.hexadecimal), "the hexadecimal number, with 0x"),
    "boxnet": Judged(moves.boxnet, "any legal plan that brings every box to a target", SEVERAL),
    "caesar_cipher": _WORD,
    "calendar_arithmetic": Judged(_calendar, "the weekday, yes or no, or the whole number"),
    "chain_sum": _INTEGER,
    "circuit_logic": _INTEGER,
    "coin_flip": Judged(
        _probability,
        "the exact probability as fraction or decimal, or rounded to 10 significant digits",
        ask="Give the exact probability, or round it to 10 significant digits.",
    ),
    "color_cube_rotation": _WORD,
    "complex_arithmetic": Judged(one(singles.complex_number), "real and imaginary part, exact"),
    "count_bits": _COUNT,
    "count_primes": _COUNT,
    "countdown": Judged(_countdown, "any expression of exactly these numbers with this value", SEVERAL),
    "course_schedule": _WORD,
    "cryptarithm": Judged(_cryptarithm, "any digits for exactly these letters that make the sum true", SEVERAL),
    "decimal_arithmetic": Judged(one(decimal), "the exact value, rounded half up to the digits asked"),
    "decimal_chain_sum": _DECIMAL,
    "dice": Judged(one(fraction), "the reduced fraction"),
    "emoji_mystery": _EXACT,
    "family_relationships": _WORD,
    "figlet_font": _WORD,
    "fraction_simplification": Judged(one(fraction), "the fraction in lowest terms"),
    "futoshiki": Judged(grids.futoshiki, "any grid that keeps the rules, with or without the signs", SEVERAL),
    "game_of_life": _GRID,
    "game_of_life_halting": _WORD,
    "gcd": _INTEGER,
    "graph_color": Judged(_coloring, "any coloring of exactly these vertices without two alike at an edge", SEVERAL),
    "group_anagrams": Judged(one(_groups), "the groups, in any order"),
    "gsm_symbolic": Judged(measured(one(decimal)), "the exact number, perhaps with the unit that the question counts"),
    "jugs": Judged(moves.jugs, "any moves, all with effect, that end with the target in a jug", SEVERAL),
    "kakurasu": Judged(grids.kakurasu, "any grid of 0 and 1 with these sums", SEVERAL),
    "knights_knaves": Judged(one(singles.assignments), "who is what, each person once"),
    "largest_island": _COUNT,
    "lcm": _INTEGER,
    "leg_counting": _COUNT,
    "letter_counting": _COUNT,
    "letter_jumble": _EXACT,
    "mahjong_puzzle": _WORD,
    "manipulate_matrix": _GRID,
    "maze": _COUNT,
    "mini_sudoku": Judged(grids.sudoku, "any grid that keeps the rules", SEVERAL),
    "modulo_grid": Judged(one(singles.picture), "every cell of the picture"),
    "n_queens": Judged(grids.n_queens, "any board with the given queens and none attacked", SEVERAL),
    "needle_haystack": _WORD,
    "number_filtering": _DECIMALS,
    "number_format": Judged(among(_candidates), "the candidate's exact value"),
    "number_sequence": _INTEGER,
    "number_sorting": _DECIMALS,
    "palindrome_generation": Judged(_palindrome, "any palindrome of exactly these letters", SEVERAL),
    "palindrome_partitioning": Judged(one(nested_strings), "all partitions, in any order"),
    "path_star": _INTEGERS,
    "polynomial_equations": Judged(singles.solved_for(bag(items(decimal))), "all real solutions to 4 decimals, in any order"),
    "pool_matrix": Judged(singles.pooled, "every cell, to 2 decimals"),
    "power_function": Judged(among(_power), "the number to 3 significant digits"),
    "prime_factorization": Judged(one(singles.factors), "the prime factors, in any order"),
    "products": _INTEGER,
    "propositional_logic": Judged(
        _concluded,
        "any formula of at most one ∧ ∨ → ↔ that follows, is no tautology and no premise again",
        SEVERAL,
        "Conclude something that no statement says alone, with at most one of the signs ∨ ∧ → ↔.",
    ),
    "puzzle24": Judged(_puzzle24, "any expression of exactly these numbers with the value 24", SEVERAL),
    "quantum_lock": Judged(moves.quantum_lock, "any shortest sequence of buttons, each pressed in its light", SEVERAL),
    "rearc": _GRID,
    "rectangle_count": _COUNT,
    "rotate_matrix": _GRID,
    "rotten_oranges": _COUNT,
    "rubiks_cube": Judged(moves.rubiks_cube, "any turns that end with the cube solved", SEVERAL),
    "rush_hour": Judged(moves.rush_hour, "any moves, all possible, that end with the red car out", SEVERAL),
    "self_reference": _COUNT,
    "sentence_reordering": _EXACT,
    "shortest_path": Judged(moves.shortest_path, 'any shortest path over open cells, or "infeasible"', SEVERAL),
    "simple_equations": Judged(singles.solved_for(integer), "the whole number"),
    "simple_geometry": _COUNT,
    "simple_integration": Judged(_antiderivative, "any polynomial whose derivative it is", SEVERAL),
    "sokoban": Judged(moves.sokoban, "any steps, all possible, that end with every box on a goal", SEVERAL),
    "spell_backward": _WORD,
    "spiral_matrix": _INTEGERS,
    "string_insertion": _EXACT,
    "string_manipulation": _EXACT,
    "string_splitting": _INTEGERS,
    "string_synthesis": _INTEGERS,
    "sudoku": Judged(grids.sudoku, "any grid that keeps the rules", SEVERAL),
    "survo": Judged(grids.survo, "any grid with these sums, of exactly the given numbers", SEVERAL),
    "syllogism": _WORD,
    "time_intervals": Judged(one(singles.duration), "the time span in the format asked"),
    "tower_of_hanoi": Judged(moves.tower_of_hanoi, "any legal moves that end with the tower in its place", SEVERAL),
    "tsumego": _WORD,
    "word_sequence_reversal": _WORDS,
    "word_sorting": _WORDS,
    "zebra_puzzles": _WORD,
}
