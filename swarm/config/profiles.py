"""Profiles: starting points, as differences from the defaults, chosen by `node.profile`.

A value set elsewhere wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    # Somebody works on this machine: little CPU, memory and disk, and rests after each round.
    "laptop": {
        "network.max_connections": 16,
        "policy.niceness": 19,
        "pool.max_groups": 5000,
        "pool.max_bytes": 128 * 2**20,
        "guest.battery": True,
        "guest.duty": 0.25,
    },
    # A machine of its own in a data centre: many peers, much history, no neighbours to look for.
    "server": {
        "network.max_connections": 256,
        "network.mdns": False,
        "pool.max_groups": 200_000,
        "pool.max_bytes": 8 * 2**30,
        "pool.groups_per_peer": 10_000,
        "scoring.workers": 4,
    },
    # A real language model on a CUDA card: a missing card is an error, not a slow run on the CPU.
    "gpu": {
        "swarm.manifest": "reasoning",
        "policy.model": "Qwen/Qwen2.5-0.5B-Instruct",
        "policy.device": "cuda",
        "training.max_versions_behind": 1,
        "scoring.workers": 4,
        "checkpoint.every_rounds": 50,
    },
}
