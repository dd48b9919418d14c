"""Grinding: a signer that shares too few of the tasks its indices stand for.

A share accounts for every index its signer proposed, and carries only the groups worth publishing.
So a signer may look at many tasks and keep the easy or the useful ones. An honest node does so with
groups that are all right or all wrong. A signer that throws nearly everything away searches for
particular tasks, and its groups are no fair sample of anything. Its weight falls in proportion to
how far it is below honest nodes.

An honest node looks at `tasks.choices` alternatives for each task that it solves, 4 by default and
8 at most. It shared 0.45 to 0.95 of its solved tasks (8 nodes, every ten rounds of 60, without the
choice and with the first curriculum). So it shares at least 0.056 of its indices, about 0.2 by
default.
"""

from __future__ import annotations

# Below this fraction the weight falls in proportion; honest nodes stay above it until nearly
# everything is solved.
FEWEST = 0.05
# Indices before the fraction means anything.
ENOUGH = 64
LEAST_WEIGHT = 0.01


def density_weight(used: float, shared: float) -> float:
    """Return 1 for a signer that shares enough of the indices it used, else less in proportion."""
    if used < ENOUGH:
        return 1.0
    return min(max(shared / used / FEWEST, LEAST_WEIGHT), 1.0)
