"""How many foreign groups a round draws, from what rounds were measured to cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.config.schema import TrainingSection
from swarm.learner.split import Split
from swarm.pool.sampling import SAMPLERS

SETTINGS, SHARE = TrainingSection(local=2, external=12), 0.6


def after(settings: TrainingSection, own_s: float, group_s: float, share: float = SHARE) -> int:
    """J once rounds have taken `own_s` without training, and `group_s` for each group trained
    on."""
    split = Split(settings, share)
    for _ in range(50):
        foreign = split.external
        split.measured({"generating": own_s, "training": (2 + foreign) * group_s, "waiting": 9.0}, 2, foreign)
    return split.external


def test_foreign_groups_get_their_share_of_the_round() -> None:
    # 0.6 of a round: 6 groups of 1 s beside 2 s of generating and 2 of training on the own ones.
    assert after(SETTINGS, own_s=2.0, group_s=1.0) == 6
    assert after(SETTINGS, own_s=1.0, group_s=1.0) == 4
    assert after(SETTINGS, own_s=200.0, group_s=1.0) == 12, "where generating is what costs, all that may be"
    assert after(SETTINGS, own_s=0.0, group_s=1.0) == 3


def test_the_settings_bound_it() -> None:
    assert Split(SETTINGS, SHARE).external == 12, "until something was measured"
    assert after(TrainingSection(local=4, external=12), 0.1, 1.0, share=0.1) == 4
    assert after(TrainingSection(local=2, external=7), 0.1, 1.0, share=0.0) == 7
    assert after(TrainingSection(local=4, external=0), 1.0, 1.0) == 0, "nothing foreign was asked for"
    assert after(TrainingSection(local=4, external=3), 0.1, 1.0) == 3


def test_a_round_without_foreign_groups_says_nothing() -> None:
    split = Split(SETTINGS, SHARE)
    split.measured({"generating": 1.0, "training": 1.0}, 2, 0)
    assert split.external == 12


def test_foreign_groups_that_cost_next_to_nothing_are_drawn_up_to_j() -> None:
    split = Split(TrainingSection(local=2, external=8), 0.5)
    split.measured({"generating": 1e3, "training": 1e-320}, 0, 1)
    assert split.external == 8


def test_it_follows_a_machine_that_changes() -> None:
    split = Split(SETTINGS, SHARE)
    for group_s, expected in ((0.1, 12), (1.0, 6), (0.1, 12)):
        for _ in range(60):
            split.measured({"generating": 2.0, "training": 8 * group_s}, 2, 6)
        assert split.external == pytest.approx(expected, abs=1)


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.integers(0, 9), st.integers(0, 9), st.floats(0, 0.95))
def test_it_is_never_outside_its_bounds(own_s: float, train_s: float, own: int, foreign: int, share: float) -> None:
    split = Split(TrainingSection(local=2, external=8), share)
    split.measured({"generating": own_s, "training": train_s}, own, foreign)
    assert 2 <= split.external <= 8


def test_the_papers_experiment_draws_as_many_as_it_says() -> None:
    assert after(SETTINGS, 0.1, 1.0, share=SAMPLERS["rollouts"].foreign_time) == SETTINGS.external
    assert after(SETTINGS, 0.1, 1.0, share=SAMPLERS["useful"].foreign_time) < SETTINGS.external
