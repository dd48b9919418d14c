"""What holds for every test: how long something takes says something of the machine, not of the code."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Rooms whose tests use real sockets and processes.
REAL = {"daemon", "net"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a busy machine does to real sockets and processes is tried once more, and counted as a rerun in pytest's last line."""
    for item in items:
        if item.path.parent.name in REAL:
            item.add_marker(pytest.mark.flaky(reruns=1))
