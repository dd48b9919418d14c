"""Settings that an older node.toml may have, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping

_FIXED = "remove it, the value is now fixed at"
_SIGNER = "remove it, the rates allowed to a signer are fixed in pool/admission/budgets.py"

REMOVED: Mapping[str, str] = {
    "network.max_inbound_queue": "remove it, the room for waiting messages follows from network.max_connections",
    "network.max_inbound_bytes": f"{_FIXED} 64 MiB",
    "network.max_connections_per_address": f"{_FIXED} 8 connections",
    "network.max_connections_per_subnet": f"{_FIXED} 16 connections",
    "network.cut_off_s": f"{_FIXED} 600 seconds",
    "policy.lora_alpha": "remove it and set policy.lora_rank, alpha is twice the rank",
    "training.foreign_time": "remove it, training.external is the most that a round draws",
    "training.adam_beta1": f"{_FIXED} 0.9",
    "training.adam_beta2": f"{_FIXED} 0.95",
    "training.micro_batch_tokens": "remove it, the size of a training pass follows from policy.memory",
    "sampling.max_uses": "remove it, the sampler decides how often it draws a group",
    "sampling.max_age_s": f"{_FIXED} an hour; sampling.max_policy_age says how old a group may be",
    "sampling.freshness": 'set sampling.wait_s: 0 instead of "available", 30 instead of "fresh"',
    "sampling.max_wait_s": "set sampling.wait_s, and to 0 for not waiting at all",
    "pool.signer_messages_per_s": _SIGNER,
    "pool.signer_bytes_per_s": _SIGNER,
    "pool.signer_verification": _SIGNER,
    "scoring.timeout_s": f"{_FIXED} 5 CPU seconds",
}
