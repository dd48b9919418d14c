"""`rollouts`: the groups in the pool, own and foreign. Reads the store, so no daemon need run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from swarm.cli.output import print_fields, print_json, print_table, printable
from swarm.cli.shared_options import home_option, json_option
from swarm.errors import ConfigError, HomeError, SwarmdError
from swarm.home import Home

if TYPE_CHECKING:
    from swarm.pool.store.store import Store
    from swarm.records import ScoredGroup


@click.group()
def rollouts() -> None:
    """List and show rollouts, own and received."""


@rollouts.command("ls")
@home_option
@json_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most this many, newest first.")
@click.option("--peer", metavar="PEER_ID", help="Only those of this peer.")
def list_(home: Home, as_json: bool, limit: int, peer: str | None) -> None:
    """List groups (one task with all completions of one solver), newest first."""
    from protocols.peer_id import public_key
    from protocols.reasons import ProtocolError

    try:
        signer = None if peer is None else public_key(peer)
    except ProtocolError as error:
        raise ConfigError(f"--peer: {error}") from None
    with _store(home) as store:
        groups = store.groups(limit=limit, signer=signer)
    records = [_summary(key, group) | {"trained_in_round": round_} for key, round_, group in groups]
    if as_json:
        print_json(records)
    elif records:
        print_table(records, ["key", "received", "environment", "completions", "reward_mean", "trained_in_round", "peer_id"])
    else:
        click.echo("no rollouts yet")


@rollouts.command()
@home_option
@json_option
@click.argument("key", type=int)
def show(home: Home, as_json: bool, key: int) -> None:
    """Show one group: its task, and every completion with the reward of the own verifier."""
    with _store(home) as store:
        groups = store.load([key])
    if not groups:
        raise SwarmdError(f"there is no group {key} in {home.pool}; `swarmd rollouts ls` lists them")
    group = groups[0]
    task, policy = group.task, group.policy
    record = _summary(key, group) | {
        "parameters": dict(task.recipe.parameters),
        "epoch": task.recipe.epoch,
        "index": task.recipe.index,
        "policy": {"model": policy.model, "step": policy.step, "digest": policy.digest.hex()},
        "envelope": group.envelope.hex(),
        "answer": task.answer,
    }
    prompt = task.prompts.get(group.rendering, "")
    completions: list[dict[str, Any]] = [
        {"reward": reward, "tokens": each.tokens, "finished": each.finished, "logprob": each.logprob, "text": each.text}
        for each, reward in zip(group.completions, group.rewards, strict=True)
    ]
    if as_json:
        print_json(record | {"prompt": prompt, "completions": completions})
        return
    print_fields(record)
    click.echo("\nprompt")
    _print_text(prompt)
    for completion in completions:
        ending = "" if completion["finished"] else ", cut at the cap"
        click.echo(f"\nreward {completion['reward']:g}, {completion['tokens']} tokens{ending}")
        _print_text(completion["text"])


def _summary(key: int, group: ScoredGroup) -> dict[str, Any]:
    from protocols.peer_id import peer_id

    return {
        "key": key,
        "received": datetime.fromtimestamp(group.received_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "environment": group.task.recipe.environment,
        "rendering": group.rendering,
        "completions": len(group.completions),
        "reward_mean": round(sum(group.rewards) / len(group.rewards), 4),
        "peer_id": peer_id(group.signer),
    }


def _print_text(text: str) -> None:
    for line in text.split("\n"):
        click.echo(f"    {printable(line)}")


@contextmanager
def _store(home: Home) -> Iterator[Store]:
    from swarm.config.load import load
    from swarm.pool.store.store import Store

    if not home.open().pool.exists():
        raise HomeError(f"{home.path} has no pool yet; it is made when the node starts for the first time")
    with closing(Store(home.pool, load(home.path).pool, read_only=True)) as store:
        yield store
