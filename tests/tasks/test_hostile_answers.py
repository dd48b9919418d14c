"""Answers from strangers: nothing is executed, nothing hangs, nothing but a right answer is
right."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.tasks.compact import COMPACT
from swarm.tasks.environment import Problem, Unbuildable, VerifierError
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym
from swarm.tasks.rewards.expressions import expression
from swarm.tasks.rewards.extracted import extract_answer

GYM = ReasoningGym()
NAMES = sorted(GYM.names())
SECONDS = 1.0  # of CPU for one answer; verifiers need milliseconds

CODE = [
    "__import__('os').system('touch /tmp/swarmd-was-here')",
    "[__import__('os').system('true')]",
    "exec('import os')",
    "().__class__.__base__.__subclasses__()",
    "open('/etc/passwd').read()",
    "[x for x in range(10**12)]",
    "lambda: 0",
    "Symbol('x').func",
    "f'{__import__(\"os\")}'",
]
BOMBS = [
    "9**9**9**9",
    "9//1//1",
    "9 ** 9 ** 9",
    "9* *9",
    "1e999999999",
    "1E+99999999",
    "1e9_9_9_9_9_9",
    "1/1e999999999",
    "1" + "0" * 5000,
    "9" * 1020,
    "(" * 400 + "1" + ")" * 400,
    "[" * 1000 + "]" * 1000,
    "-" * 1000 + "1",
    "¬" * 1000 + "P",
    "A+9999999999 B-9999999999",
    "R9999999999",
    "R99 U99 " * 100,
    "fill A, " * 200,
    "P ∧ " * 250 + "P",
    "1\u00d7" * 500,
    "(X+1)**99*(X+2)**99*(X+3)**99*(X+4)**99",
    "1/(x**99+x**98+1)**9",
    "((x+1)**99)**99",
    "<answer>" * 200,
    " " * 2000,
    "\n" * 1000,
    "\x00" * 100,
    "٣" * 200,
    "1e٩٩٩٩٩٩",
]
NOTHING = ["", " ", "nan", "NaN", "-nan", "inf", "Infinity", "nanj", "nan+nanj", "sNaN", "null", "[]", "{}", "()", '""', "[[]]"]
WRONG_TYPES = [
    '{"a": [1, {"b": null}]}',
    "[NaN, NaN, NaN]",
    "[null]",
    '[{"move": 1}]',
    '{"0": [], "1": {}}',
    "[[[1]]]",
    "true",
    "1",
]


@cache
def problems(name: str, count: int = 1) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for seed in walk(99):
        try:
            found.append(GYM.build(name, seed, 0))
        except Unbuildable:
            continue
        if len(found) == count:
            return tuple(found)
    raise AssertionError


@contextmanager
def limited() -> Iterator[None]:
    def late(*arguments: object) -> None:
        raise TimeoutError("a verifier took too long")

    previous = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def score(name: str, problem: Problem, answer: str) -> float:
    try:
        with limited():
            reward = GYM.score(name, problem, "prose", f"<answer>{answer}</answer>")
    except VerifierError:
        return 0.0
    assert 0.0 <= reward <= 1.0
    return reward


def spoiled(answer: str) -> list[str]:
    """The right answer with its numbers, letters or form replaced."""
    number = r"-?\d+(\.\d+)?"
    values = ["nan", "NaN", "inf", "1e999", "1e99999", "-0", "9" * 300, "null", "[]", "1.0000001e4000"]
    return [
        *(changed for value in values if (changed := re.sub(number, value, answer)) != answer),
        answer * 200,
        "[" + answer + "]",
        answer.replace("[", "(").replace("]", ")") * 2,
    ]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_answers_are_harmless_and_wrong(name):
    (problem,) = problems(name)
    right = [text for text in [*CODE, *BOMBS, *NOTHING, *WRONG_TYPES] if score(name, problem, text) == 1.0]
    # An answer may be right by chance where answers are short, but no code, no bomb and no NaN is.
    assert right in ([], [problem.answer], ["[]"], ["1"], ["true"])
    for text in spoiled(problem.answer):
        if score(name, problem, text) == 1.0:
            assert {"nan", "inf"}.isdisjoint(re.findall("[a-z]+", text.lower()))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_judged_is_given_anything_but_data(name):
    events: list[tuple[str, object]] = []
    watching = [True]

    def hook(event: str, arguments: object) -> None:
        if watching[0] and event.split(".")[0] in {"open", "os", "socket", "subprocess", "shutil", "ctypes", "pty"}:
            events.append((event, arguments))

    (problem,) = problems(name)
    score(name, problem, problem.answer)  # what is imported on first use is imported now
    sys.addaudithook(hook)
    try:
        for text in CODE:
            score(name, problem, text)
            score(name, problem, f"{problem.answer}\n{text}")
    finally:
        watching[0] = False
    assert events == []


# What a policy could say every time; a verifier that takes it for right without being asked for it
# checks nothing.
CONSTANTS = [
    "x",
    "0",
    "1",
    "yes",
    "Yes",
    "No",
    "True",
    "False",
    "[]",
    "{}",
    "A",
    "-",
    "I do not know",
    "impossible",
    "B is a knight",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_answer_is_not_always_right(name):
    several = problems(name, 8)
    for constant in [*CONSTANTS, *(problem.answer for problem in several)]:
        others = [problem for problem in several if problem.answer.casefold() != constant.casefold()]
        right = sum(score(name, problem, constant) == 1.0 for problem in others)
        assert right <= (8 if name == "propositional_logic" else 5), constant


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.text(max_size=300), st.sampled_from(["", "[", "{", '["', "(", "\\frac{", "-", "1"]))
def test_any_text_scores_between_zero_and_one(name, text, prefix):
    (problem,) = problems(name)
    score(name, problem, prefix + text)
    with limited():
        try:
            GYM.score(name, problem, "prose", text)
            if "compact" in problem.prompts:
                GYM.score(name, problem, "compact", prefix + text)
        except VerifierError:
            return


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_damaged_right_answers_are_survived(name, data):
    (problem,) = problems(name)
    answer = problem.answer or "A+1"
    start = data.draw(st.integers(0, len(answer)))
    end = data.draw(st.integers(start, len(answer)))
    score(name, problem, answer[:start] + data.draw(st.text(max_size=20)) + answer[end:])


def test_the_right_answer_always_passes_the_screen():
    for name in NAMES:
        for problem in problems(name, 3):
            if problem.answer:
                assert GYM.score(name, problem, "prose", f"so <answer> {problem.answer}\n</answer>.") == 1.0


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<answer>4</answer>", "4"),
        ("x <answer>3</answer> y <answer> 4\n</answer> z", "4"),
        ("<answer><answer>4</answer>", "4"),
        ("<answer>4</answer><answer>5", "5"),
        ("</answer>4<answer>", ""),
        ("<answer>4", "4"),  # the stop string "</answer>" is cut off
        ("4", None),
        ("", None),
        ("<answer></answer>", ""),
        ("<ANSWER>4</ANSWER>", None),
        ("<think>perhaps <answer>9</answer>? no, let me", None),
        ("<think>perhaps <answer>9</answer>? no</think> It is <answer>4</answer>", "4"),
        ("perhaps <answer>9</answer>? no</think> It is 4", None),
        ("<answer>9</answer> <think>or is it", None),
        ("<Thinking>a</Thinking><answer>4", "4"),
        ("<think>a</think><answer>4</answer><think>b", None),
    ],
)
def test_which_text_is_the_answer(completion, answer):
    assert extract_answer(completion) == answer


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("-9*X**3/5 - X + C", True),
        ("2.5*x ** 12 + C", True),
        ("x**100", False),
        ("9**9**9", False),
        ("x**9**9", False),
        ("x**9* *9", False),
        ("(x**9)**9", False),
        ("x* *9", False),
        ("x.func", False),
        ("exp(x)", False),
        ("C(x)", False),
        ("x" * 300, False),
    ],
)
def test_polynomials_are_read_and_nothing_else(answer, read):
    assert (expression(answer, "x" if "x" in answer else "X") is not None) is read
    assert GYM.score("simple_integration", problems("simple_integration")[0], "prose", f"<answer>{answer}</answer>") in (0.0, 1.0)


@pytest.mark.parametrize("name", sorted(COMPACT))
def test_compact_completions_are_right_or_worth_nothing(name):
    for problem in problems(name, 12):
        solution = COMPACT[name].solution(problem.entry)
        assert GYM.score(name, problem, "compact", solution) == 1.0
        for text in [
            *CODE,
            *BOMBS,
            *NOTHING,
            *WRONG_TYPES,
            f"{solution}\n",
            f" {solution}",
            f"{solution};x",
            problem.prompts["compact"],
        ]:
            if text != solution:
                with limited():
                    assert GYM.score(name, problem, "compact", text) == 0.0, text
