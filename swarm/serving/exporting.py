"""Exporting a checkpoint's policy as a Hugging Face folder, with its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from protocols.manifest import EnvironmentRule, Range
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import Config
from swarm.errors import HomeError, PolicyError
from swarm.home import Home, storage, write_atomically
from swarm.policy import checkpoint
from swarm.pool.store.store import Store
from swarm.serving.card import Provenance, card, public_base
from swarm.serving.comparison import known_evaluations
from swarm.serving.trained import open_policy


def export_newest(home: Home, config: Config, directory: Path, *, adapter: bool) -> dict[str, Any]:
    """Copy the model out of the newest checkpoint, or its adapter; or merge that into its base, which loads both.

    Returns what the checkpoint's node knew (see `write_card`). Raises `SwarmdError`; nothing is left behind then.
    """
    newest = checkpoint.newest(home.checkpoints)
    if newest is None:
        raise HomeError(f"{home.checkpoints} holds no whole checkpoint; the node writes them while it learns")
    has_adapter = checkpoint.has_adapter(newest)
    if adapter and not has_adapter:
        raise PolicyError("this policy has no adapter: all weights are trained; export it without --adapter")
    if has_adapter and not adapter:
        trio.run(_merge, config, newest, directory)
    else:
        partial = directory.with_name(f".{directory.name}-partial")
        with storage(directory.parent):
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(newest / checkpoint.MODEL, partial)
            partial.replace(directory)
    meta, state = checkpoint.meta(newest), checkpoint.node_state(newest)
    known = {"step": meta["step"], "digest": meta.get("digest", "")}
    return {**known, "round": state.get("round", 0), "totals": state.get("totals", {})}


async def _merge(config: Config, path: Path, directory: Path) -> None:
    async with open_policy(config, path) as policy:
        await policy.export(directory)


def write_card(home: Home, config: Config, directory: Path, known: Mapping[str, Any], *, adapter: bool, command: str) -> None:
    """Write README.md into an exported folder; `known` has the policy's `step` and `digest`, the node's `round` and `totals`."""
    manifest = find_manifest(config.swarm.manifest, home)
    totals = known.get("totals", {})
    evaluation = next((each for each in reversed(known_evaluations(home)) if each["digest"] == known["digest"]), None)
    made = Provenance(
        base=public_base(config.policy.model),
        revision=config.policy.revision,
        adapter=adapter,
        step=known["step"],
        digest=known["digest"],
        round=known.get("round", 0),
        own_groups=totals.get("groups_trained_own", 0),
        foreign_groups=totals.get("groups_trained_foreign", 0),
        signers=_signers(home, config),
        swarm_name=manifest.name if manifest else "unknown",
        swarm_id=manifest.swarm_id if manifest else config.swarm.manifest,
        environments=tuple(map(_described, manifest.environments)) if manifest else (),
        training=_training(config, adapter=adapter),
        command=command,
        evaluation=evaluation,
    )
    write_atomically(directory / "README.md", card(made).encode(), mode=0o644)


def _described(rule: EnvironmentRule) -> str:
    parameters = [
        f"{name} {each.min} to {each.max}" if isinstance(each, Range) else f"{name} {each}"
        for name, each in rule.parameters.items()
    ]
    return ", ".join([f"`{rule.name}` {rule.version}", *parameters])


def _training(config: Config, *, adapter: bool) -> str:
    how = [f"LoRA of rank {config.policy.lora_rank}"] if adapter else []
    rate = config.training.learning_rate
    return ", ".join(
        [*how, f"{config.training.loss_type} loss", f"learning rate {rate:g}" if rate else "the default learning rate"]
    )


def _signers(home: Home, config: Config) -> int:
    """Whose groups in the pool were trained on."""
    if not home.pool.exists():
        return 0
    with closing(Store(home.pool, config.pool, read_only=True)) as store:
        rows = store.rows("SELECT COUNT(DISTINCT signer) FROM groups WHERE own = 0 AND trained_round IS NOT NULL")
    return int(rows[0][0])
