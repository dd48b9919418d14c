"""What the programs of experiments share: options that several of them take, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.cli.output import print_json, print_table
from swarm.errors import SwarmdError


class WholeNumbers(argparse.Action):
    """Whole numbers above 0, separated by spaces or commas, each of them once."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the numbers as a list; end the program at anything else."""
        try:
            numbers = list(dict.fromkeys(int(each) for each in ",".join(values).split(",")))
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < 1:
            parser.error(f"{option_string}: give whole numbers above 0, as in 1 2 3 or 1,2,3")
        setattr(namespace, self.dest, numbers)


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a whole number above 0")
    return number


def experiment_parser(description: str | None, runs: str) -> argparse.ArgumentParser:
    """Return a parser with `--seeds`, `--jobs` and `--runs`, the file of finished runs."""
    parser = _seeded(description)
    parser.add_argument("--runs", type=Path, default=Path(runs), help="file of finished runs (default: %(default)s)")
    return parser


def table_parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """Return a parser with `--seeds`, `--jobs`, `--json` and `--out`, the folder for results."""
    parser = _seeded(description)
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for results and finished runs (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    return parser


def _seeded(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", action=WholeNumbers, default=[1, 2, 3], help="make every run once with each")
    parser.add_argument("--jobs", type=positive, default=1, help="runs at once; each takes about one core")
    return parser


def add_settings(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add `--set`, repeatable, for settings of `whose`; `given` reads them."""
    help_ = f"settings of {whose}"
    parser.add_argument("--set", nargs="*", action="extend", default=[], type=_setting, metavar="SECTION.KEY=VALUE", help=help_)


def _setting(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text}: write it as section.key=value")
    return text


def given(options: argparse.Namespace) -> dict[str, str]:
    """The settings that `--set` named, by name."""
    return dict(each.split("=", 1) for each in options.set)


def show(result: Mapping[str, Any], rows: Sequence[Mapping[str, str]], options: argparse.Namespace) -> None:
    """Print the result as JSON if `--json` was given, else its rows as a table."""
    if options.json:
        print_json(result)
        return
    print_table(rows, list(rows[0]))
    print(f"written: {options.out}")


def end(main: Callable[[], None]) -> None:
    """Run a program's `main`; a foreseen error becomes its sentence and its exit code."""
    try:
        main()
    except SwarmdError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
