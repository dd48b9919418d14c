"""The compact renderings: their text, the answers they accept, and agreement with the datasets' own
verifiers."""

import re
from functools import cache

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.tasks.compact import COMPACT

CASES = [(name, level) for name in COMPACT for level in range(len(COMPACT[name].levels))]
MAX_PROMPT, MAX_ANSWER = 30, 16


@cache
def dataset(name, level, size=400):
    return reasoning_gym.create_dataset(name, seed=123456789, size=size, **COMPACT[name].levels[level])


@pytest.mark.parametrize(("name", "level"), CASES)
def test_the_solution_scores_one_by_the_datasets_own_verifier(name, level):
    compact, problems = COMPACT[name], dataset(name, level)
    for entry in problems:
        assert problems.score_answer(compact.answer(entry, compact.solution(entry)), entry) == 1.0


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


@pytest.mark.parametrize("name", COMPACT)
def test_hostile_completions_never_reach_a_verifier(name):
    entry = dataset(name, 0)[0]
    solution = COMPACT[name].solution(entry)
    for hostile in (
        "",
        " ",
        "nan nan nan",
        "__import__('os')",
        "[1]*9**9",
        solution + "\n",
        " " + solution,
        solution + "<eos>",
        "٣",
    ):
        assert COMPACT[name].answer(entry, hostile) == ("-" if name == "ab" else "")


@pytest.mark.parametrize(("name", "level"), CASES)
def test_no_text_outside_the_form_is_a_right_answer(name, level):
    compact, problems = COMPACT[name], dataset(name, level)
    for entry in problems:
        for text in ("", "?"):
            assert problems.score_answer(compact.answer(entry, text), entry) < 1


@settings(max_examples=300)
@given(case=st.sampled_from(CASES), index=st.integers(0, 399), text=st.text())
def test_any_text_gets_a_score(case, index, text):
    problems = dataset(*case)
    entry = problems[index]
    assert 0 <= problems.score_answer(COMPACT[case[0]].answer(entry, text), entry) <= 1


@settings(max_examples=300)
@given(case=st.sampled_from(CASES), index=st.integers(0, 399), data=st.data())
def test_a_wrong_answer_in_the_right_letters_scores_less_than_one(case, index, data):
    problems, compact = dataset(*case), COMPACT[case[0]]
    entry = problems[index]
    right = compact.solution(entry)
    wrong = data.draw(st.text(alphabet=sorted(set(right)), max_size=len(right) - 1))  # shorter, so wrong
    assert problems.score_answer(compact.answer(entry, wrong), entry) < 1


def test_two_prompts_are_as_documented():
    entry = {"metadata": {"word": "Hello"}, "answer": "olleH"}
    assert (COMPACT["spell_backward"].prompt(entry), COMPACT["spell_backward"].solution(entry)) == ("rev:hello=", "olleh")
    entry = {"metadata": {"original_numbers": ["7.0", "-0.0", "12.0"], "direction": "descending"}}
    assert COMPACT["number_sorting"].prompt(entry) == "des:7 0 12="
    assert COMPACT["number_sorting"].answer(entry, "12 7 0") == "['12', '7', '0']"
