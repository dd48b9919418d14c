"""`join` and `invite`: the way into a swarm, for this node and for others."""

from __future__ import annotations

from typing import Any

import click

from swarm.cli.client import ask
from swarm.cli.output import print_json
from swarm.cli.shared_options import home_option, json_option
from swarm.config.profiles import PROFILES
from swarm.errors import ConfigError, NetworkError, NotRunningError
from swarm.home import Home, write_atomically


@click.command()
@home_option
@click.argument("invite_or_address", metavar="INVITE|MULTIADDR")
@click.option("--model", metavar="MODEL", help="Change the base model, where the swarm's tasks want another.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Change the starting point for all other settings.")
def join(home: Home, invite_or_address: str, model: str | None, profile: str | None) -> None:
    """Join a swarm by an invite or by a peer's address.

    An address is a multiaddr with /p2p/<peer id> of a node whose swarm has the same rules.

    Only the manifest and bootstrap keys of node.toml change, and what the options name; comments
    and all other lines stay.
    """
    from swarm import identity
    from swarm.cli.choosing import examine, keep, rules_of
    from swarm.config.load import check_text, load
    from swarm.config.manifest_lookup import find_manifest
    from swarm.config.toml import edit

    own_id = identity.load(home.open().identity_key).peer_id
    now = load(home.path, environ={}).swarm
    if invite_or_address.startswith("/"):
        changes: dict[str, str | tuple[str, ...]] = {"swarm.bootstrap": _with(now.bootstrap, (invite_or_address,))}
    else:
        changes = read_invite(invite_or_address)
        manifest = find_manifest(now.manifest, home)
        if manifest is not None and manifest.swarm_id == changes["swarm.manifest"]:
            # The same swarm: keep the name the user chose for it, and the peers known before.
            del changes["swarm.manifest"]
            changes["swarm.bootstrap"] = _with(now.bootstrap, tuple(changes["swarm.bootstrap"]))
    if own_id in "".join(changes["swarm.bootstrap"]):
        raise ConfigError("that is this node itself; take the invite or address of another node")
    changes |= {name: value for name, value in {"policy.model": model, "node.profile": profile}.items() if value}
    before = home.node_toml.read_text(encoding="utf-8") if home.node_toml.exists() else ""
    text = edit(before, changes, str(home.node_toml))
    config = check_text(text, str(home.node_toml))
    rules, told = rules_of(config.swarm.manifest, config.swarm.bootstrap, home)
    examine(config, rules)
    write_atomically(home.node_toml.resolve(), text.encode(), mode=0o644)
    keep(told, home)
    for name, value in changes.items():
        click.echo(f"{name} = {value if isinstance(value, str) else ', '.join(value)}")
    if home.holder() is not None:
        click.echo(f"restart the running daemon for it to take effect: swarmd --home {home.path} stop, then start", err=True)


def _with(known: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return (*known, *(address for address in new if address not in known))


def read_invite(text: str) -> dict[str, str | tuple[str, ...]]:
    """Return the settings that an invite stands for. Raises `ConfigError` for a mistyped one."""
    from protocols.invite import Invite
    from protocols.reasons import ProtocolError

    if not text.strip():
        raise ConfigError(
            "the invite is empty; make one with `swarmd --home … invite` on a node of the swarm, and give that here"
        )
    try:
        invite = Invite.from_string(text.strip())
    except ProtocolError as error:
        raise ConfigError(f"this is neither an invite nor a multiaddr: {error}") from None
    return {"swarm.manifest": invite.manifest_id.hex(), "swarm.bootstrap": tuple(invite.addresses)}


@click.command()
@home_option
@json_option
def invite(home: Home, as_json: bool) -> None:
    """Print an invite to this node's swarm.

    It is for `swarmd join` or `swarmd init --invite` elsewhere. Where no daemon answers, the
    addresses are those of node.toml.
    """
    try:
        result = ask(home, "invite")
    except NotRunningError:
        if home.holder() is not None:
            raise  # it may listen elsewhere than node.toml says
        result = _invite_of(home)
        click.echo(f"no daemon answers; node.toml gives {', '.join(result['addresses'])}", err=True)
    if as_json:
        print_json(result)
    else:
        click.echo(result["invite"])


def _invite_of(home: Home) -> dict[str, Any]:
    """Return the answer of this home's daemon, without it. Raises `ConfigError` if only a running
    one knows its addresses."""
    from protocols.invite import Invite
    from protocols.limits import MAX_ADDRESSES
    from protocols.reasons import ProtocolError
    from swarm import identity
    from swarm.config.load import load
    from swarm.config.manifest_lookup import find_manifest
    from swarm.doctor.reachability import would_announce
    from swarm.net.libp2p.addresses import parse

    peer_id = identity.load(home.open().identity_key).peer_id
    config = load(home.path)
    setting = "announce" if config.network.announce else "listen"
    told = config.network.announce or would_announce(config.network.listen)
    # Port 0 is another port at every start.
    places = [place for place in (address.partition("/p2p/")[0] for address in told) if not place.endswith("/tcp/0")]
    if not places:
        raise ConfigError(
            f"network.{setting} ({', '.join(getattr(config.network, setting))}) names no address to be invited to; "
            "start the node first, or give it a fixed port, as in /ip4/0.0.0.0/tcp/4711"
        )
    addresses = tuple(f"{place}/p2p/{peer_id}" for place in places[:MAX_ADDRESSES])
    manifest = find_manifest(config.swarm.manifest, home)
    manifest_id = manifest.id if manifest else bytes.fromhex(config.swarm.manifest)
    try:
        for address in addresses:
            parse(address)
        text = Invite(manifest_id, addresses).to_string()
    except (NetworkError, ProtocolError) as error:
        raise ConfigError(f"network.{setting} cannot be told to others: {error}") from None
    return {"invite": text, "swarm_id": manifest_id.hex(), "addresses": list(addresses)}
