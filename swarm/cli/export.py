"""`export`: the trained model as a plain Hugging Face directory."""

from __future__ import annotations

from pathlib import Path

import click

from swarm.cli.client import ask
from swarm.cli.options import home_option
from swarm.errors import HomeError
from swarm.home import Home

_TIMEOUT_S = 600.0


@click.command()
@home_option
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="A new or empty directory.",
)
def export(home: Home, directory: Path) -> None:
    """Write the policy as a Hugging Face model.

    It is the running daemon's current policy, else that of the newest checkpoint.
    """
    home.open()
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()):
        raise HomeError(f"{directory} is not empty and is left as it is; name a new directory")
    ask(home, "export", timeout_s=_TIMEOUT_S, to=str(directory))
    click.echo(str(directory))
