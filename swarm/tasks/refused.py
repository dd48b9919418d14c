"""The datasets and levels of reasoning-gym that are not used, and why.

`tests/tasks/test_reasoning_list.py` proves the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_DIFFERS = "its problems or answers differ between processes with different hash seeds"

REFUSED: Mapping[str, str] = {
    "codeio": "it runs the sample programs of its data set, which open files and print, with the rights of the worker",
    "composite": "it has no problems of its own; name the datasets themselves",
    "intermediate_integration": _DIFFERS,
    "isomorphic_strings": _DIFFERS,
    "knight_swap": _DIFFERS,
    "list_functions": "one of its generators draws from the process's own random numbers, not from the seed",
    "polynomial_multiplication": _DIFFERS,
    "ransom_note": _DIFFERS,
    "word_ladder": _DIFFERS,
}

# Levels of reasoning-gym's curricula that work. The others crash, take seconds or never end for
# some problems, have fewer than ten problems, or do not show the whole problem ("0 0 ... 0 0").
# Even so a few problems in thousands take long; the workers' time limit ends them.
USABLE_LEVELS: Mapping[str, Sequence[int]] = {
    "arc_1d": (0, 1, 2),
    "bf": (0, 1),
    "caesar_cipher": (0, 1),
    "countdown": (0, 1),
    "futoshiki": (0, 1, 2),
    "game_of_life": (0, 1, 2),
    "game_of_life_halting": (0, 1),
    "jugs": (0, 1),
    "modulo_grid": (0, 2, 3, 4, 5),
    "n_queens": (0, 1, 2, 3),
    "number_sequence": (0,),
    "propositional_logic": (1, 2, 3, 4),
    "puzzle24": (0, 1, 2, 3, 4, 5),
    "quantum_lock": (0, 1, 2, 3, 4, 5, 6, 7, 8),
    "rubiks_cube": (0, 1, 2, 3),
    "sokoban": (1,),
    "sudoku": (0, 1, 2),
    "survo": (0, 1),
    "zebra_puzzles": (0, 1, 2),
}
