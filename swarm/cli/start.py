"""`start` and `stop`: the node itself, in the foreground, and its orderly end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time

import click

from swarm.cli.client import ask
from swarm.cli.shared_options import home_option, set_option
from swarm.errors import NotRunningError, SwarmdError
from swarm.home import Home


@click.command()
@home_option
@set_option
@click.option("--init", "initialise", is_flag=True, help="Make the home first where it is missing, as `swarmd init` does.")
@click.option("--rounds", type=click.IntRange(min=0), metavar="N", help="Stop after N rounds (node.rounds).")
@click.option(
    "--bootstrap", metavar="MULTIADDR", multiple=True, help="A peer to join by, for this run (swarm.bootstrap); repeatable."
)
@click.pass_context
def start(
    context: click.Context,
    home: Home,
    overrides: dict[str, str],
    initialise: bool,
    rounds: int | None,
    bootstrap: tuple[str, ...],
) -> None:
    """Run the node in the foreground.

    It ends on Ctrl-C, SIGTERM or `swarmd stop`, and saves its state first.
    """
    from swarm.config.load import load

    if rounds is not None:
        overrides["node.rounds"] = str(rounds)
    if bootstrap:
        overrides["swarm.bootstrap"] = ",".join(bootstrap)
    if level := context.find_root().params["log_level"]:
        overrides["node.log_level"] = level
    config = load(home.path, overrides)
    if initialise and not home.identity_key.exists():
        from swarm.cli.setup import create_home

        with contextlib.redirect_stdout(sys.stderr):
            create_home(home, {})
    home.open()
    log_to_stderr(config.node.log_level)
    from swarm.node.daemon import run_daemon

    run_daemon(home, config)


def log_to_stderr(level: str) -> None:
    """Send log records of `level` and above to standard error; of noisy libraries only warnings and
    worse."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    for library in ("libp2p", "multiaddr", "matplotlib", "urllib3", "httpx", "filelock"):
        logging.getLogger(library).setLevel(logging.WARNING)


@click.command()
@home_option
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait for the orderly end.")
@click.option("--force", is_flag=True, help="Kill the daemon when it does not end by itself; it resumes at its last checkpoint.")
def stop(home: Home, timeout_s: float, force: bool) -> None:
    """Tell the daemon to end, and wait until it has.

    It finishes what it does and saves its state first.
    """
    if (holder := home.holder()) is None:
        raise NotRunningError(f"no daemon is running for {home.path}")
    try:
        ask(home, "stop", timeout_s=min(10.0, timeout_s))
    except NotRunningError:
        # It holds the lock and does not answer: it is starting, or stuck.
        if force:
            timeout_s = 0.0
        elif home.control.exists():
            raise
        else:
            # It has no socket yet, perhaps waiting for the swarm's manifest: nothing to save.
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGTERM)
    if _ended(home, timeout_s):
        return
    if not force:
        raise SwarmdError(f"the daemon has not ended within {timeout_s:g} s; wait longer with --timeout, or kill it with --force")
    if (holder := home.holder()) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)
    if not _ended(home, 10.0):
        raise SwarmdError("the daemon does not die; the system may be waiting for its disk")


def _ended(home: Home, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while home.holder() is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
