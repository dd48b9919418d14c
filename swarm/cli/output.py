"""Printing for commands: data to standard output, as JSON for programs or aligned text for people,
without colour.

Strangers wrote much of the output (completions, addresses), so control characters never reach the
terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def printable(value: Any) -> str:
    """Return `value` as one line of text, with control characters escaped."""
    match value:
        case None:
            text = "-"
        case str():
            text = value
        case float():
            text = f"{value:.6g}"
        case _:
            text = json.dumps(value, ensure_ascii=False, default=str)
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII so that no terminal acts on its content."""
    click.echo(json.dumps(value, indent=2, default=list))


def print_fields(record: Mapping[str, Any]) -> None:
    """Print one line per field; each item of a list or mapping on its own line under the field's
    name."""
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        if isinstance(value, Mapping):
            lines = [f"{printable(key)} {printable(item)}" for key, item in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines = [printable(item) for item in value]
        else:
            lines = [printable(value)]
        for number, line in enumerate(lines or ["none"]):
            click.echo(f"{'' if number else name.replace('_', ' '):<{width}}  {line}")


def print_table(records: Sequence[Mapping[str, Any]], columns: Sequence[str], max_width: int = 60) -> None:
    """Print one line per record under a heading; cut longer texts with an ellipsis."""
    rows = [[column.replace("_", " ") for column in columns]]
    rows += [[_cut(printable(record.get(column, "")), max_width) for column in columns] for record in records]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
