"""Settings shown to people: their sentences, what they may be, their values and origins; and the
example file.

Two tiers: the settings that an owner decides, and with `every` all of them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from swarm.config.load import FIELDS, TYPES, Resolved, known, type_name
from swarm.config.schema import SECTIONS, Config
from swarm.config.toml import literal

COLUMNS = 100
OWNERS = tuple(name for name, field in FIELDS.items() if field.metadata["owner"])
REST = len(FIELDS) - len(OWNERS)

# What begins the example file.
_OWNERS = f"The {len(OWNERS)} settings that an owner decides; `swarmd config example --all` shows {REST} more."
_ALL = f"All {len(FIELDS)} settings; `swarmd config example` shows the {len(OWNERS)} that an owner decides."
_USE = (
    "Uncomment what you change; a node.toml holds only what differs. A setting comes from, the later the stronger: its "
    "default, the profile, node.toml, the environment (SWARMD_TRAINING__LOCAL=4), the command line (--set "
    "training.local=4). `swarmd config explain` shows what holds and why."
)
_MADE = "This file is generated: swarmd config example > node.toml.example"


def explain(resolved: Resolved, name: str | None = None, *, every: bool = False) -> list[dict[str, Any]]:
    """Return one record per setting that an owner decides, or `every` one, in the schema's order.

    `name`, a setting or a section, chooses among all. Keys: name, value, origin, default, type,
    allowed, help. Raises `ConfigError` with a suggestion for an unknown name.
    """
    shown: Sequence[str] = tuple(FIELDS) if every else OWNERS
    if name is not None:
        name = f"{name}." if name in SECTIONS else name
        known(name, "config explain")
        shown = [key for key in FIELDS if key == name or (name.endswith(".") and key.startswith(name))]
    return [
        {
            "name": key,
            "value": resolved.settings[key].value,
            "origin": resolved.settings[key].origin,
            "default": FIELDS[key].default,
            "type": type_name(TYPES[key]),
            "allowed": allowed(key),
            "help": FIELDS[key].metadata["help"],
        }
        for key in shown
    ]


def allowed(name: str) -> str:
    """Say what `name` may be beyond its type; empty where anything goes."""
    rules = FIELDS[name].metadata["allowed"]
    words = [
        f"one of {', '.join(rules.choices)}" if rules.choices else "",
        f"at least {rules.minimum}" if rules.minimum is not None else "",
        f"above {rules.above}" if rules.above is not None else "",
        f"at most {rules.maximum}" if rules.maximum is not None else "",
    ]
    return ", ".join(word for word in words if word)


def example(*, every: bool = False) -> str:
    """Return the text of node.toml.example: settings commented out, at their defaults."""
    parts = [f"{_comment(_ALL if every else _OWNERS)}\n{_comment(_USE)}\n"]
    if not every:
        parts.append(f"{_comment(_MADE)}\n")
    sections = get_type_hints(Config)
    for section in SECTIONS:
        shown = [field for field in fields(sections[section]) if every or field.metadata["owner"]]
        if shown:
            parts.append(f"\n{_comment(sections[section].__doc__)}\n[{section}]\n")
        parts += [f"\n{_comment(each.metadata['help'])}\n# {each.name} = {literal(each.default)}\n" for each in shown]
    return "".join(parts)


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), COLUMNS, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
