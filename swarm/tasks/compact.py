"""Compact prompt templates: reasoning-gym problems as short strings for the embedded model.

A real language model reads the dataset's own prose. A model of a few hundred thousand parameters
cannot. It is shown the same problem as a mark, the data and "=" (`rev:hello=`), and answers as
briefly as possible (`olleh`). The dataset's own `score_answer` still judges: `answer` puts a
completion into the expected form. Two rules keep that safe:

- A completion must match the task's regular expression as a whole; any other becomes the empty
  answer, which scores 0. Some verifiers `eval` their input and one takes "nan" for sorted;
  completions come from strangers.
- The prompt holds the whole problem of the prose, and nothing more.

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

    `prompt` renders an entry. `answer` turns a completion into the form that the dataset's
    `score_answer` expects, and a malformed one into a wrong answer. `solution` gives a completion
    that scores 1.
    """

    levels: tuple[Mapping[str, Any], ...]
    prompt: Callable[[Entry], str]
    answer: Callable[[Entry, str], str]
    solution: Callable[[Entry], str]


def without_scratch(completion: str) -> str:
    """Return the answer in a "scratch" completion: after the last "|", up to the next "#"."""
    return completion.rpartition("|")[2].partition("#")[0]


def _strict(pattern: str, form: Callable[[Entry, str], str], refused: str = "") -> Callable[[Entry, str], str]:
    """Return a form that applies `form` to full matches of `pattern`; the rest gives `refused`."""
    shape = re.compile(pattern, re.ASCII)
    return lambda entry, text: form(entry, text) if shape.fullmatch(text) else refused


def _plain(entry: Entry, text: str) -> str:
    return text


def _answer(entry: Entry) -> str:
    return str(entry["answer"])


def _quoted(entry: Entry, text: str) -> str:
    """Return numbers as the list of strings that these datasets expect; "-" is the empty list."""
    return str(text.split(" ")) if text != "-" else "[]"


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


def _rotate_answer(entry: Entry, text: str) -> str:
    n = entry["metadata"]["n"]
    return "\n".join(" ".join(text[i : i + n]) for i in range(0, len(text), n)) if len(text) == n * n else ""


def _sudoku_prompt(entry: Entry) -> str:
    return f"sud:{_grid(entry['metadata']['puzzle']).replace('0', '_')}="


def _sudoku_answer(entry: Entry, text: str) -> str:
    return "\n".join(" ".join(text[i : i + 4]) for i in range(0, 16, 4))


# --- machines

# A token's letter, upper-case when its "#" is on the right.
TOKENS = {"A#": "A", "#A": "a", "B#": "B", "#B": "b"}
NAMES = {letter: token for token, letter in TOKENS.items()}


def _ab_prompt(entry: Entry) -> str:
    # The program is the only line of the question made of tokens alone.
    program = re.search(r"^(?:(?:A#|#A|B#|#B)(?: |$))+$", entry["question"].split("following program:")[1], re.MULTILINE)
    if program is None:
        raise ValueError("the question of an A::B entry holds no program; this version of reasoning-gym is not supported")
    return f"ab:{''.join(TOKENS[token] for token in program.group().split())}="


def _ab_solution(entry: Entry) -> str:
    return "".join(TOKENS[token] for token in entry["answer"].split()) or "-"


def _ab_answer(entry: Entry, text: str) -> str:
    return " ".join(NAMES[letter] for letter in text.replace("-", ""))


COMPACT: dict[str, Compact] = {
    "spell_backward": Compact(
        levels=tuple({"min_word_len": low, "max_word_len": high} for low, high in ((4, 5), (5, 7), (7, 9))),
        prompt=_reverse_prompt,
        answer=_strict("[a-z0-9]+", _plain),
        solution=lambda entry: _answer(entry).lower(),
    ),
    "palindrome_generation": Compact(
        levels=tuple({"min_length": low, "max_length": high} for low, high in ((5, 5), (6, 6), (7, 8))),
        prompt=_palindrome_prompt,
        answer=_strict("[a-z]+", _plain),
        solution=_palindrome_solution,
    ),
    "word_sorting": Compact(
        levels=tuple(
            {"min_words": low, "max_words": high, "min_word_length": 3, "max_word_length": length}
            for low, high, length in ((2, 2, 4), (3, 3, 3), (3, 3, 4))
        ),
        prompt=_words_prompt,
        answer=_strict("[A-Za-z0-9_,]+", lambda entry, text: text.replace(",", ", ")),
        solution=lambda entry: _answer(entry).replace(", ", ","),
    ),
    "number_sorting": Compact(
        levels=tuple(
            {"min_numbers": low, "max_numbers": high, "max_decimals": 0, "min_value": 0, "max_value": 99}
            for low, high in ((3, 3), (3, 4), (4, 5))
        ),
        prompt=_sort_prompt,
        answer=_strict(r"\d{1,3}( \d{1,3})*", _quoted),
        solution=_sort_solution,
    ),
    "number_filtering": Compact(
        levels=tuple(
            {"min_numbers": low, "max_numbers": high, "max_decimals": 0, "min_value": 0, "max_value": 99}
            for low, high in ((3, 3), (3, 4), (4, 5))
        ),
        prompt=_filter_prompt,
        answer=_strict(r"-|\d{1,3}( \d{1,3})*", _quoted),
        solution=_filter_solution,
    ),
    "spiral_matrix": Compact(
        levels=tuple({"min_n": low, "max_n": high} for low, high in ((2, 3), (3, 3), (3, 4))),
        prompt=_spiral_prompt,
        answer=_strict(r"\d+", lambda entry, text: " ".join(text)),
        solution=lambda entry: _answer(entry).replace(" ", ""),
    ),
    "rotate_matrix": Compact(
        levels=tuple(
            {"min_n": low, "max_n": high, "min_rotations": 1, "max_rotations": 3} for low, high in ((2, 3), (3, 3), (3, 4))
        ),
        prompt=_rotate_prompt,
        answer=_strict(r"\d+", _rotate_answer),
        solution=lambda entry: _cells(entry["metadata"]["solution"]),
    ),
    "mini_sudoku": Compact(
        levels=tuple({"min_empty": low, "max_empty": high} for low, high in ((3, 4), (4, 6), (6, 8))),
        prompt=_sudoku_prompt,
        answer=_strict(r"[1-4]{16}", _sudoku_answer),
        solution=lambda entry: _cells(entry["metadata"]["solution"]),
    ),
    "ab": Compact(
        levels=tuple({"length": length} for length in (8, 9, 10)),
        prompt=_ab_prompt,
        # "" is the right answer to a program that reduces to nothing.
        answer=_strict("-|[AaBb]+", _ab_answer, refused="-"),
        solution=_ab_solution,
    ),
}
