"""The records of the wire as the JSON of the test vectors: by name, binary as hexadecimal."""

from __future__ import annotations

import dataclasses
from typing import Any

from protocols.envelope import Envelope
from protocols.messages import Body
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
    return _by_name(body)


def _plain(value: Any) -> Any:
    match value:
        case Recipe():
            return recipe_json(value)
        case bytes():
            return value.hex()
        case tuple():
            return [_plain(item) for item in value]
    return _by_name(value) if dataclasses.is_dataclass(value) else value


def _by_name(record: Any) -> dict[str, Any]:
    return {each.name: _plain(getattr(record, each.name)) for each in dataclasses.fields(record)}


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
