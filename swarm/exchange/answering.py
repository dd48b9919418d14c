"""Answers peers' requests: the manifest by id, announced bodies by hash, heads and stretches of
logs."""

from __future__ import annotations

from protocols.limits import HASH_BYTES, MAX_SYNC_REQUEST_BYTES
from protocols.manifest import Manifest
from protocols.sync import HEADS_PROTOCOL, LOG_PROTOCOL, HeadsRequest, LogRequest, pack_heads, pack_log
from swarm.errors import NetworkError
from swarm.exchange.uplink import BODY_PROTOCOL
from swarm.net.network import Network
from swarm.pool.pool import Pool
from swarm.pool.store import log_table

MANIFEST_PROTOCOL = "/swarmd/1/manifest"


def answer_requests(network: Network, rules: Manifest, pool: Pool) -> None:
    """Serve the four protocols on a network, from the pool of a swarm with these rules."""

    async def manifest(peer: str, request: bytes) -> bytes:
        if request != rules.id:
            raise NetworkError("another swarm's manifest was asked for")
        return rules.to_toml().encode()

    async def body(peer: str, request: bytes) -> bytes:
        held = await pool.run(lambda store: store.body(request))
        if held is None:
            raise NetworkError("that body is not held here")
        return held

    async def heads(peer: str, request: bytes) -> bytes:
        asked = HeadsRequest.from_bytes(request)
        _check_swarm(rules, asked.swarm)
        return pack_heads(await pool.run(lambda store: log_table.heads(store, asked.start, asked.count)))

    async def log(peer: str, request: bytes) -> bytes:
        asked = LogRequest.from_bytes(request)
        _check_swarm(rules, asked.swarm)
        return pack_log(await pool.run(lambda store: log_table.stretch(store, asked.key, asked.first, asked.count)))

    network.serve(MANIFEST_PROTOCOL, manifest, max_request_bytes=HASH_BYTES)
    network.serve(BODY_PROTOCOL, body, max_request_bytes=HASH_BYTES)
    network.serve(HEADS_PROTOCOL, heads, max_request_bytes=MAX_SYNC_REQUEST_BYTES)
    network.serve(LOG_PROTOCOL, log, max_request_bytes=MAX_SYNC_REQUEST_BYTES)


def _check_swarm(rules: Manifest, swarm: bytes) -> None:
    if swarm != rules.id:
        raise NetworkError("another swarm's logs were asked for")
