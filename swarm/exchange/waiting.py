"""Messages between the network and admission: bounded, fair among signers, one per signer at a
time.

This is the only queue on their way. A slow judgement of one signer's message never delays
another's: signers take turns, established ones alternating with all others. A flood waits behind
itself, and displaces itself when the queue is full.
"""

from __future__ import annotations

from collections.abc import Callable

from swarm.fair import Shelf, Turns
from swarm.net.network import Message
from swarm.pool.admission.opened import Opened


class Waiting:
    """`take` returns a message of a signer none of whose messages is being judged; call `done` for
    it."""

    def __init__(self, max_messages: int, max_bytes: int, established: Callable[[bytes], bool]) -> None:
        self._established = established
        self._shelf: Shelf[Message[Opened]] = Shelf(max_messages, max_bytes, established)
        self._turns: Turns[bytes] = Turns()
        self._queued: set[bytes] = set()
        self._judged: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._shelf)

    def put(self, message: Message[Opened]) -> int:
        """Add a message. Returns the number dropped to make room, itself perhaps included."""
        signer = message.opened.envelope.key
        dropped = self._shelf.put(signer, message, len(message.data))
        self._queue(signer)
        return dropped

    def _queue(self, signer: bytes) -> None:
        if signer not in self._queued and signer not in self._judged:
            self._queued.add(signer)
            self._turns.put(signer, established=self._established(signer))

    def take(self) -> Message[Opened] | None:
        """Remove and return the next signer's oldest message, or None if none can be judged now."""
        while (signer := self._turns.next()) is not None:
            self._queued.discard(signer)
            message = self._shelf.take_oldest(signer)
            if message is not None:
                self._judged.add(signer)
                return message
        return None

    def done(self, message: Message[Opened]) -> None:
        """Note that the message was judged; its signer's next one may follow."""
        signer = message.opened.envelope.key
        self._judged.discard(signer)
        self._queue(signer)
