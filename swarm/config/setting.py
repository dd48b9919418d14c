"""One setting of a section: its default, its sentences, what is allowed, and who decides it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Allowed:
    """Values that a setting may have beyond its type: one of `choices`, or a number within bounds.

    `above` is a lower bound that is not itself allowed.
    """

    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None


ANYTHING = Allowed()


def setting(default: Any, help: str, allowed: Allowed = ANYTHING, *, owner: bool = False, off: Any = None) -> Any:
    """Make a field from a default and its explanation: meaning, unit, and the cost of more or less.

    `swarm.config.load` checks what is allowed. A setting that an `owner` decides is in the first
    tier, which is shown without --all. A defence says with which value it is `off`, for simulations
    that measure its worth.
    """
    metadata = {"help": help, "allowed": allowed, "owner": owner, "off": off}
    return field(default=tuple(default) if isinstance(default, list | tuple) else default, metadata=metadata)
