"""`pause` and `resume`: the machine is wanted for something else for a while."""

from __future__ import annotations

import re
from typing import Any

import click

from swarm.cli.client import ask
from swarm.cli.output import print_json, printable
from swarm.cli.shared_options import home_option, json_option
from swarm.home import Home

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


def seconds(text: str) -> float:
    """Return the seconds of "90s", "45m", "2h" or "1d12h". Raises `ValueError`."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it like 90s, 45m, 2h or 1d12h")
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def _duration(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@home_option
@json_option
@click.option("--for", "for_s", metavar="TIME", callback=_duration, help="End the pause after this time, like 45m, 2h or 1d.")
def pause(home: Home, as_json: bool, for_s: float | None) -> None:
    """Have the daemon give this machine's memory and computing time back.

    It finishes its round, saves, and ends the policy's process. The network and the checks of
    others' shares go on. A restarted daemon is still paused.
    """
    _show(ask(home, "pause", seconds=for_s), as_json)


@click.command()
@home_option
@json_option
def resume(home: Home, as_json: bool) -> None:
    """Take a pause back.

    The node goes on where it was, unless a setting of [guest] keeps it paused, which is then named.
    """
    _show(ask(home, "resume"), as_json)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    paused = answer["paused"]
    if as_json:
        print_json(answer)
    elif paused is None:
        click.echo("not paused")
    else:
        until = f" until {paused['until']}" if paused["until"] else ""
        when = "" if paused["in_effect"] else f"; it begins when this is done: {answer['state']}"
        click.echo(printable(f"paused: {paused['why']}{until}{when}"))
