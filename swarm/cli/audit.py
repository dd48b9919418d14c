"""`audit`: checks that everything in a home is as it was written, and can be confirmed."""

from __future__ import annotations

import click

from swarm.cli.output import print_json, print_table, printable
from swarm.cli.shared_options import json_option
from swarm.errors import AuditError
from swarm.home import Home


@click.command()
@click.argument("directory", metavar="[HOME]", required=False)
@json_option
@click.option(
    "--quick", is_flag=True, help="Do not rebuild tasks, score answers and load the checkpoint, which takes most of the time."
)
@click.pass_context
def audit(context: click.Context, directory: str | None, as_json: bool, quick: bool) -> None:
    """Look through a home offline: find any damaged byte, and replay the node's log and pool.

    Each admission and refusal is confirmed or contradicted against recipes, beacon and signatures,
    as far as the held records allow. It ends with 0 when nothing is damaged or contradicted. The
    daemon must not run.
    """
    from swarm.audit.home_audit import run_audit
    from swarm.config.load import load

    home = Home.find(directory or context.find_root().params.get("home")).open()

    report = run_audit(home, load(home.path), quick=quick)
    if as_json:
        print_json(report.to_json())
    else:
        print_table(report.rows(), ["kind", "checked", "confirmed", "contradicted", "not_checkable"])
        for kind, tally in report.tallies.items():
            for why, count in tally.not_checkable.items():
                click.echo(f"not checkable: {count} {kind}, {why}")
        for note in report.notes:
            click.echo(f"note: {printable(note)}")
        for what in report.contradictions:
            click.echo(f"contradicted: {printable(what)}")
    if not report.clean:
        count = len(report.contradictions)
        raise AuditError(f"{count} {'things are' if count > 1 else 'thing is'} damaged or contradicted in {home.path}")
