"""Between network and admission: signers take turns, and of each one message at a time is out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from swarm.exchange.waiting import Waiting
from swarm.net.network import Message


def message(number: int, size: int = 10) -> Message:
    return Message(number.to_bytes(4) + bytes(size), "peer", 0)


def number_of(message: Message) -> int:
    return int.from_bytes(message.data[:4])


@given(st.lists(st.integers(0, 4) | st.none(), max_size=80))
def test_every_message_once_in_its_signers_order(steps: list[int | None]) -> None:
    """A step is a message of a signer, or None: finish the oldest one that is out and take another."""
    waiting = Waiting(1000, 2**20, lambda signer: signer == bytes([0]))
    put: dict[int, list[int]] = {number: [] for number in range(5)}
    got: dict[int, list[int]] = {number: [] for number in range(5)}
    out: list[bytes] = []

    def take() -> bool:
        taken = waiting.take()
        if taken is None:
            return False
        signer, taken_message = taken
        assert signer not in out, "one at a time"
        out.append(signer)
        got[signer[0]].append(number_of(taken_message))
        return True

    for count, step in enumerate(steps):
        if step is None:
            if out:
                waiting.done(out.pop(0))
            take()
        else:
            assert waiting.put(bytes([step]), message(count)) == 0
            put[step].append(count)
    while out or take():
        waiting.done(out.pop(0))
        take()
    assert got == put
    assert len(waiting) == 0


def test_a_flood_waits_behind_itself_and_displaces_itself() -> None:
    waiting = Waiting(50, 2**20, lambda signer: False)
    dropped = sum(waiting.put(b"flood", message(number)) for number in range(500))
    for signer in (b"a", b"b", b"c"):
        dropped += waiting.put(signer, message(1))
    assert dropped == 453
    first = [waiting.take() for _ in range(4)]
    assert Counter(taken[0] for taken in first if taken) == Counter([b"flood", b"a", b"b", b"c"])
    assert waiting.take() is None, "the rest waits until the first of the flood was judged"
    assert number_of(first[0][1]) == 453 if first[0] else False, "the newest are kept"


def test_a_crowd_lets_the_established_pass() -> None:
    waiting = Waiting(100, 2**20, lambda signer: signer.startswith(b"old"))
    for number in range(1000):
        waiting.put(b"new" + number.to_bytes(4), message(number, size=1))
    assert waiting.put(b"old1", message(1, size=500)) == 1
    assert waiting.put(b"old2", message(2, size=500)) == 1
    assert len(waiting) == 100
    assert sum(taken[0].startswith(b"old") for taken in [waiting.take() for _ in range(4)] if taken) == 2
