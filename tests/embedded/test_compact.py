"""The compact renderings: their text, the answers they accept, and agreement with the judge of
prose."""

import re
from functools import cache

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.tasks.compact import COMPACT, TOKENS
from swarm.tasks.rewards.judged import is_right

CASES = [(name, level) for name in COMPACT for level in range(len(COMPACT[name].levels))]
MAX_PROMPT, MAX_ANSWER = 30, 16


@cache
def dataset(name, level, size=400):
    return reasoning_gym.create_dataset(name, seed=123456789, size=size, **COMPACT[name].levels[level])


def rows(text, width):
    return "\n".join(" ".join(text[at : at + width]) for at in range(0, len(text), width))


# A compact answer as prose has it.
PROSE = {
    "spell_backward": lambda entry, text: text,
    "palindrome_generation": lambda entry, text: text,
    "word_sorting": lambda entry, text: text,
    "number_sorting": lambda entry, text: f"[{text.replace(' ', ', ')}]",
    "number_filtering": lambda entry, text: "[]" if text == "-" else f"[{text.replace(' ', ', ')}]",
    "spiral_matrix": lambda entry, text: " ".join(text),
    "rotate_matrix": lambda entry, text: rows(text, entry["metadata"]["n"]),
    "mini_sudoku": lambda entry, text: rows(text, 4),
    "ab": lambda entry, text: " ".join({letter: token for token, letter in TOKENS.items()}[each] for each in text.strip("-")),
}


@pytest.mark.parametrize(("name", "level"), CASES)
def test_the_solution_is_right_as_it_is_in_prose(name, level):
    for entry in dataset(name, level):
        solution = COMPACT[name].solution(entry)
        assert COMPACT[name].right(entry, solution)
        assert is_right(name, PROSE[name](entry, solution), entry)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_prompts_and_answers_are_short_ascii_and_rarely_repeat(name, level):
    compact, problems = COMPACT[name], dataset(name, level)
    prompts = [compact.prompt(entry) for entry in problems]
    assert len(set(prompts)) > 0.95 * len(prompts)
    assert all(text.isascii() and text.isprintable() for text in prompts)
    assert max(map(len, prompts)) <= MAX_PROMPT
    assert max(len(compact.solution(entry)) for entry in problems) <= MAX_ANSWER


def test_the_mark_tells_the_task():
    marks = {}
    for name, level in CASES:
        for entry in dataset(name, level):
            prompt = COMPACT[name].prompt(entry)
            marks.setdefault(re.match("[a-z]+", prompt).group(), set()).add(name)
            assert prompt.endswith("=")
    assert all(len(names) == 1 for names in marks.values()), marks


@pytest.mark.parametrize("name", COMPACT)
def test_levels_are_at_least_three_and_differ(name):
    levels = COMPACT[name].levels
    assert len(levels) >= 3
    assert all(levels[i] != levels[i + 1] for i in range(len(levels) - 1))


@pytest.mark.parametrize(("name", "level"), CASES)
def test_nothing_but_a_solution_is_right(name, level):
    for entry in dataset(name, level, 20):
        solution = COMPACT[name].solution(entry)
        for text in (
            "",
            " ",
            "?",
            "nan nan nan",
            "[1]*9**9",
            solution + "\n",
            " " + solution,
            solution + "<eos>",
            solution + "hail",
            solution + solution,
            "0" + solution,
            solution[:-1],
            re.sub(r"\b(\d)", r"0\1", solution) if " " in solution else solution + "0",
            re.sub(r"^\d", lambda digit: str((int(digit[0]) + 1) % 10), solution) if solution[0].isdigit() else solution + "a",
            COMPACT[name].prompt(entry),
            solution.upper() + solution.lower(),
        ):
            assert not COMPACT[name].right(entry, text), text


@settings(max_examples=300)
@given(case=st.sampled_from(CASES), index=st.integers(0, 399), text=st.text())
def test_any_text_is_judged(case, index, text):
    entry = dataset(*case)[index]
    assert COMPACT[case[0]].right(entry, text) in (True, False)


@settings(max_examples=300)
@given(case=st.sampled_from(CASES), index=st.integers(0, 399), data=st.data())
def test_a_shorter_answer_in_the_right_letters_is_wrong(case, index, data):
    compact = COMPACT[case[0]]
    entry = dataset(*case)[index]
    right = compact.solution(entry)
    wrong = data.draw(st.text(alphabet=sorted(set(right)), max_size=len(right) - 1))
    assert not compact.right(entry, wrong)


def test_two_prompts_are_as_documented():
    entry = {"metadata": {"word": "Hello"}, "answer": "olleH"}
    assert (COMPACT["spell_backward"].prompt(entry), COMPACT["spell_backward"].solution(entry)) == ("rev:hello=", "olleh")
    entry = {"metadata": {"original_numbers": ["7.0", "-0.0", "12.0"], "direction": "descending"}}
    assert COMPACT["number_sorting"].prompt(entry) == "des:7 0 12="
    entry["metadata"]["sorted_numbers"] = ["12.0", "7.0", "-0.0"]
    assert COMPACT["number_sorting"].right(entry, "12 7 0")
    assert not COMPACT["number_sorting"].right(entry, "12 7 1")
