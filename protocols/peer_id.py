"""A peer is its Ed25519 public key; people and multiaddrs name it by libp2p's peer id.

The id is base58btc of a multihash: identity (0x00), length 36, then libp2p's protobuf of the key
(type 1 = Ed25519, 32 bytes). See https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
"""

from __future__ import annotations

import base58

from protocols import fields
from protocols.limits import KEY_BYTES

_PREFIX = bytes.fromhex("002408011220")
_ID_CHARS = 52  # all Ed25519 peer ids, since the prefix fixes the size of the number


def peer_id(public_key: bytes) -> str:
    """libp2p's peer id ("12D3Koo…") of an Ed25519 public key (32 bytes)."""
    encoded: bytes = base58.b58encode(_PREFIX + fields.binary(public_key, "public key", KEY_BYTES))
    return encoded.decode("ascii")


def public_key(peer_id: str) -> bytes:
    """The Ed25519 public key (32 bytes) in a peer id. Raises ProtocolError ("schema")."""
    if len(peer_id) == _ID_CHARS and peer_id.isascii():
        try:
            raw: bytes = base58.b58decode(peer_id)
        except ValueError:
            raw = b""
        if raw.startswith(_PREFIX) and len(raw) == len(_PREFIX) + KEY_BYTES:
            return raw[len(_PREFIX) :]
    raise fields.schema_error(f"not an Ed25519 peer id: {peer_id!r:.100}")
