"""Between network and admission: signers take turns, and of each one message at a time is out."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.envelope import Envelope
from protocols.messages import Kind, Proof
from swarm.config.schema import Config, NetworkSection
from swarm.exchange.receiving import Receiver
from swarm.exchange.waiting import Waiting
from swarm.net.network import Message
from swarm.pool.admission.opened import Opened


def message(signer: bytes, number: int, size: int = 10) -> Message[Opened]:
    data = number.to_bytes(4) + bytes(size)
    envelope = Envelope(1, Kind.SHARE, signer, 0, b"", 0, b"", b"", b"")
    return Message(data, Opened(data, envelope, Proof(b"", b"")), "peer")


def signer_of(message: Message[Opened]) -> bytes:
    return message.opened.envelope.key


def number_of(message: Message[Opened]) -> int:
    return int.from_bytes(message.data[:4])


@given(st.lists(st.integers(0, 4) | st.none(), max_size=80))
def test_every_message_once_in_its_signers_order(steps: list[int | None]) -> None:
    """A step is a message of a signer, or None: finish the oldest one that is out and take
    another."""
    waiting = Waiting(1000, 2**20, lambda signer: signer == bytes([0]))
    put: dict[int, list[int]] = {number: [] for number in range(5)}
    got: dict[int, list[int]] = {number: [] for number in range(5)}
    out: list[Message[Opened]] = []

    def take() -> bool:
        taken = waiting.take()
        if taken is None:
            return False
        assert signer_of(taken) not in map(signer_of, out), "one at a time"
        out.append(taken)
        got[signer_of(taken)[0]].append(number_of(taken))
        return True

    for count, step in enumerate(steps):
        if step is None:
            if out:
                waiting.done(out.pop(0))
            take()
        else:
            assert waiting.put(message(bytes([step]), count)) == 0
            put[step].append(count)
    while out or take():
        waiting.done(out.pop(0))
        take()
    assert got == put
    assert len(waiting) == 0


def test_a_flood_waits_behind_itself_and_displaces_itself() -> None:
    waiting = Waiting(50, 2**20, lambda signer: False)
    dropped = sum(waiting.put(message(b"flood", number)) for number in range(500))
    for signer in (b"a", b"b", b"c"):
        dropped += waiting.put(message(signer, 1))
    assert dropped == 453
    first = [waiting.take() for _ in range(4)]
    assert Counter(signer_of(taken) for taken in first if taken) == Counter([b"flood", b"a", b"b", b"c"])
    assert waiting.take() is None, "the rest waits until the first of the flood was judged"
    assert first[0] is not None
    assert number_of(first[0]) == 453, "the newest are kept"


def test_a_crowd_lets_the_established_pass() -> None:
    waiting = Waiting(100, 2**20, lambda signer: signer.startswith(b"old"))
    for number in range(1000):
        waiting.put(message(b"new" + number.to_bytes(4), number, size=1))
    assert waiting.put(message(b"old1", 1, size=500)) == 1
    assert waiting.put(message(b"old2", 2, size=500)) == 1
    assert len(waiting) == 100
    assert sum(signer_of(taken).startswith(b"old") for taken in [waiting.take() for _ in range(4)] if taken) == 2


@pytest.mark.parametrize(("connections", "room"), [(16, 1024), (64, 1024), (128, 2048)])
def test_the_room_follows_from_the_connections(connections: int, room: int) -> None:
    config = Config(network=NetworkSection(max_connections=connections))
    context: Any = SimpleNamespace(config=config, now_ms=lambda: 0)
    standing = SimpleNamespace(established=lambda signer, now_ms: False)
    admission: Any = SimpleNamespace(standing=standing, overflowed=lambda messages: None)
    nothing: Any = None
    receiver = Receiver(context, nothing, admission, nothing, nothing, nothing)
    assert [receiver.take(message(b"signer", number)) for number in range(room + 1)] == [0] * room + [1]
