"""`export`: the trained model as a plain Hugging Face directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from swarm.cli.client import ask
from swarm.cli.options import home_option
from swarm.errors import HomeError, NotRunningError, PolicyError
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
@click.option(
    "--adapter",
    is_flag=True,
    help="Of a LoRA policy only the adapter, as a peft folder; else it is merged into its base.",
)
def export(home: Home, directory: Path, adapter: bool) -> None:
    """Write the policy as a Hugging Face model.

    It is the running daemon's current policy, else that of the newest checkpoint.
    """
    home.open()
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()):
        raise HomeError(f"{directory} is not empty and is left as it is; name a new directory")
    try:
        ask(home, "export", timeout_s=_TIMEOUT_S, to=str(directory), adapter=adapter)
    except NotRunningError:
        if home.holder() is not None:
            raise
        _export_newest(home, directory, adapter)
    click.echo(str(directory))


def _export_newest(home: Home, directory: Path, adapter: bool) -> None:
    """Copy the model out of the newest checkpoint, or its adapter; or merge that into its base, which loads both."""
    from swarm.policy import checkpoint

    newest = checkpoint.newest(home.checkpoints)
    if newest is None:
        raise HomeError(f"{home.checkpoints} holds no whole checkpoint yet; the node writes them while it learns")
    has_adapter = checkpoint.has_adapter(newest)
    if adapter and not has_adapter:
        raise PolicyError("this policy has no adapter: all weights are trained; export it without --adapter")
    if has_adapter and not adapter:
        _merge(home, newest, directory)
        return
    partial = directory.with_name(f".{directory.name}-partial")
    with storage(directory.parent):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(newest / checkpoint.MODEL, partial)
        partial.replace(directory)


def _merge(home: Home, path: Path, directory: Path) -> None:
    """Have a policy opened from the checkpoint at `path` write itself."""
    import trio

    from swarm.config.load import load
    from swarm.serving.trained import open_policy

    async def run() -> None:
        async with open_policy(load(home.path), path) as policy:
            await policy.export(directory)

    trio.run(run)
