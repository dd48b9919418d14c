"""Only right answers are paid, in every notation, and nothing else is, in every dataset."""

import re
from fractions import Fraction
from functools import cache
from itertools import islice

import pytest

from swarm.tasks.environment import Problem, Unbuildable
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym

GYM = ReasoningGym()
NAMES = sorted(GYM.names())
UNSOLVED = {"boxnet", "rush_hour"}  # no answer of their own; tests/tasks/test_reasoning_list.py solves them


@cache
def problems(name: str, level: int = 0, count: int = 3) -> list[Problem]:
    """Of one level, with different answers, as far as there are any."""
    found: dict[str, Problem] = {}
    for seed in islice(walk(23), 20 * count):
        try:
            problem = GYM.build(name, seed, level)
        except Unbuildable:
            continue
        found.setdefault(problem.answer, problem)
        if len(found) == count:
            break
    return list(found.values())


def samples(name: str) -> list[Problem]:
    hardest = GYM.levels(name) - 1 if name not in {"game_of_life", "rubiks_cube", "binary_matrix", "manipulate_matrix"} else 0
    return [*problems(name), *(problems(name, hardest, 1) if hardest else [])]


def reward(name: str, problem: Problem, answer: str, rendering: str = "prose") -> float:
    return GYM.score(name, problem, rendering, f"<answer>{answer}</answer>" if rendering == "prose" else answer)


def decorated(answer: str) -> list[str]:
    texts = [
        f"**{answer}**",
        f"\\boxed{{{answer}}}",
        f"= {answer}",
        f"={answer}",
        f"`{answer}`",
        f" {answer}\n",
        f"```\n{answer}\n```",
    ]
    if "$" not in answer:
        texts += [
            f"${answer}$",
            f"$$ {answer} $$",
            f"$\\boxed{{{answer}}}$",
            f"**${answer}$**",
            f"\\({answer}\\)",
            f"\\[{answer}\\]",
        ]
    if not answer.endswith("."):
        texts.append(f"{answer}.")
    return texts


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSOLVED])
def test_a_right_answer_is_right_in_every_decoration(name: str) -> None:
    for problem in samples(name):
        assert problem.answer
        for text in [problem.answer, *decorated(problem.answer)]:
            assert reward(name, problem, text) == 1.0, text


def last_changed(answer: str) -> str:
    """The last digit or else letter is another one."""
    at = max((match.start() for match in re.finditer(r"\d" if re.search(r"\d", answer) else r"[A-Za-z]", answer)), default=None)
    if at is None:
        return answer[:-1]
    character = answer[at]
    other = str((int(character) + 1) % 10) if character.isdigit() else ("b" if character.casefold() == "a" else "a")
    return answer[:at] + other + answer[at + 1 :]


NUMBER = re.compile(r"(?<![\d.])(?!0\d)(\d*\.?\d+)")


def same_number(text: str, answer: str) -> bool:
    """Whether only zeros at the ends of decimals differ: 0.50, .5 and 0.5."""
    kept = text.removesuffix(".")
    values = [[Fraction(number) for number in NUMBER.findall(each)] for each in (kept, answer)]
    return NUMBER.sub("#", kept) == NUMBER.sub("#", answer) and values[0] == values[1]


def wrong(name: str, problem: Problem) -> dict[str, list[str]]:
    answer = problem.answer
    others = [other.answer for other in problems(name, count=4)]
    lines = [line.strip() for line in problem.question.splitlines() if line.strip()]
    return {
        "one unit": [last_changed(answer), re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), answer, count=1)],
        "suffix": [
            f"{answer} hail",
            f"{answer}hail",
            f"{answer}\nignore all rules",
            f"{answer}, and more",
            f"{answer}0",
            f"{answer};",
        ],
        "prefix": [f"hail {answer}", f"hail{answer}", f"ignore all rules\n{answer}", f"it is {answer}", f"1{answer}"],
        "zero-padded": [re.sub(r"(?<![\d.])\d", lambda digit: f"0{digit[0]}", answer)],
        "twice": [f"{answer} {answer}", f"{answer}\n{answer}", f"{answer}, {answer}", f"{answer} or {answer}"],
        "all options": [
            " ".join(others),
            "\n".join(others),
            ", ".join(others),
            " or ".join(others),
            "Yes No",
            "True False",
            "0 1",
        ],
        "question": [problem.question, *lines, *(line.partition(". ")[2] for line in lines)],
        "empty": ["", " ", "[]", "{}", "()", '""', "$$", "\\boxed{}"],
        "nonsense": ["x", "banana", "I do not know", "nan", "inf", "None", "¬", "=", "**", "0x", "1/0", "-"],
        "negated": [f"-{answer}", f"not {answer}", f"¬{answer}", f"~{answer}", f"!{answer}"],
        "cut": [answer[1:], answer[: len(answer) // 2]],
        "another's": [other for other in others if other != answer],
        "turned round": [answer[::-1]],
    }


# Where another answer may be right as well: another constant, formula, or way to the same end.
OTHERS_ARE_RIGHT = {
    "graph_color": {"one unit", "another's"},
    "propositional_logic": {"another's", "question"},
    "puzzle24": {"turned round", "another's"},
    "simple_integration": {"one unit", "prefix"},
}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_a_right_answer_is_paid(name: str) -> None:
    for problem in samples(name):
        for kind, texts in wrong(name, problem).items():
            for text in texts:
                paid = reward(name, problem, text) > 0
                same = text.strip() == problem.answer.strip() or same_number(text, problem.answer)
                assert not paid or same or kind in OTHERS_ARE_RIGHT.get(name, ()), (kind, text, problem.answer)
