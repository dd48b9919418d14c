"""The documentation is generated from the code, and says something of everything."""

import re
from pathlib import Path

import click
import pytest

from swarm import errors
from swarm.cli import exit_codes
from swarm.cli.main import main
from swarm.cli.reference import commands, reference

DOCS = Path(__file__).parents[2] / "docs"
ALL = [(context.command_path, command) for command, context in commands(main, click.Context(main, info_name="swarmd"))]


def test_the_pages_are_current() -> None:
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference(), "run: make docs"
    assert (DOCS / "exit-codes.md").read_text(encoding="utf-8") == exit_codes.table(), "run: make docs"


def test_all_verbs_are_there() -> None:
    verbs = ["init", "start", "stop", "status", "peers", "id", "join", "invite", "config", "export", "sim", "rollouts"]
    assert {f"swarmd {verb}" for verb in verbs} | {"swarmd rollouts ls", "swarmd config explain"} <= {path for path, _ in ALL}


@pytest.mark.parametrize(("path", "command"), ALL)
def test_every_command_and_option_has_help(path: str, command: click.Command) -> None:
    assert command.help
    assert len(command.get_short_help_str(200).split()) >= 3
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path} {option.name}"
            assert option.help.endswith((".", "]")), f"{path} {option.name}"


@pytest.mark.parametrize(
    "path",
    [
        *("status", "peers", "id", "invite", "rollouts ls", "rollouts show", "audit", "config explain", "sim"),
        *("doctor", "eval", "checkpoints", "pause", "resume"),
    ],
)
def test_every_reading_verb_has_json(path: str) -> None:
    (command,) = [command for name, command in ALL if name == f"swarmd {path}"]
    assert "--json" in [name for option in command.params for name in option.opts]


def test_every_error_has_its_code_and_every_code_its_meaning() -> None:
    def tree(error: type[errors.SwarmdError]) -> list[type[errors.SwarmdError]]:
        return [error, *(below for child in error.__subclasses__() for below in tree(child))]

    in_errors = [error for error in tree(errors.SwarmdError) if error.__module__ == errors.__name__]
    assert {error.exit_code for error in in_errors} | {0, 1, 2, 130} == set(exit_codes.exit_codes())
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", exit_codes.table(), re.MULTILINE)]
    assert codes == sorted(exit_codes.exit_codes())
    assert "## Exit codes" in exit_codes.table()
