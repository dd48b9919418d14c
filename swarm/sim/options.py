"""The options of `swarmd sim`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swarm.errors import ConfigError

# The names of `swarm.sim.attacks.ATTACKS`, here so that the command line need not load the attacks
# to list them.
ATTACKS = (
    "text", "statement", "suffix", "length", "drip", "decoy", "truth", "junk", "partial", "zeros", "offbyone", "grind",
    "copy", "near-copy", "impersonate", "sybil", "flood", "vanish", "turn",
)  # fmt: skip
# Attacks are measured at the pace of real models. On the virtual clock a round of the embedded
# model takes a twentieth of a second: nobody would ever be established, and the regression guard
# look once.
ATTACK_PACE = {"node.min_round_s": "60", "checkpoint.every_rounds": "5"}


@dataclass(frozen=True, slots=True)
class Pace:
    """A node's speed, 1 being the modelled one, and the rounds that it does."""

    speed: float
    rounds: int


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """One simulation; each field but `plain` is an option of `swarmd sim`, which explains it.

    `local` and `external` are I and J of swarm sampling, None for the settings' defaults. `network`
    is "libp2p" (loopback, real time) or "memory" (virtual time, reproducible). The nodes take the
    base `models` (each with settings of its own, see `of_model`) and the `speeds` in turn.
    `overrides` are settings of all nodes, by `section.key`. With `plain` progress is lines on
    standard error instead of a live table. `evaluate_every` and `until` are None to measure
    held-out accuracy before and after only.
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
    attack_groups: int | None = None
    undefended: bool = False
    churn: float = 0.0
    partition: bool = False
    loss: float = 0.0
    evaluate_every: int | None = None
    until: float | None = None
    speeds: tuple[float, ...] = (1.0,)
    overrides: Mapping[str, str] = field(default_factory=dict, hash=False)

    def model_of(self, place: int) -> str:
        """Return the base model of the node of a place."""
        return of_model(self.models[place % len(self.models)])[0]

    def paces(self, nodes: int) -> list[Pace]:
        """Return each node's pace: the fastest does `rounds`, a slower one fewer."""
        speeds = [self.speeds[node % len(self.speeds)] for node in range(nodes)]
        return [Pace(speed, max(1, round(self.rounds * speed / max(speeds)))) for speed in speeds]


def of_model(text: str) -> tuple[str, dict[str, str]]:
    """Split `smollm2,policy.examples=5` into base model and settings. Raises `ConfigError`."""
    name, *parts = text.split(",")
    settings = {}
    for part in parts:
        setting, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"--model {text}: settings follow the model as in --model {name},section.key=value")
        settings[setting.strip()] = value
    return name, settings
