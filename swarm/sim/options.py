"""What `swarmd sim` is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """One simulation. `local` and `external` are I and J of swarm sampling, None for the settings' defaults.

    `network` is "libp2p" (loopback, real time) or "memory" (virtual time, reproducible). `overrides` are settings,
    `section.key` to text, for every node. With `plain` progress is lines on standard error instead of a live table there.
    """

    nodes: int = 8
    rounds: int = 60
    seed: int = 1
    local: int | None = None
    external: int | None = None
    network: str = "libp2p"
    specialise: bool = False
    compare: bool = False
    model: str = "embedded"
    report: Path = Path("sim-report")
    plain: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)
