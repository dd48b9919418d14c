"""The records of the wire as the JSON of the test vectors: by name, binary as hexadecimal."""

from __future__ import annotations

from typing import Any

from protocols.envelope import Envelope
from protocols.messages import Announce, Body, Proof
from protocols.recipe import Recipe


def typed(value: Any) -> dict[str, Any]:
    """A value of the codec with its type."""
    match value:
        case bool():
            return {"boolean": value}
        case int():
            return {"integer": value}
        case float():
            return {"float": value}
        case str():
            return {"text": value}
        case bytes():
            return {"binary": value.hex()}
        case _:
            return {"array": [typed(item) for item in value]}


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe; its parameters keep their types."""
    return {
        "environment": recipe.environment,
        "version": recipe.version,
        "parameters": [[name, typed(value)] for name, value in recipe.parameters],
        "epoch": recipe.epoch,
        "proposer": recipe.proposer.hex(),
        "index": recipe.index,
    }


def body_json(body: Body) -> dict[str, Any]:
    """A body by its field names."""
    if isinstance(body, Announce):
        return {"body_hash": body.body_hash.hex(), "body_bytes": body.body_bytes}
    if isinstance(body, Proof):
        return {"one": body.one.hex(), "other": body.other.hex()}
    return {
        "round": body.round,
        "epoch": body.epoch,
        "first_index": body.first_index,
        "count": body.count,
        "groups": [
            {
                "recipe": recipe_json(group.recipe),
                "rendering": group.rendering,
                "policy": {"model": group.policy.model, "digest": group.policy.digest.hex(), "step": group.policy.step},
                "completions": [
                    {"text": each.text, "finished": each.finished, "tokens": each.tokens, "logprob": each.logprob}
                    for each in group.completions
                ],
                "rewards": group.rewards,
            }
            for group in body.groups
        ],
    }


def envelope_json(envelope: Envelope) -> dict[str, Any]:
    """The eight fields that travel."""
    return {
        "version": envelope.version,
        "kind": envelope.kind,
        "key": envelope.key.hex(),
        "sequence": envelope.sequence,
        "previous": envelope.previous.hex(),
        "time_ms": envelope.time_ms,
        "body": envelope.body.hex(),
        "signature": envelope.signature.hex(),
    }
