"""`check_environment`: every built-in environment passes, and each planted fault is reported."""

from __future__ import annotations

import pytest
from toy_environments import (
    Barren,
    Counting,
    Fragile,
    Generous,
    GlobalRandom,
    Hashing,
    Lax,
    Moody,
    Nameless,
    Overpaid,
    SetOrder,
    Stingy,
    Stumbling,
    Sums,
    Torn,
    Unnamed,
)

from swarm.tasks.code.family import Code
from swarm.tasks.reasoning import ReasoningGym
from swarm.testing.environments import HOSTILE, check_environment


def test_every_built_in_environment_passes() -> None:
    check_environment(ReasoningGym(), problems=1)


def test_the_programs_pass() -> None:
    # Each text is a program to run, and hostile programs have tests of their own.
    check_environment(Code(), problems=1, hostile=HOSTILE[:4])


def test_an_honest_environment_passes() -> None:
    check_environment(Sums())


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (SetOrder(), "differs in another process"),
        (GlobalRandom(), "gives another problem the second time"),
        (Counting(), "gives another problem the second time"),
        (Overpaid(), "'' in prose is worth 2.0"),
        (Fragile(), "ValueError"),
        (Stingy(), "its prose solution is worth 0.5, not 1"),
        (Lax(), "product is refused by name and can be built"),
        (Unnamed(), "version is ''"),
        (Torn(), "sum is both offered and refused"),
        (Barren(), "level 0 has no problem for"),
        (Nameless(), "offers no kind"),
        (Generous(), "'' in prose holds no answer and is worth 1.0"),
        (Moody(), "the second time"),
        (Hashing(), "differs in another process"),
        (Stumbling(), "its prose solution is worth 0.0, not 1"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sums) else None,
)
def test_a_planted_fault_is_told(environment: Sums, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_environment(environment)


def test_a_class_that_no_other_process_can_import_is_told() -> None:
    class Hidden(Sums):
        pass

    with pytest.raises(AssertionError, match="no other process can import it"):
        check_environment(Hidden())
