"""Chooses and examines the model of a home once its swarm's rules are known, for `init` and
`join`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from protocols.manifest import Manifest
from swarm.config.schema import Config
from swarm.errors import ConfigError
from swarm.home import Home, write_atomically


def rules_of(reference: str, bootstrap: Sequence[str], home: Home) -> tuple[Manifest | None, str]:
    """Return the manifest that the setting `swarm.manifest` means, and its text where a member had
    to be asked for it; None where nobody answers."""
    from swarm.config.manifest_lookup import find_manifest

    manifest = find_manifest(reference, home)
    if manifest is not None or not bootstrap:
        return manifest, ""
    from swarm.node.fetching import ANSWERED_WITHIN_S, fetch_manifest_once

    click.echo(f"asking the swarm for its rules, for up to {ANSWERED_WITHIN_S:g} s", err=True)
    text = fetch_manifest_once(reference, bootstrap)
    if text is None:
        click.echo("nobody answers yet; whether the model suits the swarm's tasks is said at the start", err=True)
        return None, ""
    return Manifest.from_toml(text), text


def keep(text: str, home: Home) -> None:
    """Keep a manifest that a member gave, for the start."""
    if text:
        write_atomically(home.manifest, text.encode())


def of_this_machine(manifest: Manifest | None) -> Mapping[str, Any]:
    """Return the settings that suit this machine and the swarm's tasks: with a card, and unless the
    tasks are the embedded model's, the profile "gpu" and the model for this card."""
    from swarm.config.profiles import for_card
    from swarm.doctor.cards import GET_TORCH
    from swarm.doctor.driver import first_card, torch_lacks_cuda

    if manifest is not None and "prose" not in manifest.renderings:
        return {}
    card = first_card()
    if card is None:
        return {}
    chosen = for_card(card.total)
    click.echo(
        f"profile  gpu, for {card.name}: {chosen['policy.model']}; swarmd init --profile default keeps to the embedded model"
    )
    if torch_lacks_cuda():
        click.echo(f"warning: torch is here without CUDA; before the start {GET_TORCH}", err=True)
    return {"node.profile": "gpu", **chosen}


def examine(config: Config, manifest: Manifest | None) -> None:
    """Warn of what will work badly in the swarm.

    Raises `ConfigError` for what cannot work there, and `PolicyError` for a model of which no
    policy can be made.
    """
    from swarm.policy.fit.unusable import refuse_unusable
    from swarm.roles.suitable import doubts, why_not

    refuse_unusable(config.policy.model)
    if manifest is None:
        return
    if why := why_not(config, manifest):
        raise ConfigError(why)
    _check_tasks(config, manifest)
    for doubt in doubts(config, manifest):
        click.echo(f"warning: {doubt}", err=True)


def _check_tasks(config: Config, manifest: Manifest) -> None:
    """Raise `ConfigError` where the tasks of this node cannot be asked or judged with what is
    installed here. swarmd's own swarms can, as tests show: nothing is loaded for them."""
    from swarm.config.manifest_lookup import built_in

    if manifest in built_in().values():
        return
    from swarm.doctor.hardware import ask_module_once
    from swarm.roles.proposer import chosen_rules

    asked = replace(manifest, environments=tuple(chosen_rules(manifest, config.tasks)))
    answer, words = ask_module_once("swarm.tasks.playable", asked.to_toml())
    if answer is None:
        click.echo(f"warning: whether the swarm's tasks can be played here was not told: {words}; the start says it", err=True)
    elif answer["refused"]:
        raise ConfigError(f"the swarm {manifest.name} cannot be joined here: {answer['refused']}")
