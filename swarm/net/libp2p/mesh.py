"""The mesh of neighbours that get a topic's messages: py-libp2p's GossipSub, cheaper and bounded.

* It forwards without copies, and knows messages by the SHA-256 of their data, in gossip too.
  Otherwise every IHAVE would be answered by an IWANT for messages that are there already.
* A peer's demands are bounded. py-libp2p answers an IWANT that names one message ten thousand times
  with ten thousand copies. It remembers pauses for topics that a peer invents, and dials any peer
  that a PRUNE proposes.
* Queues and caches are bounded in bytes as well as in number.
* py-libp2p's peer scores stay off. Without weights tuned to a swarm's traffic they prune honest
  peers (same address, short time in the mesh). Quotas (`swarm.net.guard`) cut off harmful peers,
  and the node's own peer scores tell the better neighbours.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import PriorityQueue
from libp2p.pubsub.utils import safe_bytes_from_hex

from swarm.net.guard import NEUTRAL, Guard
from swarm.net.tally import Tally

# 1.2 adds IDONTWANT, which costs a control message per message and peer, and in py-libp2p a 32-slot
# queue that loses bursts.
PROTOCOLS = ("/meshsub/1.1.0", "/meshsub/1.0.0")
# Wire bytes per payload byte and CPU per delivery, 8 nodes, 8 KB: degree 6 (4-12) 4.9 and 2.3 ms,
# 4 (3-6) 3.5 and 1.9 ms, 3 (2-4) 2.0 and 1.2 ms. No message was lost, also while 4 of 14 nodes
# left; 4 has one spare link more than 3.
DEGREE, DEGREE_LOW, DEGREE_HIGH = 4, 3, 6
HEARTBEAT_S = 1  # py-libp2p's default of 120 s takes minutes to build a mesh
GOSSIP_WINDOW, GOSSIP_HISTORY = 3, 5  # heartbeats for which a message is advertised, and kept
OUTGOING_QUEUE = 512  # RPCs waiting per peer; py-libp2p's 32 delivers 17 of a burst of 30
OUTGOING_BYTES = 16 * 2**20  # and their bytes
CACHE_BYTES = 32 * 2**20  # of the last heartbeats' messages, for peers that lack one
MAX_IDS = 5000  # message ids read of an IHAVE or IWANT
ALL = 1 << 30


def content_id(message: Any) -> bytes:
    """Return a message's id on the wire: the SHA-256 of its data (32 bytes)."""
    return hashlib.sha256(message.data).digest()


class ContentCache(MessageCache):  # type: ignore[misc]
    """The last heartbeats' messages by content id, bounded in bytes."""

    _bytes = 0

    def put(self, msg: Any) -> None:
        """Keep a message for peers that ask for it."""
        message_id = content_id(msg)
        if message_id not in self.msgs:
            self.msgs[message_id] = msg
            self.history[0].append(CacheEntry(message_id, msg.topicIDs))
            self._bytes += len(msg.data)
            while self._bytes > CACHE_BYTES:
                # The dropped message's entry in the history stays, and finds nothing.
                self._bytes -= len(self.msgs.pop(next(iter(self.msgs))).data)

    def shift(self) -> None:
        """Drop the oldest heartbeat's messages."""
        self._bytes -= sum(len(self.msgs[entry.mid].data) for entry in self.history[-1] if entry.mid in self.msgs)
        super().shift()


class OutgoingQueue(PriorityQueue):  # type: ignore[misc]
    """A peer's outgoing RPCs, bounded in number and bytes. RPCs that do not fit are counted."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(OUTGOING_QUEUE)
        self._tally = tally
        self._bytes = 0

    def push(self, rpc: Any, priority: bool = False) -> bool:
        """Add an RPC if there is room; return whether there was."""
        size = rpc.ByteSize()
        if self._bytes + size > OUTGOING_BYTES or not super().push(rpc, priority):
            self._tally["sends_dropped"] += 1
            return False
        self._bytes += size
        return True

    def pop(self) -> Any:
        """Remove and return the next RPC, or None."""
        rpc = super().pop()
        self._bytes -= 0 if rpc is None else rpc.ByteSize()
        return rpc


class MeshRouter(GossipSub):  # type: ignore[misc]
    """GossipSub's mesh and gossip, which forward without copies and prefer higher peer scores."""

    def __init__(self, tally: Tally, guard: Guard) -> None:
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
            # Its limit of ten messages per second would refuse an honest, busy forwarder; quotas
            # (`swarm.net.guard`) bound peers instead.
            spam_protection_enabled=False,
            # A swarm on one machine or behind one address is ordinary here.
            eclipse_protection_enabled=False,
        )
        self.scorer = None
        self.mcache = ContentCache(GOSSIP_WINDOW, GOSSIP_HISTORY)
        self._tally = tally
        self._guard = guard

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        """Send a message to the mesh, except to its forwarder."""
        self.mcache.put(pubsub_msg)
        # One RPC object for all peers: nobody changes it, and each queue serialises it in its turn.
        packet = rpc_pb2.RPC(publish=[pubsub_msg])
        for peer_id in self.mesh.get(pubsub_msg.topicIDs[0], set()) - {msg_forwarder}:
            # Own messages go ahead of forwarded ones: a flood must not silence the nodes it passes.
            self._queue(peer_id, packet, priority=msg_forwarder == self.pubsub.my_id)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Bring a new subscriber up to date with the last heartbeats' messages.

        They go through its queue. py-libp2p writes to the stream past it, and the large messages of
        two writers end up interleaved.
        """
        for message_id in self.mcache.window(topic):
            if message := self.mcache.get(message_id):
                self._queue(peer_id, rpc_pb2.RPC(publish=[message]))

    def _queue(self, peer_id: ID, packet: Any, *, priority: bool = False) -> None:
        queue = self.pubsub.peer_queues.get(peer_id)
        if queue is not None:
            queue.push(packet, priority=priority)

    # Neighbours

    def _standing(self, peer_id: ID) -> float:
        return self._guard.standing(str(peer_id))

    def _get_in_topic_gossipsub_peers_from_minus(self, topic: str, count: int, minus: Any, backoff_check: bool = False) -> Any:
        """Return peers to graft or to gossip to, highest scores first, at random among equals."""
        peers = list(super()._get_in_topic_gossipsub_peers_from_minus(topic, ALL, minus, backoff_check))
        return sorted(peers, key=self._standing, reverse=True)[:count]

    def _select_peers_for_pruning(self, topic: str, count: int) -> Any:
        """Return neighbours to prune, lowest scores first, at random among equals."""
        peers = list(self.mesh[topic])
        random.shuffle(peers)
        return sorted(peers, key=self._standing)[:count]

    async def handle_graft(self, graft_msg: Any, sender_peer_id: ID) -> None:
        """Take a neighbour in, unless its score is below 1 and there are enough others."""
        mesh = self.mesh.get(graft_msg.topicID)
        if mesh is None:
            # py-libp2p remembers pauses for every topic that a peer invents.
            return
        if self._standing(sender_peer_id) < NEUTRAL and sender_peer_id not in mesh and len(mesh) >= DEGREE_LOW:
            await self.emit_prune(graft_msg.topicID, sender_peer_id, False, False)
            return
        await super().handle_graft(graft_msg, sender_peer_id)

    async def handle_prune(self, prune_msg: Any, sender_peer_id: ID) -> None:
        """Drop a neighbour; the peers that it proposes instead are not dialled."""
        if prune_msg.topicID in self.mesh:
            prune_msg.ClearField("peers")
            await super().handle_prune(prune_msg, sender_peer_id)

    async def handle_ihave(self, ihave_msg: Any, sender_peer_id: ID) -> None:
        """Ask for the advertised messages that are missing here."""
        if ihave_msg.topicID in self.mesh:
            del ihave_msg.messageIDs[MAX_IDS:]
            await super().handle_ihave(ihave_msg, sender_peer_id)

    async def handle_iwant(self, iwant_msg: Any, sender_peer_id: ID) -> None:
        """Send the wanted messages, each once even if named often, within the peer's quota."""
        if not self._check_iwant_rate_limit(sender_peer_id):
            return
        answers = self._guard.quota(str(sender_peer_id)).answer_bytes
        for text in dict.fromkeys(iwant_msg.messageIDs[:MAX_IDS]):
            wanted = safe_bytes_from_hex(text)
            message = None if wanted is None else self.mcache.get(wanted)
            if message is not None and answers.affords(len(message.data)):
                self._queue(sender_peer_id, rpc_pb2.RPC(publish=[message]))

    async def emit_control_message(self, control_msg: Any, to_peer: ID) -> None:
        """Send a control message without py-libp2p's signed address record.

        Checking that record costs more than the message.
        """
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg), priority=True)
