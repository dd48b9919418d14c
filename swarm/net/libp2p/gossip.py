"""One topic over GossipSub, with settings for messages of 1-700 KB that come a few per second.

py-libp2p's router keeps the mesh (GRAFT, PRUNE, IHAVE, IWANT, heartbeats). Replaced are the two places every message goes
through, since their defaults lose or delay messages and cost several times the CPU (measured; see the comments):

* `TopicPubsub` reads RPCs and decides on messages. A message is known by the SHA-256 of its data, not by sender and sequence
  number: py-libp2p's numbers start at the clock's seconds, so a node that published more than one message per second and
  restarts is taken for repeating itself and is mute.
* `MeshRouter` forwards to the mesh. Gossip's caches use the same content ids; otherwise every IHAVE would be answered by
  an IWANT for messages that are there already.

Messages are not signed a second time (libp2p's "StrictNoSign"): our envelopes carry their author's signature, which the
validator checks before a message is delivered or forwarded. Unsigned messages save CPU at every hop and 200 bytes per copy,
and do not name their author to the network. js-libp2p and go-libp2p know `StrictNoSign` and use the same content id with it.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.utils.varint import encode_varint_prefixed

from swarm.errors import NetworkError
from swarm.net.inbox import Inbox, Tally
from swarm.net.libp2p.framing import CHUNK_BYTES, VarintFrames

# 1.2 adds IDONTWANT, which costs a control message per message and peer, and in py-libp2p a 32-slot queue that loses bursts.
PROTOCOLS = ("/meshsub/1.1.0", "/meshsub/1.0.0")
# Wire bytes per payload byte and CPU per delivery, 8 nodes, 8 KB: 6 (4-12) 4.9 and 2.3 ms, 4 (3-6) 3.5 and 1.9 ms,
# 3 (2-4) 2.0 and 1.2 ms. None lost a message, also while 4 of 14 nodes left; 4 keeps a spare link more than 3.
DEGREE, DEGREE_LOW, DEGREE_HIGH = 4, 3, 6
HEARTBEAT_S = 1  # py-libp2p's default of 120 s takes minutes to build a mesh
GOSSIP_WINDOW, GOSSIP_HISTORY = 3, 5  # heartbeats for which a message is advertised, and kept for those who ask
OUTGOING_QUEUE = 512  # RPCs waiting per peer; py-libp2p's 32 delivers 17 of a burst of 30
MAX_RPC_BYTES = 1024 * 1024  # libp2p's own limit; `MAX_MESSAGE_BYTES` stays below it
MAX_SUBSCRIPTIONS_PER_RPC = 16
MAX_REJECTED = 20  # invalid messages from one peer before it is disconnected; one can slip through by a version's mistake
BAN_S = 600.0  # and then not listened to for so long; without gossip it counts as a stranger, whom discovery disconnects

# New messages taken from one forwarder: a rate, and how far it may be exceeded at once. A flood is read no faster than this,
# so it waits at its sender and costs at most a few tenths of this node's CPU.
MESSAGES_PER_S = 100.0
BURST = 1000.0

logger = logging.getLogger(__name__)


class Pace:
    """A token bucket: says how long to wait before more is read."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_s = trio.current_time()

    def wait_s(self, spent: int) -> float:
        """Seconds to wait after `spent` more messages."""
        now = trio.current_time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_s) * self._rate) - spent
        self._filled_s = now
        return max(0.0, -self._tokens / self._rate)


def content_id(message: Any) -> bytes:
    """A message's id on the wire: SHA-256 of its data (32 bytes)."""
    return hashlib.sha256(message.data).digest()


class ContentCache(MessageCache):  # type: ignore[misc]
    """The last heartbeats' messages by content id."""

    def put(self, msg: Any) -> None:
        """Keep a message for those who ask for it."""
        message_id = content_id(msg)
        if message_id not in self.msgs:
            self.msgs[message_id] = msg
            self.history[0].append(CacheEntry(message_id, msg.topicIDs))


class MeshRouter(GossipSub):  # type: ignore[misc]
    """GossipSub's mesh and gossip, forwarding without copies."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(
            protocols=PROTOCOLS,
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            heartbeat_initial_delay=0.1,
            gossip_window=GOSSIP_WINDOW,
            gossip_history=GOSSIP_HISTORY,
            # A health guess sets the heartbeat back to 60 s and more when few messages flow.
            adaptive_gossip_enabled=False,
            # Ten messages per second and forwarder would refuse an honest, busy forwarder; admission has its own quotas.
            spam_protection_enabled=False,
            # A swarm on one machine or behind one address is ordinary here.
            eclipse_protection_enabled=False,
        )
        # Scores without tuned weights prune honest peers (same address, short time in the mesh); see MAX_REJECTED instead.
        self.scorer = None
        self.mcache = ContentCache(GOSSIP_WINDOW, GOSSIP_HISTORY)
        self._tally = tally

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        """Send a message to the mesh, except back to where it came from."""
        self.mcache.put(pubsub_msg)
        # One RPC object for all peers: nobody changes it, and each peer's queue serialises it when its turn comes.
        packet = rpc_pb2.RPC(publish=[pubsub_msg])
        for peer_id in self.mesh.get(pubsub_msg.topicIDs[0], set()) - {msg_forwarder}:
            # What this node wrote itself goes ahead of what it forwards: a flood must not silence those it passes through.
            self._queue(peer_id, packet, priority=msg_forwarder == self.pubsub.my_id)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Bring a new subscriber up to date with the last heartbeats' messages.

        Through its queue: py-libp2p writes to the stream past it, and two writers' large messages end up interleaved.
        """
        for message_id in self.mcache.window(topic):
            if message := self.mcache.get(message_id):
                self._queue(peer_id, rpc_pb2.RPC(publish=[message]))

    def _queue(self, peer_id: ID, packet: Any, *, priority: bool = False) -> None:
        queue = self.pubsub.peer_queues.get(peer_id)
        if queue is not None and not queue.push(packet, priority=priority):
            self._tally["sends_dropped"] += 1

    async def emit_control_message(self, control_msg: Any, to_peer: ID) -> None:
        """Send a control message, without py-libp2p's signed address record, whose check costs more than the message."""
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)


class TopicPubsub(Pubsub):  # type: ignore[misc]
    """Publishes and receives on one topic; what is new and valid goes to the inbox."""

    def __init__(self, host: IHost, router: MeshRouter, topic: str, inbox: Inbox, tally: Tally) -> None:
        super().__init__(
            host,
            router,
            strict_signing=False,
            msg_id_constructor=content_id,
            max_subscriptions_per_rpc=MAX_SUBSCRIPTIONS_PER_RPC,
            max_inbound_rpc_size=MAX_RPC_BYTES,
            allowed_topics=frozenset({topic}),
        )
        # The inbox knows what was seen; py-libp2p's own cache is a thread per host.
        super().__getattribute__("seen_messages").stop()
        self.seen_messages: Any = inbox
        self._topic = topic
        self._inbox = inbox
        self._tally = tally
        self._rejected: dict[ID, int] = {}
        self._banned_until_s: dict[ID, float] = {}

    async def send(self, data: bytes) -> None:
        """Publish `data` on the topic."""
        self._inbox.published(data)
        await self.router.publish(self.my_id, rpc_pb2.Message(data=data, topicIDs=[self._topic]))
        await trio.lowlevel.checkpoint()

    def subscribers(self) -> frozenset[str]:
        """The peers that have shown the topic."""
        return frozenset(str(peer_id) for peer_id in self.peer_topics.get(self._topic, ()))

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> bool:
        """Deliver and forward a peer's message if it is new and valid, and say whether it was."""
        if list(msg.topicIDs) != [self._topic]:
            return False
        rejected = self._tally["rejected"]
        if self._inbox.arrived(msg.data, str(msg_forwarder)):
            # Rebuilt, so that nobody can have us forward what is not in the content's hash.
            await self.router.publish(msg_forwarder, rpc_pb2.Message(data=msg.data, topicIDs=[self._topic]))
            return True
        if self._tally["rejected"] > rejected:
            await self._blame(msg_forwarder)
        return False

    async def _blame(self, peer_id: ID) -> None:
        """Count an invalid message against its forwarder, who should have checked it, and part from repeat offenders."""
        self._rejected[peer_id] = self._rejected.get(peer_id, 0) + 1
        if self._rejected[peer_id] >= MAX_REJECTED:
            logger.warning("disconnecting %s: %d invalid messages", peer_id, self._rejected.pop(peer_id))
            now = trio.current_time()
            self._banned_until_s = {other: until for other, until in self._banned_until_s.items() if until > now}
            self._banned_until_s[peer_id] = now + BAN_S
            self.manager.run_task(self.host.disconnect, peer_id)

    async def stream_handler(self, stream: INetStream) -> None:
        """Read a peer's RPCs until its stream ends."""
        peer_id = stream.muxed_conn.peer_id
        if self._banned_until_s.get(peer_id, 0.0) > trio.current_time():
            await stream.reset()
            return
        try:
            await self.continuously_read_stream(stream)
        except (DecodeError, NetworkError) as error:
            logger.info("%s broke the gossip protocol: %s", peer_id, error)
            await self._blame(peer_id)
        except (BaseLibp2pError, EOFError):
            logger.debug("gossip from %s ended", peer_id)
        await stream.reset()
        self._handle_dead_peer(peer_id)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Read and handle RPCs. Raises at the end of the stream, or for bytes that are not RPCs."""
        peer_id = stream.muxed_conn.peer_id
        frames = VarintFrames(MAX_RPC_BYTES)
        pace = Pace(MESSAGES_PER_S, BURST)
        while chunk := await stream.read():
            for frame in frames.feed(chunk):
                rpc = rpc_pb2.RPC()
                rpc.ParseFromString(frame)
                new = await self._handle(peer_id, rpc)
                if wait_s := pace.wait_s(new):
                    await trio.sleep(wait_s)

    async def _handle(self, peer_id: ID, rpc: Any) -> int:
        new = 0
        for message in rpc.publish:
            new += await self.push_msg(peer_id, message)
            # A frame of many small messages is handled in one go otherwise, and the loop waits.
            await trio.lowlevel.checkpoint()
        for subscription in rpc.subscriptions[:MAX_SUBSCRIPTIONS_PER_RPC]:
            self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            rpc.ClearField("senderRecord")
            await self.router.handle_rpc(rpc, peer_id)
        return new

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: Any) -> None:
        """Write a peer's outgoing queue to its stream."""
        queue._queue.max_size = OUTGOING_QUEUE
        try:
            while (rpc := await queue.pop()) is not None:
                frames = [encode_varint_prefixed(rpc.SerializeToString())]
                # What else is waiting goes into the same write: a burst then costs a few frames of Yamux and Noise, not hundreds.
                while sum(map(len, frames)) < CHUNK_BYTES and (rpc := queue._queue.pop()) is not None:
                    frames.append(encode_varint_prefixed(rpc.SerializeToString()))
                await stream.write(b"".join(frames))
        except BaseLibp2pError:
            logger.debug("gossip to %s ended", peer_id)
            self._handle_dead_peer(peer_id)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        super()._handle_dead_peer(peer_id)
        if peer_id not in self.peers:
            self._rejected.pop(peer_id, None)
