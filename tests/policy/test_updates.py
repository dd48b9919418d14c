"""A round's groups are spread over its updates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarm.policy.updates import in_updates


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
