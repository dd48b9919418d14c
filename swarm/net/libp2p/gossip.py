"""One topic over GossipSub, with settings for messages of 1-700 KB that come a few per second.

py-libp2p's router keeps the mesh (GRAFT, PRUNE, IHAVE, IWANT, heartbeats; see `mesh.py`).
`TopicPubsub` replaces the reading of RPCs and the decisions on messages: the defaults lose or delay
messages and cost several times the CPU (measured).

A message is known by the SHA-256 of its data, not by sender and sequence number. py-libp2p's
numbers start at the clock's seconds. A node that published more than one message per second and
restarts would repeat numbers, and be mute.

Every peer is read at its quota's pace, so that a flood waits at its sender. A node forwards less
than a receiver accepts, so a flood makes no flooders of its receivers.

Messages are not signed a second time (libp2p's "StrictNoSign"). Our envelopes carry their author's
signature, which the validator checks before a message is delivered or forwarded. Unsigned messages
save CPU at every hop and 200 bytes per copy, and do not name their author to the network. js-libp2p
and go-libp2p know `StrictNoSign` and use the same content id with it.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.utils.varint import encode_varint_prefixed

from swarm.errors import NetworkError
from swarm.net.guard import Guard
from swarm.net.inbox import Inbox
from swarm.net.libp2p.framing import CHUNK_BYTES, VarintFrames
from swarm.net.libp2p.mesh import MeshRouter, OutgoingQueue, content_id
from swarm.net.quota import REPEAT_COST, Flow
from swarm.net.tally import Tally

MAX_RPC_BYTES = 1024 * 1024  # libp2p's own limit; `MAX_MESSAGE_BYTES` stays below it
MAX_SUBSCRIPTIONS_PER_RPC = 16
MAX_CONTROL = 64  # control messages of a kind in one RPC; with one topic, honest ones have one or two
MAX_GOSSIP_STREAMS = 2  # of one peer, also while it reconnects; each may hold an unfinished frame
FRAME_S = 30.0  # for a frame after its first byte; a megabyte on a slow line takes ten

logger = logging.getLogger(__name__)


class TopicPubsub(Pubsub):  # type: ignore[misc]
    """Publishes and receives on one topic; received messages go to the inbox."""

    def __init__(self, host: IHost, router: MeshRouter, topic: str, inbox: Inbox, tally: Tally, guard: Guard) -> None:
        super().__init__(
            host,
            router,
            strict_signing=False,
            msg_id_constructor=content_id,
            max_subscriptions_per_rpc=MAX_SUBSCRIPTIONS_PER_RPC,
            max_inbound_rpc_size=MAX_RPC_BYTES,
            allowed_topics=frozenset({topic}),
        )
        # The inbox remembers seen messages; py-libp2p's own cache takes a thread per host.
        super().__getattribute__("seen_messages").stop()
        self.seen_messages: Any = inbox
        self.topic = topic
        self._inbox = inbox
        self._tally = tally
        self._guard = guard
        self._streams: dict[ID, list[INetStream]] = {}

    async def send(self, data: bytes) -> None:
        """Publish `data` on the topic. Raises `NetworkError` if it is too large."""
        self._inbox.published(data)
        await self.router.publish(self.my_id, rpc_pb2.Message(data=data, topicIDs=[self.topic]))
        await trio.lowlevel.checkpoint()

    def subscribers(self) -> frozenset[str]:
        """Return the peers that have shown the topic."""
        return frozenset(str(peer_id) for peer_id in self.peer_topics.get(self.topic, ()))

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> bool:
        """Deliver and forward a peer's message if it is new and valid; return whether it was."""
        if list(msg.topicIDs) != [self.topic]:
            return False
        rejected = self._tally["rejected"]
        if self._inbox.arrived(msg.data, str(msg_forwarder)):
            if self._guard.quotas.may_forward(str(msg_forwarder), len(msg.data)):
                # Rebuilt, so that nobody can have us forward bytes outside the content's hash.
                await self.router.publish(msg_forwarder, rpc_pb2.Message(data=msg.data, topicIDs=[self.topic]))
            else:
                self._tally["not_forwarded"] += 1
            return True
        if self._tally["rejected"] > rejected:
            # Its forwarder should have checked it.
            self._guard.invalid(str(msg_forwarder), "messages")
        return False

    async def stream_handler(self, stream: INetStream) -> None:
        """Read a peer's RPCs until its stream ends."""
        peer_id = stream.muxed_conn.peer_id
        streams = self._streams.setdefault(peer_id, [])
        streams.append(stream)
        try:
            if len(streams) > MAX_GOSSIP_STREAMS:
                self._guard.invalid(str(peer_id), "streams of gossip, too many")
                await streams.pop(0).reset()
            await self.continuously_read_stream(stream)
        except (DecodeError, NetworkError) as error:
            logger.info("%s broke the gossip protocol: %s", peer_id, error)
            self._guard.invalid(str(peer_id), "frames")
        except (BaseLibp2pError, EOFError):
            logger.debug("gossip from %s ended", peer_id)
        finally:
            if stream in streams:
                streams.remove(stream)
            if not streams:
                self._streams.pop(peer_id, None)
        await stream.reset()
        if not streams:
            self._handle_dead_peer(peer_id)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Read and handle RPCs until the stream ends or the peer is refused.

        Raises `NetworkError` for a frame that is too long or too slow, and `DecodeError` for bytes
        that are no RPC. A broken stream raises py-libp2p's errors.
        """
        peer_id = stream.muxed_conn.peer_id
        frames = VarintFrames(MAX_RPC_BYTES)
        begun_s = trio.current_time()
        while True:
            with trio.move_on_at(begun_s + FRAME_S if frames.unfinished else math.inf) as limit:
                chunk = await stream.read()
            if limit.cancelled_caught:
                raise NetworkError(f"a frame is not finished after {FRAME_S:g} s")
            if not chunk:
                return
            began = not frames.unfinished
            whole = frames.feed(chunk)
            for frame in whole:
                rpc = rpc_pb2.RPC()
                rpc.ParseFromString(frame)
                await self._handle(peer_id, rpc)
                if self._guard.refusal(str(peer_id)):
                    return
            await self._guard.pace(str(peer_id), Flow.GOSSIP, len(chunk))
            if began or whole:
                begun_s = trio.current_time()

    async def _handle(self, peer_id: ID, rpc: Any) -> None:
        for message in rpc.publish:
            repeats = self._tally["duplicates"]
            await self.push_msg(peer_id, message)
            # An ignored or rejected message has cost a check of its signature too.
            cost = REPEAT_COST if self._tally["duplicates"] > repeats else 1
            # Otherwise a frame of many small messages is handled in one go, and the loop waits.
            await trio.lowlevel.checkpoint()
            await self._guard.pace(str(peer_id), Flow.MESSAGES, cost)
            if self._guard.refusal(str(peer_id)):
                return
        for subscription in rpc.subscriptions[:MAX_SUBSCRIPTIONS_PER_RPC]:
            self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            control = rpc.control
            if max(len(control.ihave), len(control.iwant), len(control.graft), len(control.prune)) > MAX_CONTROL:
                raise NetworkError(f"more than {MAX_CONTROL} control messages of a kind in one RPC")
            rpc.ClearField("senderRecord")
            await self.router.handle_rpc(rpc, peer_id)
        if not rpc.publish:
            await self._guard.pace(str(peer_id), Flow.MESSAGES, REPEAT_COST)

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: Any) -> None:
        """Write a peer's outgoing queue to its stream."""
        bounded = OutgoingQueue(self._tally)
        while (rpc := queue._queue.pop()) is not None:
            bounded.push(rpc)
        queue._queue = bounded
        try:
            while (rpc := await queue.pop()) is not None:
                frames = [encode_varint_prefixed(rpc.SerializeToString())]
                # Waiting RPCs go into the same write: a burst costs a few frames of Yamux and
                # Noise, not hundreds.
                while sum(map(len, frames)) < CHUNK_BYTES and (rpc := queue._queue.pop()) is not None:
                    frames.append(encode_varint_prefixed(rpc.SerializeToString()))
                await stream.write(b"".join(frames))
        except BaseLibp2pError:
            logger.debug("gossip to %s ended", peer_id)
            self._handle_dead_peer(peer_id)
