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
from swarm.policy.public_name import public_name
from swarm.pool.store.store import Store
from swarm.serving.card import Provenance, card
from swarm.serving.chosen import chosen
from swarm.serving.comparison import known_evaluations
from swarm.serving.trained import open_policy


def export_newest(home: Home, config: Config, directory: Path, *, adapter: bool, command: str) -> None:
    """Write the newest checkpoint's policy and its card into `directory`, which is new or empty.

    An adapter is merged into its base, or with `adapter` written alone. Raises `SwarmdError`, and
    leaves nothing behind then.
    """
    partial = directory.with_name(f".{directory.name}-partial")
    with storage(directory.parent):
        try:
            known = _fill(home, config, partial, adapter=adapter)
            text = card(_provenance(home, config, known, adapter=adapter, command=command))
            write_atomically(partial / "README.md", text.encode(), mode=0o644)
            partial.replace(directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _fill(home: Home, config: Config, target: Path, *, adapter: bool) -> Mapping[str, Any]:
    """Write the newest policy into `target`; the description and the node's state of its
    checkpoint."""
    with chosen(home, "newest") as path:
        if path is None:
            raise HomeError(f"{home.checkpoints} holds no whole checkpoint yet; the node writes them while it learns")
        _write(config, path, target, adapter=adapter)
        return {**checkpoint.node_state(path), **checkpoint.meta(path)}


def _write(config: Config, path: Path, target: Path, *, adapter: bool) -> None:
    shutil.rmtree(target, ignore_errors=True)
    has_adapter = checkpoint.has_adapter(path)
    if adapter and not has_adapter:
        raise PolicyError("this policy has no adapter: all weights are trained; export it without --adapter")
    if has_adapter and not adapter:
        trio.run(_merge, config, path, target)
    else:
        shutil.copytree(path / checkpoint.MODEL, target)


async def _merge(config: Config, path: Path, target: Path) -> None:
    async with open_policy(config, path) as policy:
        await policy.export(target)


def _provenance(home: Home, config: Config, known: Mapping[str, Any], *, adapter: bool, command: str) -> Provenance:
    manifest = find_manifest(config.swarm.manifest, home)
    totals, digest = known.get("totals", {}), known.get("digest", "")
    return Provenance(
        base=public_name(config.policy.model),
        revision=config.policy.revision,
        adapter=adapter,
        step=known["step"],
        digest=digest,
        round=known.get("round", 0),
        own_groups=totals.get("groups_trained_own", 0),
        foreign_groups=totals.get("groups_trained_foreign", 0),
        signers=_signers(home, config),
        swarm_name=manifest.name if manifest else "unknown",
        swarm_id=manifest.swarm_id if manifest else config.swarm.manifest,
        environments=tuple(map(_described, manifest.environments)) if manifest else (),
        training=_training(config, adapter=adapter),
        command=command,
        evaluation=next((each for each in reversed(known_evaluations(home)) if each["digest"] == digest), None),
    )


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
    """Count the signers of groups in the pool that were trained on."""
    if not home.pool.exists():
        return 0
    with closing(Store(home.pool, config.pool, read_only=True)) as store:
        rows = store.rows("SELECT COUNT(DISTINCT signer) FROM groups WHERE own = 0 AND trained_round IS NOT NULL")
    return int(rows[0][0])
