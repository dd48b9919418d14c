"""`export`: the trained model as a plain Hugging Face directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from swarm.cli.client import ask
from swarm.cli.options import home_option
from swarm.errors import HomeError, NotRunningError
from swarm.home import Home, storage

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
    try:
        ask(home, "export", timeout_s=_TIMEOUT_S, to=str(directory))
    except NotRunningError:
        if home.holder() is not None:
            raise
        _copy_newest(home, directory)
    click.echo(str(directory))


def _copy_newest(home: Home, directory: Path) -> None:
    """Copy the model out of the newest checkpoint, whole or not at all."""
    from swarm.policy import checkpoint

    newest = checkpoint.newest(home.checkpoints)
    if newest is None:
        raise HomeError(f"{home.checkpoints} holds no whole checkpoint yet; the node writes them while it learns")
    partial = directory.with_name(f".{directory.name}-partial")
    with storage(directory.parent):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(newest / checkpoint.MODEL, partial)
        partial.replace(directory)
