"""Daemons that are sure to be gone when the tests are over."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from processes import Daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Callable[..., Daemon]]:
    """Make daemons; those that still run at the end are killed."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Daemon:
            made = Daemon(*arguments, **options)
            stack.callback(made.end)
            return made

        yield make
