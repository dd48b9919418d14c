"""What `swarmd sim` is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The names of `swarm.sim.attacks.ATTACKS`, here so that the command line need not load the attacks to list them.
ATTACKS = (
    "text", "statement", "suffix", "length", "drip", "decoy", "truth", "junk", "partial", "grind", "copy", "near-copy",
    "impersonate", "sybil",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """One simulation. `local` and `external` are I and J of swarm sampling, None for the settings' defaults.

    The nodes take the base `models` in turn. `network` is "libp2p" (loopback, real time) or "memory" (virtual time,
    reproducible). `overrides` are settings, `section.key` to text, for every node. With `plain` progress is lines on standard
    error instead of a live table there.
    `attackers` of the nodes attack with `attack`, each with `attack_groups` groups per honest round. `undefended` turns every
    defence off. `churn` is the share of the honest nodes that are replaced, `partition` cuts the network in two for the middle
    third, `loss` is the probability that a copy of a message is lost; the last two need the network in memory.
    """

    nodes: int = 8
    rounds: int = 60
    seed: int = 1
    local: int | None = None
    external: int | None = None
    network: str = "libp2p"
    specialise: bool = False
    compare: bool = False
    models: tuple[str, ...] = ("embedded",)
    report: Path = Path("sim-report")
    plain: bool = False
    attack: str | None = None
    attackers: int = 0
    attack_groups: int = 2
    undefended: bool = False
    churn: float = 0.0
    partition: bool = False
    loss: float = 0.0
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)
