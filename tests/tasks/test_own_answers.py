"""A dataset's own answer is what a solver finds, or the problem is not asked."""

from pathlib import Path

import pytest

from benchmarks.answers.compare_answers import DECIDED, SOLVERS, compare
from swarm.tasks.environment import Unbuildable
from swarm.tasks.reasoning import ReasoningGym
from swarm.tasks.rewards.judged import table
from swarm.tasks.rewards.own_answers import CHECKED, REPAIRED, own_answer

GYM = ReasoningGym()
DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"
SLOW = {
    "bf",
    "countdown",
    "cryptarithm",
    "graph_color",
    "group_anagrams",
    "n_queens",
    "puzzle24",
    "rubiks_cube",
    "rush_hour",
    "sokoban",
    "survo",
}


@pytest.mark.parametrize("name", sorted(set(DECIDED) - SLOW))
def test_what_is_asked_has_the_answer_that_a_solver_finds(name: str) -> None:
    found = compare(name, 8)
    assert found["problems"] > 0
    assert found["wrong_when_asked"] == 0, found["example"]
    assert found["wrong"] == 0 or name in {*CHECKED, *REPAIRED}


def test_a_syllogism_with_an_undistributed_middle_is_not_asked() -> None:
    with pytest.raises(Unbuildable, match="not right"):
        GYM.build("syllogism", 34084860461056, 2)
    premises = {"premise1": "Some cats are dogs", "premise2": "All ants are dogs"}
    for answer, right in (("Yes", None), ("No", "No")):
        item = {"answer": answer, "metadata": premises | {"conclusion": "Some cats are ants"}}
        assert own_answer("syllogism", item) == right
    # Terms are not empty, so that "all" implies "some".
    item = {"answer": "Yes", "metadata": {"premise1": "All cats are dogs", "premise2": "All dogs are ants"}}
    item["metadata"]["conclusion"] = "Some ants are cats"
    assert own_answer("syllogism", item) == "Yes"


def test_repaired_answers_are_what_the_question_asks() -> None:
    question = "Please solve this problem to a maximum of 6 significant digits, rounding up from the half.\n1/3+1/3 = ?"
    assert own_answer("decimal_arithmetic", {"question": question}) == "0.666667"
    assert own_answer("decimal_arithmetic", {"question": question.replace("1/3+1/3", "0.125*1000.004")}) == "125.001"
    assert own_answer("power_function", {"metadata": {"base": 12.5, "exponent": -2}}) == "6.40e-3"
    contradiction = {"premises": ["P", "¬P"], "variables": ["P", "Q"], "example_answer": "(P ∨ Q)"}
    assert own_answer("propositional_logic", {"metadata": contradiction}) is None
    repeated = {"premises": ["P", "(P → Q)"], "variables": ["P", "Q"], "example_answer": "(P ∨ P)"}
    assert own_answer("propositional_logic", {"metadata": repeated}) == "Q"


def test_datasets_that_are_wrong_now_and_then_are_named_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert table() in text
    rows = text.partition("## Datasets whose own answers are wrong")[2]
    assert all(f"| `{name}` |" in rows for name in {*CHECKED, *REPAIRED})
    undecided = set(GYM.names()) - set(DECIDED)
    assert all(f"`{name}`" in rows for name in undecided)
    assert set(SOLVERS) <= set(GYM.names())
