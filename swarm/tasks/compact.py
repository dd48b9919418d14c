"""Compact prompt templates: reasoning-gym problems as short strings for the embedded model.

A real language model reads the dataset's own prose. A model of a few hundred thousand parameters
cannot. It is shown the same problem as a mark, the data and "=" (`rev:hello=`), and answers as
briefly as possible (`olleh`). An answer is right if it is the solution, character by character;
only palindromes have several. The prompt holds the whole problem of the prose, and nothing more.

"scratch" is the same prompt with room for text. Text before the last "|" is scratch space and text
after a "#" is a remark (`o..h|olleh#reversed`). Only the part between is judged, as in "compact".
It stands for the reasoning around a language model's answer, where text can be smuggled in beside a
right answer. Attacks on a swarm are measured there.

The chosen datasets have open domains: each level holds far more problems than any run trains on, so
that accuracy on unseen prompts is skill, not memory. `levels` are configurations of the dataset,
from easy to hard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Compact:
    """The compact template of one dataset.

    `prompt` renders an entry, `solution` gives a right completion, and `right` judges one.
    """

    levels: tuple[Mapping[str, Any], ...]
    prompt: Callable[[Entry], str]
    solution: Callable[[Entry], str]
    several: Callable[[str, str], bool] = str.__eq__

    def right(self, entry: Entry, completion: str) -> bool:
        """Whether a completion is right."""
        return self.several(completion, self.solution(entry))


def without_scratch(completion: str) -> str:
    """Return the answer in a "scratch" completion: after the last "|", up to the next "#"."""
    return completion.rpartition("|")[2].partition("#")[0]


def _answer(entry: Entry) -> str:
    return str(entry["answer"])


# --- words and letters


def _reverse_prompt(entry: Entry) -> str:
    return f"rev:{entry['metadata']['word'].lower()}="


def _palindrome_prompt(entry: Entry) -> str:
    return f"pal:{''.join(entry['metadata']['letters'])}="


def _palindrome_solution(entry: Entry) -> str:
    """Return the palindrome of these letters whose first half keeps their order."""
    letters = entry["metadata"]["letters"]
    counts = {letter: letters.count(letter) for letter in letters}
    half = "".join(letter * (count // 2) for letter, count in counts.items())
    middle = "".join(letter for letter, count in counts.items() if count % 2)
    return half + middle + half[::-1]


def _same_letters_as_palindrome(completion: str, solution: str) -> bool:
    return completion == completion[::-1] and sorted(completion) == sorted(solution)


def _words_prompt(entry: Entry) -> str:
    mark = {"ascending": "wup", "descending": "wdn"}[entry["metadata"]["direction"]]
    return f"{mark}:{','.join(entry['metadata']['transformed_words'])}="


# --- numbers


def _integer(number: str) -> str:
    return str(int(float(number)))


def _sort_prompt(entry: Entry) -> str:
    mark = {"ascending": "asc", "descending": "des"}[entry["metadata"]["direction"]]
    return f"{mark}:{' '.join(map(_integer, entry['metadata']['original_numbers']))}="


def _sort_solution(entry: Entry) -> str:
    return " ".join(map(_integer, entry["metadata"]["sorted_numbers"]))


# The marks of the numbers that stay: "remove larger" keeps the numbers that are not larger.
FILTERS = {"keep_larger": ">", "keep_smaller": "<", "remove_larger": "!>", "remove_smaller": "!<"}


def _filter_prompt(entry: Entry) -> str:
    data = entry["metadata"]
    return f"flt{FILTERS[data['operation']]}{data['filter_value']}:{' '.join(data['original_numbers'])}="


def _filter_solution(entry: Entry) -> str:
    return " ".join(entry["metadata"]["result"]) or "-"


# --- grids: rows of digits, "/" between rows in the prompt, nothing between them in the answer


def _grid(rows: Any) -> str:
    return "/".join("".join(map(str, row)) for row in rows)


def _cells(rows: Any) -> str:
    return "".join(str(cell) for row in rows for cell in row)


def _spiral_prompt(entry: Entry) -> str:
    return f"spi:{_grid(entry['metadata']['matrix'])}="


def _rotate_prompt(entry: Entry) -> str:
    return f"rot{entry['metadata']['num_rotations'] % 4}:{_grid(entry['metadata']['matrix'])}="


def _sudoku_prompt(entry: Entry) -> str:
    return f"sud:{_grid(entry['metadata']['puzzle']).replace('0', '_')}="


# --- machines

# A token's letter, upper-case when its "#" is on the right.
TOKENS = {"A#": "A", "#A": "a", "B#": "B", "#B": "b"}


def _ab_prompt(entry: Entry) -> str:
    # The program is the only line of the question made of tokens alone.
    program = re.search(r"^(?:(?:A#|#A|B#|#B)(?: |$))+$", entry["question"].split("following program:")[1], re.MULTILINE)
    if program is None:
        raise ValueError("the question of an A::B entry holds no program; this version of reasoning-gym is not supported")
    return f"ab:{''.join(TOKENS[token] for token in program.group().split())}="


def _ab_solution(entry: Entry) -> str:
    return "".join(TOKENS[token] for token in entry["answer"].split()) or "-"


COMPACT: dict[str, Compact] = {
    "spell_backward": Compact(
        levels=tuple({"min_word_len": low, "max_word_len": high} for low, high in ((4, 5), (5, 7), (7, 9))),
        prompt=_reverse_prompt,
        solution=lambda entry: _answer(entry).lower(),
    ),
    "palindrome_generation": Compact(
        levels=tuple({"min_length": low, "max_length": high} for low, high in ((5, 5), (6, 6), (7, 8))),
        prompt=_palindrome_prompt,
        solution=_palindrome_solution,
        several=_same_letters_as_palindrome,
    ),
    "word_sorting": Compact(
        levels=tuple(
            {"min_words": low, "max_words": high, "min_word_length": 3, "max_word_length": length}
            for low, high, length in ((2, 2, 4), (3, 3, 3), (3, 3, 4))
        ),
        prompt=_words_prompt,
        solution=lambda entry: _answer(entry).replace(", ", ","),
    ),
    "number_sorting": Compact(
        levels=tuple(
            {"min_numbers": low, "max_numbers": high, "max_decimals": 0, "min_value": 0, "max_value": 99}
            for low, high in ((3, 3), (3, 4), (4, 5))
        ),
        prompt=_sort_prompt,
        solution=_sort_solution,
    ),
    "number_filtering": Compact(
        levels=tuple(
            {"min_numbers": low, "max_numbers": high, "max_decimals": 0, "min_value": 0, "max_value": 99}
            for low, high in ((3, 3), (3, 4), (4, 5))
        ),
        prompt=_filter_prompt,
        solution=_filter_solution,
    ),
    "spiral_matrix": Compact(
        levels=tuple({"min_n": low, "max_n": high} for low, high in ((2, 3), (3, 3), (3, 4))),
        prompt=_spiral_prompt,
        solution=lambda entry: _answer(entry).replace(" ", ""),
    ),
    "rotate_matrix": Compact(
        levels=tuple(
            {"min_n": low, "max_n": high, "min_rotations": 1, "max_rotations": 3} for low, high in ((2, 3), (3, 3), (3, 4))
        ),
        prompt=_rotate_prompt,
        solution=lambda entry: _cells(entry["metadata"]["solution"]),
    ),
    "mini_sudoku": Compact(
        levels=tuple({"min_empty": low, "max_empty": high} for low, high in ((3, 4), (4, 6), (6, 8))),
        prompt=_sudoku_prompt,
        solution=lambda entry: _cells(entry["metadata"]["solution"]),
    ),
    "ab": Compact(
        levels=tuple({"length": length} for length in (8, 9, 10)),
        prompt=_ab_prompt,
        solution=_ab_solution,
    ),
}
