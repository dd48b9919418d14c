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
    # Eight questions a round keep a card busy, and a step of 64 answers is the least that published
    # runs take.
    "gpu": {
        "swarm.manifest": "reasoning",
        "policy.model": "Qwen/Qwen2.5-0.5B-Instruct",
        "policy.device": "cuda",
        "training.local": 8,
        "training.groups_per_update": 8,
        "training.max_versions_behind": 1,
        "scoring.workers": 4,
        "checkpoint.every_rounds": 50,
    },
    # SmolLM2-135M on a CPU, as docs/smollm2.md measured it.
    "smollm2": {
        "swarm.manifest": "words",
        "policy.model": "smollm2",
        "policy.adapter": "lora",
        "policy.lora_rank": 8,
        "policy.examples": 5,
        "training.local": 4,
        "training.external": 4,
        "training.learning_rate": 5e-4,
    },
}


def for_card(mib: int) -> Mapping[str, Any]:
    """Return the settings for a card of `mib` MiB beside the profile "gpu": the largest model that
    trains there without being short of memory."""
    model, questions = next((model, questions) for least, model, questions in CARDS if mib >= least)
    return {"policy.model": model, "training.local": questions}


# Least MiB of a card, which reports a little less than it is sold by; model; questions per round.
CARDS = (
    (22_000, "HuggingFaceTB/SmolLM3-3B", 16),
    (15_000, "Qwen/Qwen2.5-1.5B-Instruct", 16),
    (11_000, "Qwen/Qwen2.5-1.5B-Instruct", 8),
    (7_500, "Qwen/Qwen2.5-0.5B-Instruct", 8),
)
LEAST_CARD_MIB = CARDS[-1][0]
