"""The settings of the node on its machine: its run, its owner's hours, its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import Allowed, setting


@dataclass(frozen=True, slots=True)
class NodeSection:
    """The node itself."""

    profile: str = setting(
        "default",
        "Starting point for all other settings: default, laptop (leaves the machine to its user), server (many peers, much disk), gpu or smollm2. gpu trains a real language model on a CUDA card, smollm2 a small one on a CPU.",
        Allowed(choices=("default", "laptop", "server", "gpu", "smollm2")),
        owner=True,
    )
    rounds: int = setting(0, "Rounds after which the node stops by itself; 0 never stops.", Allowed(minimum=0))
    min_round_s: float = setting(
        2.0,
        "Least seconds per round. The embedded model would do seven a second, and write and send a dozen times as much; larger models take longer anyway. Owners lower the load with guest.duty.",
        Allowed(minimum=0),
    )
    seed: int = setting(0, "Seed of sampling and proposing; 0 takes a fresh one at each start.", Allowed(minimum=0))
    log_level: str = setting(
        "info",
        "Detail written to standard error: debug, info, warning, error.",
        Allowed(choices=("debug", "info", "warning", "error")),
    )


@dataclass(frozen=True, slots=True)
class GuestSection:
    """When the node pauses for others on this machine: nothing is computed, and memory is freed."""

    hours: tuple[str, ...] = setting(
        (),
        "Local times of day at which the node may compute, like 22:00-07:00; empty is always. At their end it pauses after its round.",
        owner=True,
    )
    gpu: bool = setting(
        False,
        "Pause while another process uses the NVIDIA GPU, until a minute after it has stopped. Use is a tenth of the GPU's time, or half a GiB for computing. Without effect where the driver lists no processes, as in WSL2 and most containers; status and doctor say so.",
        owner=True,
    )
    battery: bool = setting(False, "Pause while the machine runs on its battery.", owner=True)
    duty: float = setting(
        1.0,
        "Share of the time in which the policy may compute; below 1 it rests after each round. Lower reduces mean power and heat, not their peaks; for a cap in watts use nvidia-smi -pl, as root.",
        Allowed(above=0, maximum=1),
        owner=True,
    )


@dataclass(frozen=True, slots=True)
class CheckpointSection:
    """What survives a kill."""

    every_rounds: int = setting(
        20, "Rounds between checkpoints at least; the first one of a run waits for nothing else.", Allowed(minimum=1)
    )
    every_minutes: float = setting(
        20.0,
        "Minutes between checkpoints at least; a kill loses as much training, and so does a return to the checkpoint before. Fewer wear the disk: a checkpoint of 0.5 billion weights has 6 GB. The default of all but the embedded model is 30.",
        Allowed(minimum=0),
    )
    keep: int = setting(
        3, "Checkpoints kept, each about three times the size of the trained weights.", Allowed(minimum=1), owner=True
    )
