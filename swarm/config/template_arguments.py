"""Arguments of a model's chat template, as `policy.template_arguments` gives them: key=value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from swarm.errors import ConfigError


def template_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Read arguments; a value is true, false or a number, else a text. Raises `ConfigError`."""
    arguments: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip().isidentifier()):
            raise ConfigError(
                f"policy.template_arguments: {text!r} is no argument of a chat template; one looks like enable_thinking=false"
            )
        try:
            arguments[key.strip()] = json.loads(value)
        except ValueError:
            arguments[key.strip()] = value.strip()
    return arguments
