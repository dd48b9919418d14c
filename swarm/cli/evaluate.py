"""`eval`: the gain from training, on held-out tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from swarm.cli.output import print_json, print_table
from swarm.cli.shared_options import checkpoint_option, home_option, json_option, set_option
from swarm.home import Home

if TYPE_CHECKING:
    from swarm.serving.comparison import SolvedShare


@click.command("eval")
@home_option
@json_option
@set_option
@checkpoint_option
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Held-out tasks per environment; more narrow the intervals.",
)
def eval_(home: Home, as_json: bool, overrides: dict[str, str], checkpoint: str, tasks: int) -> None:
    """Measure held-out accuracy before and after training.

    Per environment, the share of tasks that the base model and the checkpoint solve, with 95 %
    intervals (Wilson's); nobody trains on these tasks. It runs beside a daemon or without one, and
    offline; --set policy.device=cpu leaves a GPU alone.
    """
    from swarm.config.load import load
    from swarm.serving.measuring import run_evaluation

    result = run_evaluation(home.open(), load(home.path, overrides), checkpoint, tasks)
    if as_json:
        print_json(result.to_json())
        return
    click.echo(f"{result.model}, step {result.step}, in the swarm {result.swarm}")
    rows = [
        {
            "environment": each.environment,
            "tasks": each.base.tasks,
            "base": _shown(each.base),
            "now": "-" if each.now is None else _shown(each.now),
            "won": each.won,
            "lost": each.lost,
        }
        for each in result.comparisons
    ]
    print_table(rows, ["environment", "tasks", "base", "now", "won", "lost"])


def _shown(share: SolvedShare) -> str:
    return f"{share.accuracy:.3f} [{share.low:.3f}, {share.high:.3f}]"
