"""`checkpoints`: the saved states that a node can go back to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from swarm.cli.output import print_json, print_table
from swarm.cli.shared_options import home_option, json_option
from swarm.errors import ConfigError, HomeError
from swarm.home import Home

# The newest, and the one before, for a daemon whose newest turns out to be harmed.
_NEEDED_BY_DAEMON = 2


@click.command()
@home_option
@json_option
@click.option(
    "--prune", "keep", type=click.IntRange(min=1), metavar="N", help="Remove all but the newest N whole ones, then list."
)
def checkpoints(home: Home, as_json: bool, keep: int | None) -> None:
    """List the checkpoints, newest first, or remove old ones.

    `canary` is the share of its own held-out tasks that the node solved then, `evaluated` what
    `swarmd eval` measured. What a running daemon needs is not removed: the newest and the one
    before.
    """
    from swarm.policy import checkpoint
    from swarm.serving.comparison import ALL, known_evaluations

    home.open()
    if keep is not None:
        if home.holder() is not None and keep < _NEEDED_BY_DAEMON:
            raise ConfigError(
                f"the running daemon needs its newest {_NEEDED_BY_DAEMON} checkpoints; keep as many, or stop it first"
            )
        checkpoint.remove_older(home.checkpoints, keep)
    accuracies = {
        record["digest"]: comparison["now"]["accuracy"]
        for record in known_evaluations(home)
        for comparison in record["comparisons"]
        if comparison["environment"] == ALL and comparison["now"]
    }
    records = [_described(path, accuracies) for path in checkpoint.every(home.checkpoints)]
    if as_json:
        print_json(records)
    elif records:
        rows = [{**record, "size": f"{record['bytes'] / 2**20:.1f} MiB", "digest": record["digest"][:16]} for record in records]
        print_table(rows, ["step", "round", "saved", "size", "digest", "canary", "evaluated", "damage"])
    else:
        click.echo("no checkpoints yet")


def _described(path: Path, accuracies: dict[str, float]) -> dict[str, Any]:
    from swarm.policy import checkpoint

    record: dict[str, Any] = {
        "step": int(path.name.split("-")[1].split(".")[0]),
        "path": str(path),
        "bytes": 0,
        "saved": None,
        "round": None,
        "digest": "",
        "canary": None,
        "evaluated": None,
        "damage": checkpoint.damage(path),
    }
    try:
        record["bytes"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        record["saved"] = datetime.fromtimestamp((path / checkpoint.META).stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta, state = checkpoint.meta(path), checkpoint.node_state(path)
    except (OSError, HomeError):
        return record  # damaged, or just removed by the daemon; `damage` says so
    solved = state.get("canary", {}).get("last", [])
    return {
        **record,
        "round": state.get("round"),
        "digest": meta["digest"],
        "canary": round(sum(solved) / len(solved), 4) if solved else None,
        "evaluated": accuracies.get(meta["digest"]),
    }
