"""`init` and `id`: a new node, and its identity."""

from __future__ import annotations

from pathlib import Path

import click

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

    Where nothing is chosen and an NVIDIA GPU of 8 GB or more answers, the profile is gpu: a real
    language model.
    """
    from swarm.config.manifest_lookup import absolute, find_manifest
    from swarm.doctor.driver import first_card
    from swarm.policy.fit.unusable import refuse_unusable

    changes: dict[str, str | tuple[str, ...]] = {}
    if invite is not None:
        from swarm.cli.membership import read_invite

        if manifest:
            raise click.UsageError("an invite names the swarm's rules; leave --manifest out")
        changes |= read_invite(invite)
    if manifest:
        changes["swarm.manifest"] = manifest = absolute(manifest)
        find_manifest(manifest, home)
    if not (invite or manifest or model or profile or home.node_toml.exists()) and (card := first_card()):
        profile = "gpu"
        click.echo(f"profile  gpu, for {card}; swarmd init --profile default keeps to the embedded model")
    if model:
        refuse_unusable(model)
    if model and Path(model).is_dir():
        model = str(Path(model).absolute())
    options = {"policy.model": model, "node.profile": profile, "network.listen": listen}
    changes |= {name: value for name, value in options.items() if value}
    create_home(home, changes)


def create_home(home: Home, changes: dict[str, str | tuple[str, ...]]) -> None:
    """Make the missing files of a home and print them.

    Raises `HomeError` when nothing is missing, or when `changes` would need an edit.
    """
    from swarm import identity
    from swarm.config.load import check_text
    from swarm.config.toml import edit
    from swarm.pool.store import log_table

    text = edit(_NODE_TOML, changes, str(home.node_toml))
    check_text(text, str(home.node_toml))
    has_settings, has_key = home.node_toml.exists(), home.identity_key.exists()
    if has_settings and (has_key or changes):
        raise HomeError(
            f"{home.node_toml} exists and is left as it is; edit it, or use `swarmd join`, or name another --home for a new node"
        )
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
