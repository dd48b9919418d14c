"""An invite: one short string that names a swarm and where to find a member.

"swarmd1:" and base64url without padding of a canonical array [manifest id, [multiaddr, …]] followed
by a 4-byte checksum.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from protocols import fields
from protocols.codec import decode, encode
from protocols.limits import (
    CHECKSUM_BYTES,
    HASH_BYTES,
    MAX_ADDRESS_CHARS,
    MAX_ADDRESSES,
    MAX_INVITE_CHARS,
    MAX_INVITE_DEPTH,
    MAX_INVITE_VALUES,
    PROTOCOL_VERSION,
)
from protocols.peer_id import public_key
from protocols.reasons import ProtocolError, Reason

INVITE_DOMAIN = b"swarmd/1/invite\x00"
PREFIX = f"swarmd{PROTOCOL_VERSION}:"

_ADDRESS = re.compile(rf"(?=.{{1,{MAX_ADDRESS_CHARS}}}\Z)(/[!-.0-~]+)+/p2p/([1-9A-HJ-NP-Za-km-z]+)\Z")


@dataclass(frozen=True, slots=True)
class Invite:
    """A manifest's id (32 bytes) and the multiaddrs of peers, each ending with /p2p/<peer id>."""

    manifest_id: bytes
    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        fields.binary(self.manifest_id, "manifest id", HASH_BYTES)
        fields.array(list(self.addresses), "addresses", 0, MAX_ADDRESSES)
        for address in self.addresses:
            match = _ADDRESS.match(address) if type(address) is str else None
            if match is None:
                raise fields.schema_error(f"not a multiaddr that ends with /p2p/<peer id>: {address!r:.300}")
            public_key(match[2])

    def to_string(self) -> str:
        """The string to hand over."""
        payload = encode([self.manifest_id, self.addresses])
        return PREFIX + base64.urlsafe_b64encode(payload + _checksum(payload)).decode("ascii").rstrip("=")

    @classmethod
    def from_string(cls, text: str) -> Invite:
        """Read an invite; blanks and line ends around it are ignored.

        Raises ProtocolError: "too-large", "version", "malformed", "not-canonical", "checksum",
        "schema".
        """
        text = text.strip(" \t\r\n")
        if len(text) > MAX_INVITE_CHARS:
            raise ProtocolError(Reason.TOO_LARGE, f"an invite has at most {MAX_INVITE_CHARS} characters")
        if not text.startswith(PREFIX):
            if re.match(r"swarmd[0-9]+:", text):
                raise ProtocolError(Reason.VERSION, f"this invite is of another version; this one reads {PREFIX}…")
            raise ProtocolError(Reason.MALFORMED, f"an invite starts with {PREFIX}")
        payload, checksum = _unarmour(text.removeprefix(PREFIX))
        if checksum != _checksum(payload):
            raise ProtocolError(Reason.CHECKSUM, "the invite was mistyped or cut; copy it again, whole")
        manifest_id, addresses = fields.array(
            decode(payload, MAX_INVITE_CHARS, MAX_INVITE_VALUES, MAX_INVITE_DEPTH), "invite", 2, 2
        )
        return cls(manifest_id, tuple(fields.array(addresses, "addresses", 0, MAX_ADDRESSES)))


def _unarmour(text: str) -> tuple[bytes, bytes]:
    """Payload and checksum. Only the one spelling that `to_string` writes is read."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII) or len(text) % 4 == 1:
        raise ProtocolError(Reason.MALFORMED, "the invite has characters that do not belong there, or was cut")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=") != text:
        raise ProtocolError(Reason.NOT_CANONICAL, "the invite's last character has bits that must be zero")
    return raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(INVITE_DOMAIN + payload).digest()[:CHECKSUM_BYTES]
