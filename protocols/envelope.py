"""An envelope is one entry of its signer's append-only log.

On the wire it is an array of eight: version, kind, key, sequence, previous, time_ms, body,
signature. What is signed is the domain, the swarm's id (which does not travel: everybody in the
swarm knows it), and the canonical array of the first seven. The envelope's id is the SHA-256 of
those signed bytes, and `previous` is the id of the signer's envelope before.

The swarm's id is signed because one key may work in two swarms: its two logs both have a sequence
number 5, and an envelope carried over from one to the other would look like a proof of cheating.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols import fields
from protocols.codec import decode, encode
from protocols.limits import (
    HASH_BYTES,
    KEY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_ENVELOPE_DEPTH,
    MAX_ENVELOPE_VALUES,
    MAX_KIND,
    PROTOCOL_VERSION,
    SIGNATURE_BYTES,
)
from protocols.messages import BODIES, Announce, Body, Share, kind_of, pack_body, unpack_body, unpack_share
from protocols.reasons import ProtocolError, Reason

ENVELOPE_DOMAIN = b"swarmd/1/envelope\x00"
NO_PREVIOUS = bytes(HASH_BYTES)  # `previous` of a log's first envelope, sequence 0

# y coordinates of the points of small order (1, 2, 4 and 8): under such a key anybody can sign
# anything.
_P = 2**255 - 19
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER = frozenset({0, 1, _Y8, _P - _Y8, _P - 1})


@dataclass(frozen=True)
class Envelope:
    """A signed, numbered, hash-chained entry.

    `body` holds packed bytes (`messages.unpack_body`), `time_ms` is ms since 1970.

    `kind` may be one that this version does not know: such an envelope still belongs to its
    signer's log. `swarm` is the id of the swarm it was signed for (32 bytes), which does not
    travel.
    """

    version: int
    kind: int
    key: bytes
    sequence: int
    previous: bytes
    time_ms: int
    body: bytes
    signature: bytes
    swarm: bytes

    @cached_property
    def id(self) -> bytes:
        """SHA-256 (32 bytes) of the signed bytes."""
        return hashlib.sha256(self.signed_bytes).digest()

    @property
    def signed_bytes(self) -> bytes:
        """Domain, swarm id, canonical array of the first seven fields."""
        return _signed_bytes(self.swarm, self._signed)

    @property
    def _signed(self) -> list[Any]:
        return [self.version, self.kind, self.key, self.sequence, self.previous, self.time_ms, self.body]

    def to_bytes(self) -> bytes:
        """The envelope as it travels."""
        return encode([*self._signed, self.signature])


def seal(private_key: Ed25519PrivateKey, sequence: int, previous: bytes, time_ms: int, body: Body, swarm: bytes) -> Envelope:
    """Pack and sign a body as envelope number `sequence` of the signer's log in `swarm`.

    `swarm` is the id of its manifest (32 bytes).

    Raises ProtocolError if a peer would refuse the result.
    """
    key = private_key.public_key().public_bytes_raw()
    signed = [PROTOCOL_VERSION, int(kind_of(body)), key, sequence, previous, time_ms, pack_body(body)]
    envelope = _from_array([*signed, private_key.sign(_signed_bytes(swarm, signed))], swarm)
    if len(data := envelope.to_bytes()) > MAX_ENVELOPE_BYTES:
        raise ProtocolError(Reason.TOO_LARGE, f"an envelope of {len(data)} bytes; announce bodies over MAX_INLINE_BODY_BYTES")
    return envelope


def open_envelope(data: bytes, swarm: bytes) -> Envelope:
    """Decode and verify what was signed in `swarm` (its manifest's id); the body stays packed.

    Raises ProtocolError: "too-large", "version", "malformed", "not-canonical", "schema",
    "too-large" for an inline body that had to be announced, "signature", checked in this order.
    """
    if len(data) <= MAX_ENVELOPE_BYTES:
        _check_version(data)
    envelope = _from_array(decode(data, MAX_ENVELOPE_BYTES, MAX_ENVELOPE_VALUES, MAX_ENVELOPE_DEPTH), swarm)
    _verify(envelope)
    return envelope


def share_in(envelope: Envelope, announced: bytes | None = None) -> Share | None:
    """The share that an opened envelope carries, or None.

    Of an announcement it is the `announced` body, where that is at hand.

    Raises ProtocolError where the body is not what its kind says.
    """
    if envelope.kind not in BODIES:
        return None
    body = unpack_body(envelope.kind, envelope.body)
    if isinstance(body, Announce) and announced is not None:
        return unpack_share(announced)
    return body if isinstance(body, Share) else None


def equivocates(one: Envelope, other: Envelope) -> bool:
    """Whether two opened envelopes prove that their signer wrote two histories of one log."""
    same_place = (one.swarm, one.key, one.sequence) == (other.swarm, other.key, other.sequence)
    return same_place and one.id != other.id


def _from_array(value: Any, swarm: bytes) -> Envelope:
    version, kind, key, sequence, previous, time_ms, body, signature = fields.array(value, "envelope", 8, 8)
    if type(body) is not bytes:
        raise fields.schema_error("body must be binary")
    if (sequence == 0) != (previous == NO_PREVIOUS):
        raise fields.schema_error("previous must be 32 zero bytes at sequence 0, and only there")
    envelope = Envelope(
        fields.integer(version, "version", PROTOCOL_VERSION, PROTOCOL_VERSION),
        fields.integer(kind, "kind", 1, MAX_KIND),
        fields.binary(key, "key", KEY_BYTES),
        fields.integer(sequence, "sequence"),
        fields.binary(previous, "previous", HASH_BYTES),
        fields.integer(time_ms, "time_ms"),
        body,
        fields.binary(signature, "signature", SIGNATURE_BYTES),
        swarm,
    )
    if kind in BODIES and len(body) > BODIES[kind].max_inline_bytes:
        raise ProtocolError(
            Reason.TOO_LARGE, f"a body of {len(body)} bytes, which must be announced: two would not fit into a proof"
        )
    return envelope


def _signed_bytes(swarm: bytes, signed: list[Any]) -> bytes:
    return ENVELOPE_DOMAIN + fields.binary(swarm, "swarm id", HASH_BYTES) + encode(signed)


def _check_version(data: bytes) -> None:
    """Tell a newer version: any envelope starts with a short array's head and its number."""
    if len(data) >= 2 and 0x91 <= data[0] <= 0x9F and data[1] <= 0x7F and data[1] != PROTOCOL_VERSION:
        raise ProtocolError(Reason.VERSION, f"protocol version {data[1]}; this node speaks {PROTOCOL_VERSION}")


def _verify(envelope: Envelope) -> None:
    """Verify as in RFC 8032, 5.1.7, without cofactor.

    Refuses keys of small order or with an unreduced coordinate.
    """
    y = int.from_bytes(envelope.key, "little") % 2**255
    if y >= _P or y in _SMALL_ORDER:
        raise ProtocolError(Reason.SIGNATURE, "the key is no point, or one of small order, under which anybody can sign")
    try:
        Ed25519PublicKey.from_public_bytes(envelope.key).verify(envelope.signature, envelope.signed_bytes)
    except InvalidSignature:
        raise ProtocolError(Reason.SIGNATURE, "the signature does not fit these bytes, this key and this swarm") from None
