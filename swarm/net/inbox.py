"""The inbox of both networks: drops duplicates, opens new messages, hands them over, counts."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TypeVar

from swarm.errors import NetworkError
from swarm.net.network import MAX_MESSAGE_BYTES, Message, Subscription, Verdict
from swarm.net.tally import Tally
from swarm.newest import Newest

T = TypeVar("T")

# Message ids remembered, about 10 MB; far more than are published while copies of one travel.
SEEN_LIMIT = 65536


class Inbox:
    """The way from a network to the node; messages wait at the subscriber, not here."""

    def __init__(self, subscription: Subscription[T], tally: Tally) -> None:
        self._hear = partial(_hear, subscription, tally)
        self._tally = tally
        self._seen: Newest[bytes, None] = Newest(SEEN_LIMIT)

    def has(self, message_id: bytes) -> bool:
        """Whether a message of this id (SHA-256 of its bytes) was lately published or received."""
        return message_id in self._seen

    def published(self, data: bytes) -> bytes:
        """Note this node's own message, so that its echo is a duplicate; return its id.

        Raises `NetworkError` above `MAX_MESSAGE_BYTES`.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise NetworkError(
                f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES}; announce it and let peers pull it"
            )
        message_id = hashlib.sha256(data).digest()
        self._seen[message_id] = None
        self._tally["messages_sent"] += 1
        self._tally["payload_bytes_sent"] += len(data)
        return message_id

    def arrived(self, data: bytes, peer: str) -> bool:
        """Take a message from the network; return whether it is new and valid, to be forwarded."""
        message_id = hashlib.sha256(data).digest()
        if message_id in self._seen:
            self._tally["duplicates"] += 1
            return False
        self._seen[message_id] = None
        return self._hear(data, peer)


def _hear(subscription: Subscription[T], tally: Tally, data: bytes, peer: str) -> bool:
    """Open a new message and hand it over; return whether it could be opened."""
    opened = subscription.validate(data)
    if isinstance(opened, Verdict):
        tally["rejected" if opened is Verdict.REJECT else "ignored"] += 1
        return False
    tally["messages_dropped"] += subscription.take(Message(data, opened, peer))
    tally["messages_received"] += 1
    tally["payload_bytes_received"] += len(data)
    return True
