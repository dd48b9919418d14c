"""Settings shown to people: each one's sentence, what it may be, its value and where that came from; and the example file."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from typing import Any, get_type_hints

from swarm.config.load import FIELDS, TYPES, Resolved, known, type_name
from swarm.config.schema import SECTIONS, Config
from swarm.config.toml import literal

_HEADER = """\
# Every setting of a swarmd node, with its default. Uncomment what you change; a node.toml holds only what differs.
# A setting comes from, the later the stronger: its default, the profile, node.toml, the environment
# (SWARMD_TRAINING__LOCAL=4), the command line (--set training.local=4). `swarmd config explain` shows what holds and why.
# This file is generated: swarmd config example > node.toml.example
"""


def explain(resolved: Resolved, name: str | None = None) -> list[dict[str, Any]]:
    """One record per setting, or the one called `name`, or those of the section called `name`, in the schema's order.

    Keys: name, value, origin, default, type, allowed, help. Raises `ConfigError` with a suggestion for an unknown name.
    """
    if name is not None:
        name = f"{name}." if name in SECTIONS else name
        known(name, "config explain")
    return [
        {
            "name": key,
            "value": resolved.settings[key].value,
            "origin": resolved.settings[key].origin,
            "default": field.default,
            "type": type_name(TYPES[key]),
            "allowed": allowed(key),
            "help": field.metadata["help"],
        }
        for key, field in FIELDS.items()
        if name is None or key == name or (name.endswith(".") and key.startswith(name))
    ]


def allowed(name: str) -> str:
    """What `name` may be beyond its type, in words; empty where anything goes."""
    rules = FIELDS[name].metadata
    words = [
        f"one of {', '.join(rules['choices'])}" if rules["choices"] else "",
        f"at least {rules['minimum']}" if rules["minimum"] is not None else "",
        f"above {rules['above']}" if rules["above"] is not None else "",
        f"at most {rules['maximum']}" if rules["maximum"] is not None else "",
    ]
    return ", ".join(word for word in words if word)


def example() -> str:
    """The text of node.toml.example: every setting, commented out, at its default."""
    parts = [_HEADER]
    sections = get_type_hints(Config)
    for section in SECTIONS:
        parts.append(f"\n# {sections[section].__doc__}\n[{section}]\n")
        for field in fields(sections[section]):
            sentence = textwrap.fill(field.metadata["help"], 118, initial_indent="# ", subsequent_indent="# ")
            parts.append(f"\n{sentence}\n# {field.name} = {literal(field.default)}\n")
    return "".join(parts)
