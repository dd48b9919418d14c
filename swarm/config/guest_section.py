"""The settings of a node that is a guest on somebody's machine."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import setting


@dataclass(frozen=True, slots=True)
class GuestSection:
    """When the node gives way to others on this machine: it then proposes, generates and trains nothing, and gives its memory back."""

    hours: tuple[str, ...] = setting(
        (),
        "Local times of day at which the node may compute, like 22:00-07:00; empty is always. At their end it pauses after its round.",
    )
    gpu: bool = setting(
        False,
        "Pause while another process uses the NVIDIA GPU (a tenth of its time, or half a GiB for computing), until a minute after it has stopped. Without effect where the driver does not list processes, as in WSL2 and most containers: status and doctor tell.",
    )
    battery: bool = setting(False, "Pause while the machine runs on its battery.")
    duty: float = setting(
        1.0,
        "Share of the time in which the policy may compute: a duty cycle. Below 1 it rests after each round, which lowers mean power and heat, not their peaks; a cap in watts is the driver's own, nvidia-smi -pl, which needs root.",
        above=0,
        maximum=1,
    )
