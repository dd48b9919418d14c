"""`sim`: a whole swarm on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from swarm.cli.output import print_json
from swarm.cli.shared_options import set_option
from swarm.cli.start import log_to_stderr
from swarm.sim.options import ATTACKS, SimulationOptions

_DEFAULT = SimulationOptions()
Command = TypeVar("Command", bound=Callable[..., Any])


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        return tuple(float(each) for each in value.split(","))
    except ValueError:
        raise click.BadParameter("give numbers separated by commas, as in 1,1,1,0.1") from None


def _option(*names: str, **more: Any) -> Callable[[Command], Command]:
    """An option for the field of `SimulationOptions` called as its last name, with that default."""
    default = getattr(_DEFAULT, names[-1].removeprefix("--").replace("-", "_"))
    return click.option(*names, **({"default": default, "show_default": bool(default)} | more))


@click.command()
@set_option
@_option("--nodes", type=click.IntRange(min=1), help="Nodes in the swarm.")
@_option("--rounds", type=click.IntRange(min=1), help="Rounds of every node.")
@_option("--seed", type=click.IntRange(min=0), help="Seed of everything drawn.")
@_option("--local", type=click.IntRange(min=0), metavar="I", help="Own groups trained per round (training.local).")
@_option("--external", type=click.IntRange(min=0), metavar="J", help="Foreign groups trained per round (training.external).")
@_option(
    "--network",
    type=click.Choice(["libp2p", "memory"]),
    default=None,
    help="Loopback libp2p in real time (the default), or a simulated network on a virtual clock, the same for the same seed "
    "(the default with --attack).",
)
@_option("--specialise", is_flag=True, help="Give every node its own few tasks; evaluation covers all of them.")
@_option("--compare", is_flag=True, help="Also run the same nodes alone, with the same seeds, and report both.")
@_option(
    "--attack",
    type=click.Choice(ATTACKS),
    help="What the attackers do; the manifest is then scratch, and in memory a round takes a minute of virtual time, unless set.",
)
@_option("--attackers", type=click.IntRange(min=0), metavar="K", help="How many of the nodes attack.")
@_option(
    "--attack-groups",
    type=click.IntRange(min=1),
    metavar="N",
    help="Groups of an attacker per round of the honest nodes, the attack's own number by default.",
)
@_option("--undefended", is_flag=True, help="Turn every defence of the honest nodes off, to see what an attack reaches.")
@_option(
    "--churn",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="This share of the nodes is replaced by new ones; in memory rounds then take a second of virtual time.",
)
@_option("--partition", is_flag=True, help="Cut the network in two for the middle third of the run (in memory only).")
@_option(
    "--loss",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="P",
    help="Probability that a copy of a message is lost (in memory only).",
)
@_option(
    "--speeds",
    callback=_numbers,
    default=",".join(f"{speed:g}" for speed in _DEFAULT.speeds),
    metavar="X,Y,…",
    help="How fast the nodes' work goes, taken in turn; who is slower does fewer rounds in the same time (in memory only).",
)
@_option(
    "--evaluate-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also measure held-out accuracy every N rounds (`curve` in the report), outside of a simulated network's time.",
)
@_option(
    "--until",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="ACCURACY",
    help="Stop before --rounds once the nodes' mean held-out accuracy, as --evaluate-every measures it, is that high.",
)
@_option(
    "--model",
    "models",
    metavar="MODEL[,SECTION.KEY=VALUE…]",
    multiple=True,
    help="The base model of every node, with settings for its nodes alone; given several times, the nodes take them in turn.",
)
@_option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where report.json, report.html and the plots are written.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print report.json to standard output as well; progress goes to standard error."
)
@click.pass_context
def sim(context: click.Context, /, as_json: bool, network: str | None, **asked: Any) -> None:
    """Run a whole swarm on this machine.

    The nodes are those of `swarmd start`; a report tells what they learned from each other.
    """
    network = network or (_DEFAULT.network if asked["attack"] is None else "memory")
    options = SimulationOptions(**asked, network=network, plain=not sys.stderr.isatty())
    log_to_stderr(context.find_root().params["log_level"] or "warning")
    from swarm.sim.simulation import run_simulation

    result = run_simulation(options)
    if as_json:
        print_json(result)
    else:
        for line in _summary(result, options.report):
            click.echo(line)


def _summary(result: Mapping[str, Any], report: Path) -> Iterator[str]:
    """Yield the lines that a person wants to read first."""
    yield f"held-out accuracy: {result['eval_before']:.3f} before, {result['eval_after']:.3f} after {result['rounds']} rounds"
    if "alone" in result:
        yield f"the same nodes alone: {result['alone']['eval_after']:.3f}"
    yield f"trained on {result['groups_trained_own']} own and {result['groups_trained_foreign']} foreign groups"
    if attack := result.get("attack"):
        pattern = result["patterns_last"].get(attack["name"])
        share = attack["weight_share"]
        yield (
            f"attack {attack['name']}: "
            + (f"its pattern is in {pattern:.1%} of the last own answers, " if pattern is not None else "")
            + f"length {result['completion_tokens_first']:.1f} to {result['completion_tokens_last']:.1f} tokens, "
            f"{attack['groups_admitted']} of {attack['groups_delivered']} delivered groups admitted, "
            f"{attack['groups_trained']} trained on" + (f" ({share:.1%} of the foreign weight)" if share is not None else "")
        )
    yield f"report: {report / 'report.html'}"
