"""A task is a recipe, not a text: whoever holds the recipe rebuilds the same question and answer.

The seed is a hash of the recipe and the epoch's public random value, so that a proposer cannot pick easy problems, and
adjacent indices share nothing (reasoning-gym seeds overlap when they are adjacent integers).
"""

from __future__ import annotations

from dataclasses import dataclass

Parameter = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a task is made of. `parameters` are (name, value) pairs sorted by name; `proposer` is an Ed25519 public key (32 bytes)."""

    environment: str
    version: str
    parameters: tuple[tuple[str, Parameter], ...]
    epoch: int
    proposer: bytes
    index: int
