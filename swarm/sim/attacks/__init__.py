"""Adversaries for `swarmd sim --attack NAME`, one small file per kind.

docs/report.md says how their success is measured.
"""

from __future__ import annotations

from swarm.sim.attacks import copying, grinding, helping, identities, injected, untrue
from swarm.sim.attacks.attack import Attack

ATTACKS: dict[str, Attack] = {
    **injected.ATTACKS,
    **untrue.ATTACKS,
    **grinding.ATTACKS,
    **copying.ATTACKS,
    **identities.ATTACKS,
    **helping.ATTACKS,
}
