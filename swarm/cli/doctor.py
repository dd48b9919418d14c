"""`doctor`: finds what keeps a node from working here, and names the fix."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import click

from swarm.cli.client import ask
from swarm.cli.output import print_json, printable
from swarm.cli.shared_options import home_option, json_option, set_option
from swarm.errors import DoctorError
from swarm.home import Home

DAEMON_ANSWERS_WITHIN_S = 2.0


@click.command()
@home_option
@json_option
@set_option
def doctor(home: Home, as_json: bool, overrides: dict[str, str]) -> None:
    """Look whether a node can work here, and say what to mend.

    Settings, home, GPU and torch, model, memory, disk, port, reachability, bootstrap peers, clock,
    environments: each is ok, or a warning or a failure with its fix. It works before `init`, beside
    a running daemon and offline, in about half a minute at most. It ends with 0 when nothing fails.
    """
    from swarm.doctor.examination import run_doctor
    from swarm.doctor.finding import Severity

    findings = run_doctor(home, overrides, partial(ask, home, timeout_s=DAEMON_ANSWERS_WITHIN_S))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.verdict:<8} {finding.subject:<{width}}  {printable(finding.found)}")
            if finding.fix:
                click.echo(f"{'':<8} {'':<{width}}  → {printable(finding.fix)}")
    failed = [finding.subject for finding in findings if finding.verdict == Severity.FAIL]
    if failed:
        raise DoctorError(f"a node cannot work here as it is; to be mended: {', '.join(failed)}")
