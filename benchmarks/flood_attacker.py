"""The attacker of `flood.py`, a process of its own.

It attacks every address of a plan (JSON, its argument) in six ways at once.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
import trio.lowlevel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import NO_PREVIOUS, seal
from protocols.manifest import Manifest, epoch_of, topic
from protocols.messages import Completion, PolicyTag, RolloutGroup, Share
from protocols.recipe import Recipe
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError

OVER = 100
PREPARED = 6000
HALF_OPEN = 100
ATTACKER_CPU = 0.15
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def junk_envelopes(manifest: Manifest, count: int) -> list[bytes]:
    """Make a signed log that opens and decodes, and whose groups nobody lets in."""
    key = Ed25519PrivateKey.generate()
    signer, now_ms = key.public_key().public_bytes_raw(), time.time_ns() // 1_000_000
    epoch, rule = epoch_of(manifest, now_ms), manifest.environments[0]
    envelopes, previous = [], NO_PREVIOUS
    for number in range(count):
        recipe = Recipe(rule.name, rule.version, (("level", 0),), epoch, signer, number)
        completions = tuple(Completion(secrets.token_hex(6), True, 5, -1.0) for _ in range(manifest.min_group_size))
        group = RolloutGroup(recipe, "compact", PolicyTag("embedded", bytes(32), 1), completions, (1.0,) * len(completions))
        envelope = seal(key, number, previous, now_ms, Share(number, epoch, number, 1, (group,)), manifest.id)
        envelopes.append(envelope.to_bytes())
        previous = envelope.id
    return envelopes


class AttackBudget:
    """Keeps this process to a share of one core, and counts what it does."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._began_s = time.monotonic()
        self._cpu_before_s = time.process_time()

    def used_s(self) -> float:
        """Return the CPU seconds spent on the attack."""
        return time.process_time() - self._cpu_before_s

    async def spend(self, what: str, amount: int = 1) -> None:
        """Count an act, and rest until there is CPU time for the next."""
        self.counts[what] += amount
        over = self.used_s() - ATTACKER_CPU * (time.monotonic() - self._began_s)
        await trio.sleep(max(0.0, over / ATTACKER_CPU))


async def attack(plan: dict[str, Any]) -> dict[str, Any]:
    """Attack every address for the plan's seconds; return how often each way was tried."""
    from libp2p.exceptions import BaseLibp2pError
    from libp2p.peer.id import ID
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.stream_muxer.yamux import yamux
    from libp2p.utils.varint import encode_uvarint, encode_varint_prefixed

    from swarm.clock import WallClock
    from swarm.net.libp2p.host import open_libp2p
    from swarm.net.network import deaf

    manifest = built_in()["embedded"]
    name = topic(manifest)
    prepared = junk_envelopes(manifest, PREPARED)
    print("ready", flush=True)
    budget = AttackBudget()

    def packed(messages: list[bytes]) -> bytes:
        return b"".join(
            encode_varint_prefixed(rpc_pb2.RPC(publish=[rpc_pb2.Message(data=data, topicIDs=[name])]).SerializeToString())
            for data in messages
        )

    quota = NetworkSection().peer_messages_per_s
    batches = [packed(prepared[at : at + 100]) for at in range(0, len(prepared), 100)]

    async def valid(node: Any, victim: str) -> None:
        stream = await node._host.new_stream(ID.from_string(victim), ["/meshsub/1.1.0"])
        for batch in batches:
            await stream.write(batch)
            await budget.spend("valid messages", 100)
            # A hundred quotas a second; where reading is slower than that, writing waits.
            await trio.sleep(100 / (OVER * quota))

    async def invalid(node: Any, victim: str) -> None:
        stream = await node._host.new_stream(ID.from_string(victim), ["/meshsub/1.1.0"])
        while True:
            await stream.write(packed([secrets.token_bytes(300) for _ in range(20)]))
            await budget.spend("invalid messages", 20)

    async def oversized(node: Any, victim: str) -> None:
        while True:
            stream = await node._host.new_stream(ID.from_string(victim), ["/meshsub/1.1.0"])
            await stream.write(encode_uvarint(2**28) + bytes(1000))
            await budget.spend("oversized frames")
            await trio.sleep(0.05)

    async def pings(node: Any, victim: str) -> None:
        [connection] = node._connections(victim)
        ping = yamux.struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_ACK, 0, 7) * 1000
        while True:
            await connection.muxed_conn._write_frame(ping)
            await budget.spend("pings", 1000)
            await trio.sleep(0.02)

    async def slow(node: Any, victim: str) -> None:
        [connection] = node._connections(victim)
        held: list[Any] = []
        while True:
            if len(held) < 300:
                held.append(await connection.muxed_conn.open_stream())
                await budget.spend("slow streams")
            stream = await node._host.new_stream(ID.from_string(victim), ["/meshsub/1.1.0"])
            await stream.write(encode_uvarint(1_000_000) + b"x")
            held.append(stream)
            await budget.spend("slow frames")
            await trio.sleep(0.05)

    async def identity(way: Callable[[Any, str], Awaitable[None]], victim: str) -> None:
        async with open_libp2p(
            secrets.token_bytes(32),
            deaf(name),
            clock=WallClock(),
            config=NetworkSection(listen=(LOOPBACK,), mdns=False, request_timeout_s=2.0),
        ) as node:
            # It goes its own way: discovery would make it a good neighbour.
            node.discovery._target = 0  # type: ignore[attr-defined] # of libp2p's nodes only
            while True:
                with suppress(NetworkError, BaseLibp2pError, trio.TooSlowError, ValueError):
                    await node.dial(victim)
                    await budget.spend("connections")
                    with trio.fail_after(20):
                        await way(node, victim.rpartition("/p2p/")[2])
                await trio.sleep(0.5)

    async def half_open(victim: str) -> None:
        port = int(victim.split("/")[4])
        held: list[socket.socket] = []
        while True:
            for each in list(held):
                with suppress(BlockingIOError):
                    with suppress(OSError):
                        if each.recv(1000):
                            continue
                    each.close()
                    held.remove(each)
            while len(held) < HALF_OPEN:
                with suppress(OSError):
                    each = socket.create_connection(("127.0.0.1", port), timeout=1.0)
                    each.setblocking(False)
                    each.send(b"\x13/multi")
                    held.append(each)
                await budget.spend("half-open connections")
            await trio.sleep(1.0)

    with trio.move_on_after(plan["seconds"]):
        async with trio.open_nursery() as nursery:
            for victim in plan["addresses"]:
                for way in (valid, invalid, oversized, pings, slow):
                    nursery.start_soon(identity, way, victim)
                nursery.start_soon(half_open, victim)
    return {"tries": dict(budget.counts), "cpu_s": round(budget.used_s(), 2)}


if __name__ == "__main__":
    print(json.dumps(trio.run(attack, json.loads(sys.argv[1]))))
