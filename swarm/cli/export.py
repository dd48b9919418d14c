"""`export`: the trained model as a plain Hugging Face directory."""

from __future__ import annotations

from pathlib import Path

import click

from swarm.cli.client import ask
from swarm.cli.shared_options import home_option
from swarm.errors import HomeError, NotRunningError
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
@click.option(
    "--adapter",
    is_flag=True,
    help="Of a LoRA policy only the adapter, as a peft folder; else it is merged into its base.",
)
def export(home: Home, directory: Path, adapter: bool) -> None:
    """Write the policy as a Hugging Face model, with a model card.

    It is the policy of the newest checkpoint, which a running daemon writes first, when its round
    ends. The card (README.md) names the base model, the swarm and the training, with the figures of
    `swarmd eval` if these weights were evaluated.
    """
    from swarm.config.load import load
    from swarm.policy import checkpoint

    config = load(home.open().path)
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()):
        raise HomeError(f"{directory} is not empty and is left as it is; name a new directory")
    try:
        ask(home, "save", timeout_s=_TIMEOUT_S)
    except NotRunningError:
        if home.holder() is not None:
            raise
    if not checkpoint.every(home.checkpoints):  # a quick answer, before an export's slow imports
        raise HomeError(f"{home.checkpoints} holds no whole checkpoint yet; the node writes them while it learns")

    from swarm.serving.exporting import export_newest

    command = f"swarmd export{' --adapter' * adapter} --to {directory.name}"
    export_newest(home, config, directory, adapter=adapter, command=command)
    click.echo(str(directory))
