"""What the simulations of several files are run with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from swarm.sim import simulation


@pytest.fixture(scope="module")
def few_prompts() -> Iterator[None]:
    """Evaluate on few prompts: these tests are not about what is learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "EVALUATION_PROMPTS", 6)
        yield
