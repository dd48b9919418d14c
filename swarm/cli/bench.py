"""`bench`: what learning together is worth, measured on this machine in simulated swarms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from swarm.cli.output import print_json, print_table
from swarm.cli.shared_options import json_option, set_option

Command = TypeVar("Command", bound=Callable[..., Any])


def _whole_numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Numbers separated by commas."""
    try:
        numbers = tuple(dict.fromkeys(int(each) for each in value.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter("give whole numbers above 0 separated by commas, as in 1,2,3")
    return numbers


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name for name in value.split(",") if name)


_seeds = click.option(
    "--seeds",
    default="1,2,3",
    show_default=True,
    metavar="S,…",
    callback=_whole_numbers,
    help="Every run once with each of these.",
)
_jobs = click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at once; each takes about one core."
)


def _out(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(default),
        show_default=True,
        metavar="DIR",
        help="Where results and finished runs are kept; runs that are there already are not made again.",
    )


@click.group()
def bench() -> None:
    """Measure what a swarm is worth, in memory and with seeds.

    A benchmark that is cut off goes on where it was when it is started again with the same options.
    """


@bench.command("swarm")
@_seeds
@click.option("--rounds", type=click.IntRange(min=1), default=60, show_default=True, help="Rounds of every node.")
@click.option("--nodes", type=click.IntRange(min=1), default=8, show_default=True, help="Nodes in the swarm.")
@click.option("--rows", default="", metavar="NAME,…", callback=_names, help="Only these configurations, and 8/0 beside them.")
@_jobs
@_out("bench-swarm")
@json_option
def swarm(seeds: tuple[int, ...], rounds: int, nodes: int, rows: tuple[str, ...], jobs: int, out: Path, as_json: bool) -> None:
    """The controlled experiment of swarm sampling's paper, then this project's defaults.

    8 rollouts are trained per round, of which I are a node's own and J foreign: 8/0, 6/2, 4/4, 2/6. Every node generates 8
    answers to one question per round. Writes table.json and a plot per configuration.
    """
    from swarm.bench.experiment import bench_swarm, lines

    table = bench_swarm(out, seeds, nodes, rounds, rows, jobs, _say)
    _show(table, lines(table), as_json, out)


@bench.command("efficiency")
@_seeds
@click.option(
    "--nodes", default="1,2,4,8,16", show_default=True, metavar="N,…", callback=_whole_numbers, help="Sizes of the swarm."
)
@click.option(
    "--target",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.55,
    show_default=True,
    help="The held-out accuracy on unseen prompts that the nodes' mean is to reach.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=400, show_default=True, help="Rounds after which a run is given up."
)
@click.option("--every", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds between measurements.")
@click.option(
    "--opponent", is_flag=True, help="Also a lone node that oversamples and filters, in all settings; the best is named."
)
@set_option
@_jobs
@_out("bench-efficiency")
@json_option
def efficiency(
    seeds: tuple[int, ...],
    nodes: tuple[int, ...],
    target: float,
    rounds: int,
    every: int,
    opponent: bool,
    overrides: dict[str, str],
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    """What a node pays until a target accuracy, by the number of nodes.

    Generated tokens, rounds and CPU seconds per node; the ideal is N times fewer tokens among N nodes. Writes efficiency.json.
    """
    from swarm.bench.efficiency import bench_efficiency, lines

    result = bench_efficiency(out, seeds, nodes, target, rounds, every, overrides, jobs, _say, opponent=opponent)
    _show(result, lines(result), as_json, out)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _show(result: dict[str, Any], table: list[dict[str, str]], as_json: bool, out: Path) -> None:
    if as_json:
        print_json(result)
        return
    print_table(table, list(table[0]))
    click.echo(f"written: {out}")
