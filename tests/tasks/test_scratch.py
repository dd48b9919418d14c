"""The rendering "scratch": the compact task with room for text that the verifier does not see."""

from functools import cache
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config
from swarm.roles.suitable import rendering_of
from swarm.tasks.compact import COMPACT, without_scratch
from swarm.tasks.environment import Problem
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym

GYM = ReasoningGym()


@cache
def problems(name: str) -> list[Problem]:
    return [GYM.build(name, seed, level) for level in range(GYM.levels(name)) for seed in islice(walk(11), 4)]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("olleh", "olleh"),
        ("2+2=5|olleh", "olleh"),
        ("a|b|olleh#import os", "olleh"),
        ("#a|olleh", "olleh"),
        ("olleh##", "olleh"),
        ("olleh#a|b", "b"),
        ("|", ""),
        ("", ""),
    ],
)
def test_the_answer_is_between_the_last_bar_and_the_first_remark(completion: str, answer: str) -> None:
    assert without_scratch(completion) == answer


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(COMPACT)),
    index=st.integers(0, 11),
    before=st.text(),
    after=st.text().map(lambda text: text.replace("|", "")),
    data=st.data(),
)
def test_text_around_the_answer_leaves_the_reward_unchanged(
    name: str, index: int, before: str, after: str, data: st.DataObject
) -> None:
    problem = problems(name)[index]
    right = COMPACT[name].solution(problem.entry)
    answer = data.draw(st.sampled_from([right, right[:-1], right[::-1], "", "nan"]) | st.text(alphabet="abAB019 ,-", max_size=9))
    plain = GYM.score(name, problem, "compact", answer)
    assert plain == 1.0 or answer != right
    for text in (answer, f"{before}|{answer}", f"{answer}#{after}", f"{before}|{answer}#{after}"):
        assert GYM.score(name, problem, "scratch", text) == plain


@pytest.mark.parametrize("name", sorted(COMPACT))
def test_nothing_that_is_honest_changes(name: str) -> None:
    for problem in problems(name):
        assert problem.prompts["scratch"] == problem.prompts["compact"]
        assert not set("|#") & set(COMPACT[name].solution(problem.entry))


def test_the_scratch_swarm_is_the_embedded_one_with_room_for_text() -> None:
    scratch, embedded = built_in()["scratch"], built_in()["embedded"]
    assert scratch.environments == embedded.environments
    assert scratch.renderings == ("scratch",)
    assert (scratch.max_completion_chars, scratch.max_completion_tokens) == (64, 48)
    assert rendering_of(Config(), scratch) == "scratch"
    assert rendering_of(Config(), embedded) == "compact"
