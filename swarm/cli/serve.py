"""`serve`: the policy for other programs on this machine."""

from __future__ import annotations

import click

from swarm.cli.shared_options import home_option, set_option
from swarm.cli.start import log_to_stderr
from swarm.home import Home


@click.command()
@home_option
@set_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4712, show_default=True, help="The port on 127.0.0.1; 0 takes a free one."
)
@click.pass_context
def serve(context: click.Context, home: Home, overrides: dict[str, str], port: int) -> None:
    """Answer OpenAI-compatible requests from the newest checkpoint.

    /v1/models, /v1/completions and /v1/chat/completions, on 127.0.0.1 only and for any program of
    this machine; web pages are refused. Newer checkpoints are taken up as the daemon writes them.
    Ctrl-C ends it; --set policy.device=cpu leaves a GPU alone.
    """
    from swarm.config.load import load
    from swarm.serving.server import run_server

    config = load(home.open().path, overrides)
    log_to_stderr(context.find_root().params["log_level"] or config.node.log_level)
    run_server(home, config, port, lambda address: click.echo(address))
