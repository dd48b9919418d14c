"""`chat`: a talk with the trained policy."""

from __future__ import annotations

from typing import Any

import click

from swarm.cli.output import printable
from swarm.cli.shared_options import checkpoint_option, home_option, set_option
from swarm.home import Home


@click.command()
@home_option
@set_option
@checkpoint_option
@click.option("--once", metavar="PROMPT", help="Answer this and end.")
@click.option(
    "--system", metavar="TEXT", help="What the model is told before the conversation, where its template has a place for it."
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens after which an answer is cut."
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, max=2),
    default=0.0,
    show_default=True,
    help="0 takes the likeliest answer, more varies.",
)
def chat(home: Home, overrides: dict[str, str], checkpoint: str, once: str | None, **manner: Any) -> None:
    """Talk to the newest checkpoint; an empty line or Ctrl-D ends it.

    The conversation goes along through the model's chat template. A model without one, such as the
    embedded one, answers each line by itself. A daemon may run meanwhile; --set policy.device=cpu
    leaves a GPU alone.
    """
    from swarm.config.load import load
    from swarm.serving.dialogue import Manner, run_chat

    def say(text: str) -> None:
        click.echo("\n".join(map(printable, text.split("\n"))))

    def hear() -> str:
        try:
            return str(click.prompt("", prompt_suffix="> ", default="", show_default=False, err=True))
        except click.Abort:
            return ""

    config = load(home.open().path, overrides)
    run_chat(home, config, checkpoint, Manner(**manner), hear if once is None else iter([once, ""]).__next__, say)
