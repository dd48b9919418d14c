"""`swarmd`: the operator's commands. Heavy imports wait until a command runs, so help answers at
once."""

from __future__ import annotations

import traceback
from typing import Any

import click

import swarm
from swarm.cli.audit import audit
from swarm.cli.chat import chat
from swarm.cli.checkpoints import checkpoints
from swarm.cli.doctor import doctor
from swarm.cli.evaluate import eval_
from swarm.cli.export import export
from swarm.cli.inspect import peers, status
from swarm.cli.membership import invite, join
from swarm.cli.models import models
from swarm.cli.output import printable
from swarm.cli.pause import pause, resume
from swarm.cli.serve import serve
from swarm.cli.settings import config
from swarm.cli.setup import id_, init
from swarm.cli.show_rollouts import rollouts
from swarm.cli.simulate import sim
from swarm.cli.start import start, stop
from swarm.errors import SwarmdError

LOG_LEVELS = ("debug", "info", "warning", "error")


class Swarmd(click.Group):
    """The group of all commands; it turns the error tree into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A `SwarmdError` becomes its sentence and exit code; --log-level debug
        adds a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)
        except (SwarmdError, BaseExceptionGroup) as error:
            cause = _cause(error)
            if cause is None:
                raise
            if ctx.params["log_level"] == "debug":
                traceback.print_exc()
            click.echo(f"Error: {printable(str(cause))}", err=True)
            ctx.exit(cause.exit_code)


def _cause(error: BaseException) -> SwarmdError | None:
    """Return the first `SwarmdError` of an error or a group; None if the group holds any other
    error."""
    if isinstance(error, BaseExceptionGroup):
        causes = [_cause(inner) for inner in error.exceptions]
        return None if None in causes else causes[0]
    return error if isinstance(error, SwarmdError) else None


@click.group(cls=Swarmd, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(swarm.__version__, "--version", message="%(prog)s %(version)s")
@click.option("--home", metavar="DIR", help="The node's home directory; without it SWARMD_HOME, then the user's data directory.")
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), help="How much `start` and `sim` log to standard error; debug shows tracebacks."
)
def main(home: str | None, log_level: str | None) -> None:
    """A node that learns with others: it proposes tasks, solves, verifies and shares them, and
    trains on what the swarm found.

    Data goes to standard output, logs and errors to standard error. Exit codes are listed in
    docs/exit-codes.md.
    """


RUNNING = (init, doctor, start, stop, pause, resume, status, peers, id_, join, invite, config)
LOOKING = (models, rollouts, audit, export, eval_, chat, serve, checkpoints, sim)
for command in RUNNING + LOOKING:
    main.add_command(command)
