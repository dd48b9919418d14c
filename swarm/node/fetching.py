"""Fetches a swarm's manifest from its members: for a daemon, and before a home's model is
chosen."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence

import trio

from protocols.limits import MAX_MANIFEST_BYTES
from protocols.manifest import Manifest, topic_of
from protocols.reasons import ProtocolError
from swarm.clock import WallClock
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError, SwarmdError
from swarm.exchange.answering import MANIFEST_PROTOCOL
from swarm.net.libp2p import open_libp2p
from swarm.net.network import Network, deaf

ANSWERED_WITHIN_S = 10.0


async def ask_for_manifest(
    network: Network, swarm_id: str, addresses: Sequence[str]
) -> AsyncIterator[tuple[str, str | SwarmdError | ProtocolError | UnicodeDecodeError]]:
    """Ask the members at `addresses` in turn; yield each address with the manifest's text, or with
    the reason why there is none."""
    wanted = bytes.fromhex(swarm_id)
    for address in addresses:
        try:
            peer = await network.dial(address)
            text = (await network.request(peer, MANIFEST_PROTOCOL, wanted, MAX_MANIFEST_BYTES)).decode()
            if Manifest.from_toml(text).id != wanted:
                raise NetworkError("it answered with another swarm's manifest")
        except (NetworkError, ProtocolError, UnicodeDecodeError) as error:
            yield address, error
        else:
            yield address, text


def fetch_manifest_once(swarm_id: str, addresses: Sequence[str]) -> str | None:
    """Return the manifest's text from the first member that has it; None if nobody answers within
    `ANSWERED_WITHIN_S`.

    Asks under a key of its own, which nobody meets again.
    """

    async def fetch() -> str | None:
        config = NetworkSection(listen=("/ip4/127.0.0.1/tcp/0",), mdns=False)
        with trio.move_on_after(ANSWERED_WITHIN_S):
            async with open_libp2p(
                secrets.token_bytes(32), deaf(topic_of(swarm_id)), clock=WallClock(), config=config
            ) as network:
                async for _, found in ask_for_manifest(network, swarm_id, addresses):
                    if isinstance(found, str):
                        return found
        return None

    return trio.run(fetch)
