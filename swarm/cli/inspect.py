"""`status` and `peers`: the running daemon's state and its peers."""

from __future__ import annotations

import click

from swarm.cli.client import ask
from swarm.cli.output import print_fields, print_json, print_table
from swarm.cli.shared_options import home_option, json_option
from swarm.home import Home


@click.command()
@home_option
@json_option
def status(home: Home, as_json: bool) -> None:
    """Show what the daemon does now.

    The output holds its state, the reason while it waits, and the counts of its learning.
    """
    result = ask(home, "status")
    if as_json:
        print_json(result)
    else:
        print_fields(result)


@click.command()
@home_option
@json_option
def peers(home: Home, as_json: bool) -> None:
    """List the peers the daemon knows.

    Peers that are cut off for now are listed with the reason.
    """
    result = ask(home, "peers")
    if as_json:
        print_json(result)
    elif result:
        rows = [{**peer, "cut_off": peer["cut_off"] and peer["cut_off"]["reason"]} for peer in result]
        print_table(rows, list(result[0]))
    else:
        click.echo("no peers")
