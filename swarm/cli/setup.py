"""`init` and `id`: a new node, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from protocols.manifest import Manifest
from swarm.cli.output import print_fields, print_json
from swarm.cli.shared_options import home_option, json_option
from swarm.config.profiles import PROFILES
from swarm.errors import HomeError
from swarm.home import Home, write_atomically

_NODE_TOML = """\
# This node's settings. What is not here has its default.
# All settings, each with a sentence:  swarmd config example
# What holds now, and where it was set: swarmd config explain
"""


@click.command()
@home_option
@click.option("--manifest", metavar="NAME|PATH|ID", help="The swarm's rules: a built-in name, a manifest file, or a swarm id.")
@click.option("--model", metavar="MODEL", help="The base model: embedded, a Hugging Face folder, or a hub name.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="A starting point for all other settings.")
@click.option("--invite", metavar="INVITE", help="Join the swarm that an invite names.")
@click.option("--listen", metavar="MULTIADDR", multiple=True, help="An address to listen on; repeatable.")
def init(
    home: Home, manifest: str | None, model: str | None, profile: str | None, invite: str | None, listen: tuple[str, ...]
) -> None:
    """Make a home: a new identity and a node.toml. Existing files are never changed.

    Where nothing is chosen, the swarm's tasks and an NVIDIA GPU of 8 GB or more decide: the profile
    gpu with the model for that card, or the embedded model.
    """
    from swarm.cli.choosing import keep, of_this_machine, rules_of
    from swarm.config.manifest_lookup import absolute

    changes: dict[str, Any] = {}
    if invite is not None:
        from swarm.cli.membership import read_invite

        if manifest:
            raise click.UsageError("an invite names the swarm's rules; leave --manifest out")
        changes |= read_invite(invite)
    if manifest:
        changes["swarm.manifest"] = absolute(manifest)
    if model and Path(model).is_dir():
        model = str(Path(model).absolute())
    options = {"policy.model": model, "node.profile": profile, "network.listen": listen}
    changes |= {name: value for name, value in options.items() if value}
    given, begun = changes.get("swarm.manifest"), home.node_toml.exists()
    rules, text = rules_of(given, changes.get("swarm.bootstrap", ()), home) if given and not begun else (None, "")
    if not (model or profile or begun):
        changes |= of_this_machine(rules)
    create_home(home, changes, rules)
    keep(text, home)


def create_home(home: Home, changes: Mapping[str, Any], rules: Manifest | None = None) -> None:
    """Make the missing files of a home and print them.

    Raises `HomeError` when nothing is missing, or when `changes` would need an edit, and
    `ConfigError` where they cannot work under the swarm's `rules`.
    """
    from swarm import identity
    from swarm.cli.choosing import examine
    from swarm.config.load import check_text
    from swarm.config.manifest_lookup import find_manifest
    from swarm.config.toml import edit
    from swarm.pool.store import log_table

    text = edit(_NODE_TOML, changes, str(home.node_toml))
    config = check_text(text, str(home.node_toml))
    has_settings, has_key = home.node_toml.exists(), home.identity_key.exists()
    if has_settings and (has_key or changes):
        raise HomeError(
            f"{home.node_toml} exists and is left as it is; edit it, or use `swarmd join`, or name another --home for a new node"
        )
    if not has_settings:
        examine(config, rules or find_manifest(config.swarm.manifest, home))
    home.create()
    node = identity.load(home.identity_key) if has_key else identity.create(home.identity_key)
    if not has_key:
        log_table.begin(home.pool, node.public_key)
    if not has_settings:
        write_atomically(home.node_toml, text.encode(), mode=0o644)
    click.echo(f"home     {home.path}\npeer id  {node.peer_id}{' (the key was there)' if has_key else ''}")
    click.echo(f"next     swarmd --home {home.path} start")


@click.command("id")
@home_option
@json_option
def id_(home: Home, as_json: bool) -> None:
    """Print this node's peer id and public key."""
    from swarm import identity

    node = identity.load(home.open().identity_key)
    record = {"peer_id": node.peer_id, "public_key": node.public_key.hex(), "home": str(home.path)}
    if as_json:
        print_json(record)
    else:
        print_fields(record)
