"""One setting of a section: its default, its sentence, and what is allowed."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    off: Any = None,
) -> Any:
    """A field with its one-sentence explanation: what it does, its unit, and what more or less of it costs.

    What is allowed: one of `choices`, at least `minimum` or more than `above`, at most `maximum`; `swarm.config.load` checks it.
    A defence says with which value it is `off`, for simulations that measure what it is worth.
    """
    metadata = {"help": help, "choices": choices, "minimum": minimum, "above": above, "maximum": maximum, "off": off}
    return field(default=tuple(default) if isinstance(default, list | tuple) else default, metadata=metadata)
