"""Writes docs/cli.md and docs/exit-codes.md from the code: `python -m swarm.cli.reference docs`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from swarm.cli import exit_codes
from swarm.cli.main import main

COLUMNS = 100


def reference() -> str:
    """Return the text of docs/cli.md: a table of all commands, then each with its arguments and
    options."""
    parts = ["# Command line\n\nThis page is generated: `make docs`. Exit codes: [exit-codes.md](exit-codes.md).\n"]
    everything = list(commands(main, click.Context(main, info_name="swarmd")))
    parts.append("\n| command | what it does |\n|---|---|\n")
    parts.extend(
        f"| [`{context.command_path}`](#{context.command_path.replace(' ', '-')}) | {_cell(_paragraphs(command)[0])} |\n"
        for command, context in everything
        if not isinstance(command, click.Group)
    )
    for command, context in everything:
        explained = "\n\n".join(textwrap.fill(paragraph, COLUMNS, break_on_hyphens=False) for paragraph in _paragraphs(command))
        parts.append(f"\n## {context.command_path}\n\n{explained}\n\n`{_usage(command, context)}`\n")
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        if options:
            parts.append("\n| option | meaning |\n|---|---|\n")
            parts.extend(f"| {_cell(name, code=True)} | {_cell(help)} |\n" for name, help in _records(options, context))
    return "".join(parts)


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield a command and everything below it, each with the context that knows its full name."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, click.Context(below, info_name=name, parent=context))


def _paragraphs(command: click.Command) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (command.help or "").strip().split("\n\n")]


def _usage(command: click.Command, context: click.Context) -> str:
    return f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"


def _records(options: list[click.Option], context: click.Context) -> Iterator[tuple[str, str]]:
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            yield record


def _cell(text: str, code: bool = False) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`{text}`" if code else text


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(exist_ok=True)
    (directory / "cli.md").write_text(reference(), encoding="utf-8")
    (directory / "exit-codes.md").write_text(exit_codes.table(), encoding="utf-8")
