"""Arrivals on streams: frames, requests and answers of peers, lines on the operator's socket.

What is fuzzed is imported where it is used: each target has a process of its own, and libp2p takes
a second to import.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from fuzz import seeds
from fuzz.target import Check, Target, at_once, refusing
from protocols.codec import decode, encode
from protocols.envelope import open_envelope
from protocols.limits import MAX_BODY_BYTES, MAX_HEADS, MAX_LOG_BYTES, MAX_LOG_ENVELOPES
from protocols.manifest import Manifest
from protocols.peer_id import peer_id
from protocols.sync import HeadsRequest, LogRequest
from protocols.vectors import make as make_vectors
from protocols.vectors.faults import MANIFEST
from swarm.clock import WallClock
from swarm.config.schema import PoolSection
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope

MAX_FRAME_BYTES = 1000
STRANGER = peer_id(make_vectors.BOB)
TOKEN = "0" * 64

Prepared = tuple[Check, Sequence[bytes]]


class InlinePool:
    """A store without a thread of its own."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="fuzz-")
        self.store = Store(
            Path(self._folder.name, "pool.sqlite"), PoolSection(max_groups=1000, max_bytes=10_000_000, groups_per_peer=1000)
        )

    async def run(self, work: Any) -> Any:
        return work(self.store)

    def close(self) -> None:
        self.store.close()
        self._folder.cleanup()


def varint_frames() -> Prepared:
    """However a stream is cut into chunks, the same frames come out, none over the limit."""
    from libp2p.utils.varint import encode_varint_prefixed

    from swarm.net.libp2p.framing import VarintFrames

    def frames(chunks: list[bytes]) -> list[bytes]:
        reader = VarintFrames(MAX_FRAME_BYTES)
        return [frame for chunk in chunks for frame in reader.feed(chunk)]

    def read(data: bytes) -> None:
        whole = frames([data])
        assert all(len(frame) <= MAX_FRAME_BYTES for frame in whole)
        assert frames([data[place : place + 7] for place in range(0, len(data), 7)]) == whole

    good = [encode_varint_prefixed(bytes(size)) for size in (0, 1, 127, 128, MAX_FRAME_BYTES)]
    return refusing(read), [*good, b"".join(good), b"\x80\x00"]


class _Stream:
    def __init__(self, data: bytes, chunk: int) -> None:
        self._data, self._chunk = data, chunk

    async def read(self, count: int) -> bytes:
        taken, self._data = self._data[: min(count, self._chunk)], self._data[min(count, self._chunk) :]
        return taken


def request_frames() -> Prepared:
    """One frame of a request, in chunks of any size."""
    from swarm.net.libp2p.request import _read

    def read(data: bytes) -> None:
        for chunk in (1, 1000):
            try:
                frame = at_once(_read(_Stream(data, chunk), MAX_FRAME_BYTES))
            except EOFError:
                continue
            assert (len(frame), frame) == (struct.unpack(">I", data[:4])[0], data[4 : 4 + len(frame)])

    return refusing(read), [struct.pack(">I", size) + bytes(size) for size in (0, 1, 200, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1)]


def gossip() -> Prepared:
    """A peer's stream of GossipSub RPCs, read by the real router with that peer in its mesh."""
    from libp2p.peer.id import ID
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.utils.varint import encode_varint_prefixed

    from swarm.config.schema import NetworkSection
    from swarm.net.guard import Guard
    from swarm.net.inbox import Inbox
    from swarm.net.libp2p.gate import Gate
    from swarm.net.libp2p.gossip import TopicPubsub
    from swarm.net.libp2p.host import _assemble
    from swarm.net.libp2p.mesh import MeshRouter
    from swarm.net.libp2p.transport import CountedTCP
    from swarm.net.line import Line
    from swarm.net.network import Subscription, Verdict
    from swarm.net.tally import Tally

    clock, peer = MockClock(autojump_threshold=0), ID.from_string(STRANGER)

    async def both(data: bytes) -> None:
        config, tally = NetworkSection(), Tally()
        guard = Guard(config, tally, WallClock())
        tcp = CountedTCP(None, tally, guard, Gate(config, guard), Line(0))  # type: ignore[arg-type] # nothing listens
        hearing = Subscription("topic", lambda message: message if message[:1] != b"x" else Verdict.REJECT, lambda _: 0)
        inbox = Inbox(hearing, tally)
        router = MeshRouter(tally, guard)
        pubsub = TopicPubsub(_assemble(bytes(32), config, tcp, tally, guard), router, "topic", inbox, tally, guard)
        router.attach(pubsub)
        router.mesh["topic"] = {peer}
        tasks: list[Any] = []
        pubsub._manager = SimpleNamespace(is_running=True, run_task=lambda task, *arguments: tasks.append(task(*arguments)))
        chunks = iter((data[:50], data[50:], b""))

        async def read() -> bytes:
            return next((chunk for chunk in chunks if chunk), b"")

        async def reset() -> None: ...

        await pubsub.stream_handler(SimpleNamespace(muxed_conn=SimpleNamespace(peer_id=peer), read=read, reset=reset))
        for task in tasks:
            await task
        assert not pubsub._streams
        assert set(router.mesh) == {"topic"}
        assert pubsub.peer_topics.keys() <= {"topic"}

    def rpc(**fields: Any) -> bytes:
        framed: bytes = encode_varint_prefixed(rpc_pb2.RPC(**fields).SerializeToString())
        return framed

    control: dict[str, Any] = {
        "graft": [rpc_pb2.ControlGraft(topicID="topic")],
        "prune": [rpc_pb2.ControlPrune(topicID="topic", backoff=60)],
        "ihave": [rpc_pb2.ControlIHave(topicID="topic", messageIDs=[bytes(32)])],
        "iwant": [rpc_pb2.ControlIWant(messageIDs=[bytes(32)])],
    }
    good = [rpc(control=rpc_pb2.ControlMessage(**{name: value})) for name, value in control.items()]
    good.append(rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="topic")]))
    good += [rpc(publish=[rpc_pb2.Message(data=data, topicIDs=["topic"])]) for data in (b"x", b"a message", b"")]
    return lambda data: trio.run(both, data, clock=clock), [*good, b"".join(good)]


def handlers() -> Prepared:
    """Every request that a node answers; the first byte chooses the protocol."""
    from swarm.beacon.beacon import DrandBeacon
    from swarm.beacon.sources import REQUEST_BYTES
    from swarm.config.schema import Config, SwarmSection
    from swarm.context import Context
    from swarm.exchange.answering import answer_requests
    from swarm.home import Home
    from swarm.identity import Identity

    manifest, pool = Manifest.from_toml(MANIFEST), InlinePool()
    served: list[tuple[Any, int]] = []
    network = SimpleNamespace(serve=lambda protocol, handler, max_request_bytes: served.append((handler, max_request_bytes)))
    answer_requests(network, manifest, pool)  # type: ignore[arg-type] # all that it asks of them
    drand = next(found for each in seeds.vectors("manifests")["valid"] if (found := Manifest.from_toml(each["toml"])).drand)
    config = Config(swarm=SwarmSection(beacon_urls=()))
    context = Context(Home(Path("no home")), Identity(Ed25519PrivateKey.generate()), config, drand, WallClock())
    beacon = DrandBeacon(context, pool, lambda: None)  # type: ignore[arg-type] # a pool in this thread
    served.append((beacon.answer, REQUEST_BYTES))
    for data in (seeds.raw(each["bytes"]) for each in seeds.vectors("envelopes")["valid"]):
        envelope = open_envelope(data, manifest.id)
        pool.store.add_envelope(StoredEnvelope(envelope.id, envelope.key, envelope.sequence, 0, data, envelope.id, b"a body"))

    def read(data: bytes) -> None:
        handler, limit = served[data[0] % len(served)] if data else served[0]
        if len(data) - 1 > limit:
            return
        assert len(at_once(handler(STRANGER, data[1:]))) <= max(MAX_BODY_BYTES, MAX_LOG_BYTES)

    requests = [
        manifest.id,
        envelope.id,
        HeadsRequest(manifest.id, bytes(32), MAX_HEADS).to_bytes(),
        LogRequest(manifest.id, make_vectors.ALICE, 0, MAX_LOG_ENVELOPES).to_bytes(),
        (1).to_bytes(REQUEST_BYTES),
    ]
    return refusing(read), [bytes([number]) + each for each in requests for number in range(len(served))]


def peer_exchange() -> Prepared:
    """Asked whom this node knows, and told whom another knows."""
    from swarm.net.libp2p.book import MAX_PEERS, AddressBook
    from swarm.net.libp2p.discovery import MAX_EXCHANGE_BYTES, Discovery

    answer = b""

    async def ask(peer: str, protocol: str, request: bytes, max_bytes: int) -> bytes:
        return answer

    async def both(data: bytes) -> None:
        nonlocal answer
        host = SimpleNamespace(
            peer_id=peer_id(make_vectors.ALICE),
            addresses=tuple,
            connected=lambda: frozenset((STRANGER,)),
            nearby=lambda peer: True,
        )
        book = AddressBook(host.peer_id, None)
        discovery = Discovery(host, book, "topic", ask, 12)
        answer = data
        await discovery._exchange(STRANGER)
        try:
            assert len(decode(await discovery.answer(STRANGER, data), MAX_EXCHANGE_BYTES)) <= 32
        finally:
            assert len(book.entries) <= MAX_PEERS

    address = f"/ip4/127.0.0.1/tcp/4711/p2p/{STRANGER}"
    good = [
        encode(["topic", [address]]),
        encode([[address, address.replace("127.0.0.1", "192.0.2.1")], []]),
        encode(["topic", []]),
    ]
    others = [encode([[address.replace("/ip4/127.0.0.1", host)]]) for host in ("/ip6/::1", "/dns4/example.org", "/ip4/0.0.0.0")]
    return refusing(lambda data: trio.run(both, data)), good + others


def drand_web() -> Prepared:
    """What a drand server on the web answers."""
    from unittest.mock import patch

    from protocols.limits import ROUND_SIGNATURE_BYTES
    from swarm.beacon.drand_web import fetch_round

    class Response(io.BytesIO):
        """As `urlopen` gives it."""

    def read(data: bytes) -> None:
        with patch("urllib.request.urlopen", lambda request, timeout: Response(data)):
            assert len(fetch_round("https://drand.example", bytes(32), 1)) == ROUND_SIGNATURE_BYTES

    good = json.dumps({"round": 1, "signature": "00" * ROUND_SIGNATURE_BYTES, "randomness": "00" * 32}).encode()
    return refusing(read), [good, b'{"signature": 1}', b"[" * 2000, b'"' + b"0" * 4000]


def control_lines() -> Prepared:
    """The operator's socket is answered with JSON, whatever is written to it."""
    from swarm.node.control import _result

    async def verb(request: Any) -> Any:
        return {"verb": str(request)}

    def read(data: bytes) -> None:
        answer = at_once(_result(data, {"status": verb, "save": verb}, TOKEN))
        assert json.loads(json.dumps(answer))["ok"]

    good = [json.dumps({"token": TOKEN, "verb": each, "to": "/tmp"}).encode() + b"\n" for each in ("status", "save", "none")]
    return refusing(read), [*good, b'{"token": "\\ud800", "verb": []}\n', b"[" * 3000]


TARGETS = (
    Target("varint-frames", varint_frames, max_bytes=1200, cost=4),
    Target("request-frames", request_frames, cost=2),
    Target("gossip", gossip, bytes_per_byte=512, fixed_bytes=2**20, max_bytes=1200, cost=20),
    Target("handlers", handlers, fixed_bytes=MAX_LOG_BYTES, cost=2),
    Target("peer-exchange", peer_exchange, bytes_per_byte=512, cost=5),
    Target("drand-web", drand_web, bytes_per_byte=512, fixed_bytes=2**18, cost=2),
    Target("control-lines", control_lines, bytes_per_byte=512),
)
