"""Messages between the network and admission: bounded, fair among signers, and of each signer one at a time in its order.

The network is always drained, so that a slow judgement of one signer's message never makes another's wait in front of the door.
Here signers take turns, the established ones alternating with everybody else; a flood waits behind itself, and displaces
itself when the place is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from swarm.net.network import Message
from swarm.pool.shelf import Shelf


class Waiting:
    """`take` gives a message of a signer none of whose messages is being judged; `done` must be called for it."""

    def __init__(self, max_messages: int, max_bytes: int, established: Callable[[bytes], bool]) -> None:
        self._established = established
        self._shelf: Shelf[int, Message] = Shelf(max_messages, max_bytes, established)
        self._number = 0
        self._ready: dict[bool, deque[bytes]] = {True: deque(), False: deque()}
        self._queued: set[bytes] = set()
        self._judged: set[bytes] = set()
        self._served_last = False

    def __len__(self) -> int:
        return len(self._shelf)

    def put(self, signer: bytes, message: Message) -> int:
        """Add a message; returns how many were dropped to make room."""
        self._number += 1
        dropped = self._shelf.put(signer, self._number, message, len(message.data))
        self._queue(signer)
        return dropped

    def _queue(self, signer: bytes) -> None:
        if signer not in self._queued and signer not in self._judged:
            self._queued.add(signer)
            self._ready[self._established(signer)].append(signer)

    def take(self) -> tuple[bytes, Message] | None:
        """The next signer and its oldest message, or None if nobody's can be judged now."""
        while self._queued:
            queue = not self._served_last if self._ready[not self._served_last] else self._served_last
            self._served_last = queue
            signer = self._ready[queue].popleft()
            self._queued.discard(signer)
            message = self._shelf.take_oldest(signer)
            if message is not None:
                self._judged.add(signer)
                return signer, message
        return None

    def done(self, signer: bytes) -> None:
        """The signer's message was judged; its next one may be."""
        self._judged.discard(signer)
        self._queue(signer)
