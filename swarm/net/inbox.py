"""What both networks do with a message that arrived: drop duplicates, ask the validator, queue it, count it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from swarm.clock import Clock
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError
from swarm.net.arrivals import Arrivals
from swarm.net.network import MAX_MESSAGE_BYTES, Message, Validate, Verdict
from swarm.net.tally import Tally

# Message ids remembered, about 10 MB; far more than a swarm publishes while copies of a message still travel.
SEEN_LIMIT = 65536


class Inbox:
    """The way from a network to the node."""

    def __init__(self, validate: Validate, clock: Clock, tally: Tally, config: NetworkSection) -> None:
        self._validate = validate
        self._clock = clock
        self._tally = tally
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self.messages = Arrivals(config.max_inbound_queue, config.max_inbound_bytes)

    def has(self, message_id: bytes) -> bool:
        """Whether a message with this id (SHA-256 of its bytes) was published or received here lately."""
        return message_id in self._seen

    def _remember(self, message_id: bytes) -> None:
        self._seen[message_id] = None
        if len(self._seen) > SEEN_LIMIT:
            self._seen.popitem(last=False)

    def published(self, data: bytes) -> bytes:
        """Note this node's own message, so that its echo is a duplicate; returns its id. Raises `NetworkError` if too large."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise NetworkError(
                f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES}; announce it and let peers pull it"
            )
        message_id = hashlib.sha256(data).digest()
        self._remember(message_id)
        self._tally["messages_sent"] += 1
        self._tally["payload_bytes_sent"] += len(data)
        return message_id

    def arrived(self, data: bytes, peer: str) -> bool:
        """Take a message from the network; true when it is new and accepted, and so to be forwarded."""
        message_id = hashlib.sha256(data).digest()
        if message_id in self._seen:
            self._tally["duplicates"] += 1
            return False
        self._remember(message_id)
        verdict = self._validate(data)
        if verdict is not Verdict.ACCEPT:
            self._tally["rejected" if verdict is Verdict.REJECT else "ignored"] += 1
            return False
        self._queue(Message(data, peer, self._clock.now_ms()))
        return True

    def _queue(self, message: Message) -> None:
        self._tally["messages_dropped"] += self.messages.put(message)
        self._tally["messages_received"] += 1
        self._tally["payload_bytes_received"] += len(message.data)

    def close(self) -> None:
        """End the queue: whoever iterates over it finishes after what is already in it."""
        self.messages.close()
