"""Ask a peer for missed envelopes: which logs it holds, and stretches of one log.

Gossip promises nothing. What it did not bring shows as a gap in a signer's log, and any peer that
holds the log can fill it, since every envelope proves itself. Two small questions are enough:
`heads` says, for each signer, which sequence numbers are held and the newest one's id (two ids for
one number are a fork, found without fetching anything more); `log` gives the envelopes of a range
of numbers. Both name the swarm, so that a peer of another one refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from protocols import fields
from protocols.codec import decode, encode
from protocols.envelope import Envelope, open_envelope
from protocols.limits import (
    HASH_BYTES,
    KEY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_HEADS,
    MAX_HEADS_BYTES,
    MAX_INTEGER,
    MAX_LOG_BYTES,
    MAX_LOG_ENVELOPES,
    MAX_SYNC_REQUEST_BYTES,
)
from protocols.reasons import ProtocolError, Reason

HEADS_PROTOCOL = "/swarmd/1/heads"
LOG_PROTOCOL = "/swarmd/1/log"

# The arrays of an answer: the whole, its items, and the fields of each.
_HEADS_VALUES = 1 + MAX_HEADS * 5
_LOG_VALUES = 1 + MAX_LOG_ENVELOPES
_REQUEST_VALUES = 5


@dataclass(frozen=True, slots=True)
class HeadsRequest:
    """Asks for the heads of at most `count` signers, from the key `start` (32 bytes) upward."""

    swarm: bytes
    start: bytes
    count: int

    def to_bytes(self) -> bytes:
        """As it travels."""
        return encode([self.swarm, self.start, self.count])

    @classmethod
    def from_bytes(cls, data: bytes) -> HeadsRequest:
        """Raises ProtocolError: "too-large", "malformed", "not-canonical", "schema"."""
        swarm, start, count = fields.array(_request(data), "heads request", 3, 3)
        return cls(
            fields.binary(swarm, "swarm", HASH_BYTES),
            fields.binary(start, "start", KEY_BYTES),
            fields.integer(count, "count", 1, MAX_HEADS),
        )


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Asks for a signer's envelopes with the sequence numbers `first .. first + count - 1`."""

    swarm: bytes
    key: bytes
    first: int
    count: int

    def to_bytes(self) -> bytes:
        """As it travels."""
        return encode([self.swarm, self.key, self.first, self.count])

    @classmethod
    def from_bytes(cls, data: bytes) -> LogRequest:
        """Raises ProtocolError: "too-large", "malformed", "not-canonical", "schema"."""
        swarm, key, first, count = fields.array(_request(data), "log request", 4, 4)
        return cls(
            fields.binary(swarm, "swarm", HASH_BYTES),
            fields.binary(key, "key", KEY_BYTES),
            fields.integer(first, "first"),
            fields.integer(count, "count", 1, MAX_LOG_ENVELOPES),
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The held part of one signer's log.

    Its lowest and highest sequence number, and the id (32 bytes) of the highest.
    """

    key: bytes
    first: int
    last: int
    id: bytes


def pack_heads(heads: Sequence[Head]) -> bytes:
    """The answer to a `HeadsRequest`. Raises ProtocolError for what the asker would refuse."""
    packed = encode([[head.key, head.first, head.last, head.id] for head in heads])
    if heads:
        read_heads(packed, HeadsRequest(bytes(HASH_BYTES), heads[0].key, MAX_HEADS))
    return packed


def read_heads(data: bytes, request: HeadsRequest) -> tuple[Head, ...]:
    """The heads that answer `request`.

    Raises ProtocolError: "too-large", "malformed", "not-canonical", "schema".
    """
    items = fields.array(decode(data, MAX_HEADS_BYTES, _HEADS_VALUES, 2), "heads", 0, request.count)
    heads = tuple(_head(item) for item in items)
    if heads and heads[0].key < request.start:
        raise fields.schema_error("a head of a key before the one that was asked for")
    if any(one.key >= other.key for one, other in pairwise(heads)):
        raise fields.schema_error("heads must be in ascending order of keys, each once")
    return heads


def _head(value: Any) -> Head:
    key, first, last, id_ = fields.array(value, "head", 4, 4)
    return Head(
        fields.binary(key, "head.key", KEY_BYTES),
        fields.integer(first, "head.first"),
        fields.integer(last, "head.last", first if type(first) is int else MAX_INTEGER),
        fields.binary(id_, "head.id", HASH_BYTES),
    )


def pack_log(envelopes: Sequence[bytes]) -> bytes:
    """The answer to a `LogRequest`: envelopes as they travelled.

    `MAX_LOG_BYTES` hold at least one envelope of any size.
    """
    return encode(list(envelopes))


def read_log(data: bytes, request: LogRequest) -> tuple[Envelope, ...]:
    """The opened envelopes that answer `request`: ascending in its range, neighbours chained.

    Raises ProtocolError: those of a value, "schema" for what was not asked for, "chain", and those
    of `open_envelope`.
    """
    items = fields.array(decode(data, MAX_LOG_BYTES, _LOG_VALUES, 1), "log", 0, request.count)
    envelopes: list[Envelope] = []
    least, end = request.first, request.first + request.count
    for item in items:
        if type(item) is not bytes or len(item) > MAX_ENVELOPE_BYTES:
            raise fields.schema_error("a log is made of envelopes")
        envelope = open_envelope(item, request.swarm)
        if envelope.key != request.key or not least <= envelope.sequence < end:
            raise fields.schema_error(f"envelope {envelope.sequence} of a log where {least} to {end - 1} were asked for")
        if envelopes and envelope.sequence == least and envelope.previous != envelopes[-1].id:
            raise ProtocolError(Reason.CHAIN, f"envelope {envelope.sequence} does not follow the one before")
        envelopes.append(envelope)
        least = envelope.sequence + 1
    return tuple(envelopes)


def _request(data: bytes) -> Any:
    return decode(data, MAX_SYNC_REQUEST_BYTES, _REQUEST_VALUES, 1)
