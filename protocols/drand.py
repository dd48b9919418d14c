"""Public randomness: rounds of a drand chain, which everybody verifies, and an epoch's value.

A drand network publishes a signature every few seconds (its *rounds*). It is a BLS signature over
nothing but the round's number, so it is unique, nobody can choose it, and nobody can know it before
a threshold of the network's members sign: whoever holds the chain's public key can check a round
that came from anywhere, a web server or a peer. An epoch takes the first round that is published at
or after its start; until then nobody can know any of its tasks.

The scheme is drand's `bls-unchained-g1-rfc9380`: signatures in G1 of BLS12-381 (48 bytes), keys in
G2 (96 bytes), hashing to the curve by RFC 9380. The pairing library is imported where it is needed:
a swarm with a local beacon does without.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from protocols import fields
from protocols.limits import (
    HASH_BYTES,
    MAX_BEACON_ID_CHARS,
    MAX_EPOCH_SECONDS,
    MAX_INTEGER,
    ROUND_KEY_BYTES,
    ROUND_SIGNATURE_BYTES,
)
from protocols.reasons import ProtocolError, Reason

DRAND_DOMAIN = b"swarmd/1/drand\x00"
BEACON_ID = re.compile(rf"[!-~]{{1,{MAX_BEACON_ID_CHARS}}}\Z")

# RFC 9380's suite name, as in the draft of BLS signatures; and the generator of G2, compressed,
# against which they are checked.
SIGNATURE_SUITE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
_GENERATOR = bytes.fromhex(
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
)
_INFINITY_BIT = 0x40  # of the first byte of a compressed point (ZCash's serialization)


@dataclass(frozen=True, slots=True)
class Chain:
    """A drand chain as its `info` describes it.

    Key (96 bytes), time of the first round and period (seconds), and the rest that its hash covers.

    Raises ProtocolError ("schema") for values that no chain has; whether the key is a point is seen
    when a round is verified.
    """

    public_key: bytes
    genesis_time: int
    period: int
    group_hash: bytes
    beacon_id: str

    def __post_init__(self) -> None:
        fields.binary(self.public_key, "public_key", ROUND_KEY_BYTES)
        fields.integer(self.genesis_time, "genesis_time")
        fields.integer(self.period, "period", 1, MAX_EPOCH_SECONDS)
        fields.binary(self.group_hash, "group_hash", HASH_BYTES)
        fields.name(self.beacon_id, "beacon_id", BEACON_ID)

    @property
    def hash(self) -> bytes:
        """The chain's name (32 bytes), as drand makes it: the beacon id "default" is left out."""
        beacon_id = b"" if self.beacon_id == "default" else self.beacon_id.encode()
        head = struct.pack(">Iq", self.period, self.genesis_time)
        return hashlib.sha256(head + self.public_key + self.group_hash + beacon_id).digest()

    def time_of(self, round: int) -> int:
        """When a round is published, in seconds since 1970; rounds are counted from 1."""
        return self.genesis_time + (round - 1) * self.period


QUICKNET = Chain(
    public_key=bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    genesis_time=1_692_803_367,
    period=3,
    group_hash=bytes.fromhex("f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e"),
    beacon_id="quicknet",
)
# The chains that a manifest may name by their hash alone.
KNOWN_CHAINS = {QUICKNET.hash: QUICKNET}


def round_of_epoch(chain: Chain, epoch_seconds: int, epoch: int) -> int:
    """The first round published at or after the epoch's start.

    Raises ProtocolError ("beacon") for a round beyond 2^53 - 1.
    """
    waited = epoch * epoch_seconds - chain.genesis_time
    round = 1 + max(0, -(-waited // chain.period))
    if round > MAX_INTEGER:
        raise ProtocolError(Reason.BEACON, f"epoch {epoch} lies beyond the rounds of any chain")
    return round


def verify_round(chain: Chain, round: int, signature: bytes) -> bytes:
    """The randomness (32 bytes) of a round with this signature (48 bytes); takes 1.5 ms.

    Raises ProtocolError ("beacon") for any other bytes: malformed, outside the group, of another
    round or chain.
    """
    import pyblst

    if len(signature) != ROUND_SIGNATURE_BYTES or not 1 <= round <= MAX_INTEGER:
        raise ProtocolError(Reason.BEACON, f"a round is an integer from 1 with a signature of {ROUND_SIGNATURE_BYTES} bytes")
    try:
        key = _point_of(chain.public_key)
        point = pyblst.BlstP1Element.uncompress(signature)
    except ValueError as error:
        raise ProtocolError(Reason.BEACON, f"round {round}: key or signature is no point of the curve's group: {error}") from None
    hashed = pyblst.BlstP1Element.hash_to_group(round_message(round), SIGNATURE_SUITE)
    fits = pyblst.final_verify(pyblst.miller_loop(point, _point_of(_GENERATOR)), pyblst.miller_loop(hashed, key))
    if not fits or signature[0] & _INFINITY_BIT or chain.public_key[0] & _INFINITY_BIT:
        raise ProtocolError(Reason.BEACON, f"the signature is not the chain's for round {round}")
    return randomness_of(signature)


def round_message(round: int) -> bytes:
    """What the chain signs: SHA-256 (32 bytes) of the round's number as 8 bytes, big-endian."""
    return hashlib.sha256(round.to_bytes(8, "big")).digest()


def randomness_of(signature: bytes) -> bytes:
    """A verified round's randomness: the SHA-256 (32 bytes) of its signature."""
    return hashlib.sha256(signature).digest()


def drand_beacon(manifest_id: bytes, epoch: int, randomness: bytes) -> bytes:
    """The public value (32 bytes) of an epoch whose round has this randomness.

    SHA-256(domain, manifest id, epoch as 8 bytes big-endian, randomness): two swarms, or two
    epochs, on one round share no task.
    """
    fields.binary(manifest_id, "manifest id", HASH_BYTES)
    fields.integer(epoch, "epoch")
    fields.binary(randomness, "randomness", HASH_BYTES)
    return hashlib.sha256(DRAND_DOMAIN + manifest_id + epoch.to_bytes(8, "big") + randomness).digest()


@lru_cache(maxsize=8)
def _point_of(compressed: bytes) -> Any:
    """A point of G2. Cached, since decompressing takes long and the key is always the same."""
    import pyblst

    return pyblst.BlstP2Element.uncompress(compressed)
