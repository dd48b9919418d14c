"""A round's groups are spread over its updates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.config.schema import TrainingSection
from swarm.policy.update.rounds import in_updates
from swarm.policy.update.schedule import groups_per_update, learning_rate


@given(st.integers(0, 60), st.integers(1, 12))
def test_every_group_is_in_one_update_and_all_are_about_as_large(groups: int, per_update: int) -> None:
    parts = in_updates(groups, per_update)
    assert sorted(place for part in parts for place in part) == list(range(groups))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == max(1, round(groups / per_update))


def test_own_groups_which_come_first_are_in_different_updates() -> None:
    assert in_updates(10, 5) == [range(0, 10, 2), range(1, 10, 2)]
    assert in_updates(14, 0) == [range(14)]


def test_later_steps_are_shorter_and_of_more_groups() -> None:
    settings = TrainingSection(learning_rate=1e-4, groups_per_update=3, warmup_steps=5, constant_steps=120)
    assert [learning_rate(settings, steps) for steps in (1, 5, 120)] == pytest.approx([2e-5, 1e-4, 1e-4])
    assert learning_rate(settings, 480) == pytest.approx(5e-5)
    assert [groups_per_update(settings, steps) for steps in (0, 120, 480)] == pytest.approx([3, 3, 6])
    always = replace(settings, constant_steps=0)
    assert (learning_rate(always, 9999), groups_per_update(always, 9999)) == (1e-4, 3)
    assert groups_per_update(replace(settings, groups_per_update=0), 9999) == 0, "one update of all"
