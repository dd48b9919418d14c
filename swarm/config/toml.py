"""Finds where a key stands in a TOML text, and changes it without touching anything else the user
wrote.

Python's own parser gives values without positions, and no writer keeps comments. So the text is
walked statement by statement: a header is one line, and a key's value ends on the first line at
which the lines since the key parse. Only texts that parse as a whole are walked, so that always
happens.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swarm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines `first` to `last` (from 0, both included), which set `names`, dotted and complete.

    A header sets no names.
    """

    first: int
    last: int
    names: tuple[str, ...]
    section: str


def parse(text: str, source: str) -> dict[str, Any]:
    """Return the document as nested dictionaries.

    Raises `ConfigError`, which names `source` and the line, when it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one level of dotted names; an empty table is its name and a dot."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.") or {f"{prefix}{key}.": value}
        else:
            flat[prefix + key] = value
    return flat


def statements(text: str) -> Iterator[Statement]:
    """Yield the headers and key-value pairs of a text that `parse` accepts, in order."""
    lines = text.split("\n")
    section, first = "", 0
    while first < len(lines):
        last = first
        head = lines[first].lstrip()
        if not head or head.startswith("#"):
            pass
        elif head.startswith("["):
            section = _section(tomllib.loads(lines[first]))
            yield Statement(first, last, (), section)
        else:
            while (document := _complete(lines[first : last + 1])) is None:
                last += 1
            yield Statement(first, last, tuple(section + name for name in flatten(document)), section)
        first = last + 1


def _section(header: dict[str, Any]) -> str:
    section = ""
    while header:
        ((name, inner),) = header.items()
        section += f"{name}."
        header = inner[0] if isinstance(inner, list) else inner
    return section


def _complete(lines: list[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def positions(text: str) -> dict[str, int]:
    """Return the line, counted from 1, that sets each dotted name or, with a final dot, opens its
    table."""
    lines: dict[str, int] = {}
    for statement in statements(text):
        for name in statement.names or (statement.section,):
            lines.setdefault(name, statement.first + 1)
    return lines


def literal(value: Any) -> str:
    """Write a setting's value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # JSON escapes the same characters in the same way, except that TOML has no surrogate
            # pairs and forbids a bare DEL.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(literal(item) for item in value)}]"
        case _:
            return repr(value)


def edit(text: str, changes: Mapping[str, Any], source: str) -> str:
    """Return `text` with the dotted names in `changes` set to their values.

    All other lines, comments included, stay as they are. Raises `ConfigError` when the text is not
    TOML, or sets one of the names in a way that only a hand can change.
    """
    text = text.replace("\r\n", "\n")
    wanted = {**flatten(parse(text, source)), **changes}
    for name, value in changes.items():
        text = _set(text, name, value)
    try:
        result = flatten(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        result = {}
    if _literals(result) != _literals(wanted):
        raise ConfigError(f"{source} sets {' or '.join(changes)} in an unusual way; change it by hand in an editor")
    return text


def _literals(flat: Mapping[str, Any]) -> dict[str, str]:
    """Return values as TOML text, so that a list equals a tuple and 1 does not equal true."""
    return {name: literal(value) for name, value in flat.items() if not name.endswith(".")}


def _set(text: str, name: str, value: Any) -> str:
    section, _, key = name.rpartition(".")
    line = f"{key} = {literal(value)}"
    lines = text.split("\n")
    end_of_section = None
    for statement in statements(text):
        if name in statement.names:
            if len(statement.names) > 1 or statement.section != f"{section}.":
                return text
            old = slice(statement.first, statement.last + 1)
            lines[old] = [line + _trailing_comment(lines[old])]
            return "\n".join(lines)
        if statement.section == f"{section}.":
            end_of_section = statement.last + 1
    if end_of_section is None:
        return f"{text.rstrip()}\n\n[{section}]\n{line}\n".lstrip("\n")
    lines.insert(end_of_section, line)
    return "\n".join(lines)


def _trailing_comment(lines: list[str]) -> str:
    """Return the comment after a statement: the part of its last line, from a # on, that can go
    without changing the value."""
    value, last = _complete(lines), lines[-1]
    for position in (index for index, character in enumerate(last) if character == "#"):
        if _complete([*lines[:-1], last[:position]]) == value:
            return "  " + last[position:].rstrip()
    return ""
