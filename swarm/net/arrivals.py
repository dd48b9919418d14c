"""The queue between a network and the node, bounded in messages and bytes.

What overflows is the oldest message of the forwarder that has the most bytes waiting: a flood displaces itself, not others, and
of equals an old rollout is worth less than a new one.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict

import trio

from swarm.net.network import Message


class Arrivals(trio.abc.ReceiveChannel[Message]):
    """Received messages, oldest first. Closing ends it for readers after what is already in it."""

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._number = 0
        self._waiting: OrderedDict[int, Message] = OrderedDict()
        self._of_peer: dict[str, OrderedDict[int, int]] = defaultdict(OrderedDict)
        self._bytes_of: dict[str, int] = defaultdict(int)
        self._readers = trio.lowlevel.ParkingLot()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> int:
        """Add a message; returns how many were dropped to make room, itself perhaps among them."""
        self._number += 1
        self._waiting[self._number] = message
        self._of_peer[message.peer][self._number] = len(message.data)
        self._bytes_of[message.peer] += len(message.data)
        self._bytes += len(message.data)
        dropped = 0
        while len(self._waiting) > self._capacity or self._bytes > self._max_bytes:
            heaviest = max(self._bytes_of, key=lambda peer: (self._bytes_of[peer], len(self._of_peer[peer])))
            self._remove(next(iter(self._of_peer[heaviest])))
            dropped += 1
        self._readers.unpark()
        return dropped

    def _remove(self, number: int) -> Message:
        message = self._waiting.pop(number)
        self._bytes -= len(message.data)
        self._bytes_of[message.peer] -= self._of_peer[message.peer].pop(number)
        if not self._of_peer[message.peer]:
            del self._of_peer[message.peer], self._bytes_of[message.peer]
        return message

    def receive_nowait(self) -> Message:
        """The oldest message. Raises `trio.WouldBlock` if there is none yet, `trio.EndOfChannel` if none will come."""
        if self._waiting:
            return self._remove(next(iter(self._waiting)))
        raise trio.EndOfChannel if self._closed else trio.WouldBlock

    async def receive(self) -> Message:
        """The oldest message, when there is one. Raises `trio.EndOfChannel` when the network has closed."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                await self._readers.park()

    def close(self) -> None:
        """No more messages come."""
        self._closed = True
        self._readers.unpark_all()

    async def aclose(self) -> None:
        """Close."""
        self.close()
        await trio.lowlevel.checkpoint()
