"""Training and evaluation never meet: whatever the seeds, the levels and the environment."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Problem, Unbuildable
from swarm.tasks.held_out import (
    MAX_TRAINING_STEPS,
    evaluation_seeds,
    held_out,
    problem_key,
    training_problem,
    walk,
)


class Numbers:
    """Questions 0 .. size - 1; seeds that a generator gives up on; counts how often it is asked."""

    version = "1"

    def __init__(self, size: int, gives_up: int = 0) -> None:
        self.size = size
        self.gives_up = gives_up
        self.built = 0

    def names(self) -> set[str]:
        return {"n"}

    def refused(self) -> dict[str, str]:
        return {}

    def levels(self, name: str) -> int:
        return 1

    def build(self, name: str, seed: int, level: int) -> Problem:
        self.built += 1
        if self.gives_up and seed % self.gives_up:
            raise Unbuildable("no")
        question = str(seed % self.size)
        return Problem(question, question, {"prose": f"what is {question}?"}, None)

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        return float(completion == problem.answer)


def test_the_walk_is_the_same_for_everybody():
    # Part of every recipe's meaning: a node that walks elsewhere rebuilds other tasks.
    assert list(islice(walk(0), 2)) == [7091831180215848320, 8118309952589836409]
    assert list(islice(walk(2**63 - 1), 1)) == [1389081872698211875]
    assert [held_out(f"reasoning_gym/x\n{i}") for i in range(40)].count(True) == 2


def test_a_tenth_is_held_out():
    share = sum(held_out(f"reasoning_gym/spell_backward\nrev:{i}=") for i in range(20_000)) / 20_000
    assert share == pytest.approx(26 / 256, abs=0.01)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_no_training_problem_is_ever_in_an_evaluation_set(seed, evaluation_seed):
    environment = Numbers(200)
    trained = training_problem(environment, "f", "n", seed, 0)
    evaluated = evaluation_seeds(environment, "f", "n", evaluation_seed, 0, 5)
    assert trained.question not in {environment.build("n", each, 0).question for each in evaluated}
    assert not held_out(problem_key("f/n", trained))


def test_evaluation_prompts_are_distinct_and_a_small_domain_gives_fewer():
    environment = Numbers(100)
    everything = {str(i) for i in range(100) if held_out(f"f/n\n{i}")}
    found = evaluation_seeds(environment, "f", "n", 1, 0, 50)
    assert environment.built <= 50 * 40
    assert sorted(environment.build("n", each, 0).question for each in found) == sorted(everything)
    assert len(evaluation_seeds(Numbers(10**6), "f", "n", 1, 0, 50)) == 50


def test_the_key_is_the_compact_prompt_where_there_is_one():
    compact = Problem("long question", "a", {"prose": "long question, please", "compact": "q="}, None)
    assert problem_key("f/n", compact) == "f/n\nq="
    assert problem_key("f/n", Problem("long question", "a", {"prose": "p"}, None)) == "f/n\nlong question"


def test_a_domain_that_is_all_held_out_ends_with_a_clear_error():
    size = next(i for i in range(1000) if held_out(f"f/n\n{i}"))
    environment = Numbers(1)
    environment.build = lambda name, seed, level: Problem(str(size), "", {}, None)  # type: ignore[method-assign]
    with pytest.raises(EnvironmentRefused, match=f"f/n at level 0 .* {MAX_TRAINING_STEPS} in a row"):
        training_problem(environment, "f", "n", 3, 0)


def test_seeds_without_a_problem_are_walked_over():
    sparse = Numbers(10**6, gives_up=3)
    problem = training_problem(sparse, "f", "n", 5, 0)
    assert problem == training_problem(Numbers(10**6, gives_up=3), "f", "n", 5, 0)
    assert len([sparse.build("n", each, 0) for each in evaluation_seeds(sparse, "f", "n", 5, 0, 4)]) == 4
