"""Cutting frames out of a byte stream, and other readers of foreign bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.utils.varint import encode_varint_prefixed

from protocols.peer_id import peer_id
from swarm.errors import NetworkError
from swarm.net.libp2p.addresses import parse
from swarm.net.libp2p.book import FORGET_AFTER, MAX_ADDRESSES, MAX_PEERS, AddressBook
from swarm.net.libp2p.framing import VarintFrames
from swarm.net.libp2p.request import _read

LIMIT = 1000


@given(st.lists(st.binary(max_size=LIMIT), max_size=8), st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_frames_come_out_whole_however_they_arrive(frames: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(encode_varint_prefixed(frame) for frame in frames)
    reader = VarintFrames(LIMIT)
    out: list[bytes] = []
    position, turn = 0, 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        out += reader.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert out == frames


@given(st.binary(max_size=5000))
def test_arbitrary_bytes_give_bounded_frames_or_an_error(data: bytes) -> None:
    reader = VarintFrames(LIMIT)
    try:
        frames = reader.feed(data)
    except NetworkError:
        return
    assert all(len(frame) <= LIMIT for frame in frames)
    assert sum(len(frame) + 1 for frame in frames) <= len(data)


class Arriving:
    """A stream whose bytes come in pieces of a size."""

    def __init__(self, data: bytes, size: int) -> None:
        self.left, self.size, self.asked = data, size, 0

    async def read(self, count: int) -> bytes:
        self.asked = max(self.asked, count)
        taken, self.left = self.left[: min(count, self.size)], self.left[min(count, self.size) :]
        return taken


@given(st.binary(max_size=LIMIT), st.binary(max_size=20), st.integers(1, 300))
async def test_a_request_is_one_frame_and_nothing_after_it_is_read(frame: bytes, after: bytes, size: int) -> None:
    stream = Arriving(struct.pack(">I", len(frame)) + frame + after, size)
    assert await _read(stream, LIMIT) == frame
    assert stream.left == after


@given(st.binary(max_size=100), st.integers(1, 300))
async def test_arbitrary_bytes_are_a_request_or_an_error(data: bytes, size: int) -> None:
    stream = Arriving(data, size)
    try:
        frame = await _read(stream, LIMIT)
    except (EOFError, NetworkError):
        assert stream.asked <= LIMIT
        return
    assert data.startswith(struct.pack(">I", len(frame)) + frame)


@pytest.mark.parametrize("data", [encode_varint_prefixed(bytes(LIMIT + 1))[:2], b"\xff\xff\xff\xff\xff\x01", b"\x80" * 5])
def test_an_overlong_frame_is_refused_by_its_length_alone(data: bytes) -> None:
    with pytest.raises(NetworkError):
        VarintFrames(LIMIT).feed(data)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        parse(text)
    except NetworkError:
        return
    raise AssertionError(f"{text!r} is no address with a peer id")


@given(st.binary(max_size=300))
def test_any_file_is_an_address_book(data: bytes) -> None:
    path = Path("/tmp") / "swarmd-test-address-book.json"
    path.write_bytes(data)
    assert AddressBook("own", path).entries == {}
    path.unlink()


def _address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id(number.to_bytes(32))}"


def test_the_address_book_is_bounded_and_keeps_what_was_configured() -> None:
    book = AddressBook("own", None)
    book.learn(_address(0), lasting=True)
    for port in range(1, 20):
        book.learn(_address(0, port))
    for number in range(1, 400):
        book.learn(_address(number))
    assert len(book.entries) == MAX_PEERS
    entry = book.entries[peer_id(bytes(32))]
    assert len(entry.addresses) == MAX_ADDRESSES
    assert entry.addresses[0] == _address(0)


def test_who_never_answers_is_forgotten_unless_nobody_does() -> None:
    book = AddressBook("own", None)
    book.learn(_address(1))
    book.learn(_address(2), lasting=True)
    one, two = sorted(book.entries)
    pauses = []
    for _ in range(FORGET_AFTER + 3):
        book.failed(peer_id((1).to_bytes(32)), 0.0, alone=True)
        pauses.append(book.entries[peer_id((1).to_bytes(32))].next_dial_s)
    assert pauses[0] < 2 < pauses[5]
    assert max(pauses) <= 90
    assert book.due(max(pauses), [one, two]) == []
    assert set(book.due(max(pauses), [])) == {one, two}
    for peer in (one, two):
        for _ in range(FORGET_AFTER):
            book.failed(peer, 0.0, alone=False)
    assert list(book.entries) == [peer_id((2).to_bytes(32))]


def test_a_node_does_not_list_itself() -> None:
    own = peer_id(bytes(32))
    book = AddressBook(own, None)
    book.learn(_address(0))
    assert book.entries == {}
