"""A task is a recipe, not a text: whoever holds the recipe rebuilds the same question and answer.

The seed is a hash of the recipe and the epoch's public random value, so that a proposer cannot pick
easy problems, and adjacent indices share nothing (reasoning-gym seeds overlap when they are
adjacent integers).
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from typing import Any

from protocols import fields
from protocols.codec import encode
from protocols.limits import BEACON_BYTES, HASH_BYTES, KEY_BYTES, MAX_INTEGER, MAX_PARAMETER_TEXT_BYTES, MAX_PARAMETERS

Parameter = int | float | str | bool

SEED_DOMAIN = b"swarmd/1/seed\x00"
BEACON_DOMAIN = b"swarmd/1/beacon\x00"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that determines a task.

    `parameters` are pairs sorted by name; `proposer` is an Ed25519 public key (32 bytes).
    """

    environment: str
    version: str
    parameters: tuple[tuple[str, Parameter], ...]
    epoch: int
    proposer: bytes
    index: int

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [self.environment, self.version, self.parameters, self.epoch, self.proposer, self.index]

    @classmethod
    def from_array(cls, value: Any) -> Recipe:
        """From a decoded array. Raises ProtocolError ("schema")."""
        environment, version, parameters, epoch, proposer, index = fields.array(value, "recipe", 6, 6)
        return cls(
            fields.name(environment, "recipe.environment", fields.ENVIRONMENT),
            fields.name(version, "recipe.version", fields.ENVIRONMENT_VERSION),
            _parameters(parameters),
            fields.integer(epoch, "recipe.epoch"),
            fields.binary(proposer, "recipe.proposer", KEY_BYTES),
            fields.integer(index, "recipe.index"),
        )


def seed(recipe: Recipe, beacon: bytes) -> int:
    """The task's seed, 0..2^63 - 1, from the recipe and the epoch's public random value (32 bytes).

    The first 8 bytes of SHA-256(domain, canonical recipe, beacon), big-endian, shifted right by one
    bit.
    """
    fields.binary(beacon, "beacon", BEACON_BYTES)
    digest = hashlib.sha256(SEED_DOMAIN + encode(recipe.to_array()) + beacon).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def local_beacon(manifest_id: bytes, epoch: int) -> bytes:
    """The public value (32 bytes) of an epoch in a swarm without an outside beacon.

    Everybody can know it beforehand.

    SHA-256(domain, manifest id, epoch as 8 bytes big-endian).
    """
    fields.binary(manifest_id, "manifest id", HASH_BYTES)
    fields.integer(epoch, "epoch")
    return hashlib.sha256(BEACON_DOMAIN + manifest_id + epoch.to_bytes(8, "big")).digest()


def _parameters(value: Any) -> tuple[tuple[str, Parameter], ...]:
    pairs = []
    previous = ""
    for pair in fields.array(value, "recipe.parameters", 0, MAX_PARAMETERS):
        name, setting = fields.array(pair, "parameter", 2, 2)
        fields.name(name, "parameter name", fields.PARAMETER_NAME)
        if name <= previous:
            raise fields.schema_error(f"parameters must be sorted by name, each once: {name!r} follows {previous!r}")
        previous = name
        pairs.append((name, parameter_value(setting, name)))
    return tuple(pairs)


def parameter_value(value: Any, name: str) -> Parameter:
    """A boolean, integer, finite float or short text. Raises ProtocolError ("schema")."""
    match value:
        case bool():
            return value
        case float():
            return fields.number(value, name, -sys.float_info.max, sys.float_info.max)
        case int():
            return fields.integer(value, name, -MAX_INTEGER)
        case str():
            return fields.text(value, name, MAX_PARAMETER_TEXT_BYTES)
        case _:
            raise fields.schema_error(f"parameter {name} must be a boolean, a number or text")
