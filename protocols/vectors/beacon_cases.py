"""The cases of `vectors/beacon.json`, and their chain.

Its secret is public, so that tests and simulations can sign rounds.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from protocols.drand import QUICKNET, SIGNATURE_SUITE, Chain, drand_beacon, randomness_of, round_message, round_of_epoch
from protocols.limits import MAX_INTEGER

SECRET = int.from_bytes(hashlib.sha256(b"swarmd test chain").digest()[:31])
# The secret times the generator of G2; tests compute it again.
TEST_CHAIN = Chain(
    public_key=bytes.fromhex(
        "a4697e454e625ae138e047bc6353f85bd84b935c1ff7fc904ce43e6349de329addce3f6eeb4e3b57194a202b90a50215"
        "072c75dce6c1eedf23609ac554ac3f4128f6ea886b08a806934a84808269d9e40f7a072aea791f82af3a7f2c6bddbeef"
    ),
    genesis_time=1_767_000_000,
    period=5,
    group_hash=hashlib.sha256(b"swarmd test group").digest(),
    beacon_id="swarmd-test",
)

_OFFICIAL = (
    657_413,
    bytes.fromhex("b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b"),
)
_LAST_EPOCH = MAX_INTEGER // 31_536_000


def sign_round(round: int) -> bytes:
    """The test chain's signature of a round (48 bytes)."""
    import pyblst

    hashed = pyblst.BlstP1Element.hash_to_group(round_message(round), SIGNATURE_SUITE)
    signature: bytes = hashed.scalar_mul(SECRET).compress()
    return signature


def beacons(manifest_id: bytes) -> dict[str, Any]:
    """The content of the file."""
    valid = [("quicknet", QUICKNET, *_OFFICIAL), ("the first round", TEST_CHAIN, 1, sign_round(1))]
    valid += [("the last round", TEST_CHAIN, MAX_INTEGER, sign_round(MAX_INTEGER))]
    return {
        "valid": [
            {
                "name": name,
                "chain": chain.hash.hex(),
                "round": round,
                "signature": signature.hex(),
                "randomness": randomness_of(signature).hex(),
                "values": [
                    {
                        "manifest_id": manifest_id.hex(),
                        "epoch": epoch,
                        "value": drand_beacon(manifest_id, epoch, randomness_of(signature)).hex(),
                    }
                    for epoch in (0, 7, MAX_INTEGER)
                ],
            }
            for name, chain, round, signature in valid
        ],
        "invalid": [
            {"name": name, "chain": chain.hash.hex(), "round": round, "signature": signature.hex(), "reason": "beacon"}
            for name, chain, round, signature in _invalid()
        ],
        "chains": [{"hash": chain.hash.hex(), "info": _info_json(chain)} for chain in (QUICKNET, TEST_CHAIN)],
        "rounds": [
            {
                "chain": chain.hash.hex(),
                "epoch_seconds": epoch_seconds,
                "epoch": epoch,
                "round": round_of_epoch(chain, epoch_seconds, epoch),
            }
            for chain, epoch_seconds, epoch in _asked()
        ],
    }


def _invalid() -> list[tuple[str, Chain, int, bytes]]:
    round, good = _OFFICIAL
    negative = bytes([good[0] ^ 0x20]) + good[1:]
    return [
        ("the round after", QUICKNET, round + 1, good),
        ("the round before", QUICKNET, round - 1, good),
        ("of another chain", TEST_CHAIN, round, good),
        ("signed by another chain", QUICKNET, 1, sign_round(1)),
        ("round 0", TEST_CHAIN, 0, sign_round(0)),
        ("round 2^53", TEST_CHAIN, MAX_INTEGER + 1, sign_round(MAX_INTEGER + 1)),
        ("the negative point", QUICKNET, round, negative),
        ("47 bytes", QUICKNET, round, good[:-1]),
        ("49 bytes", QUICKNET, round, good + b"\x00"),
        ("nothing", QUICKNET, round, b""),
        ("zeros", QUICKNET, round, bytes(48)),
        ("infinity", QUICKNET, round, b"\xc0" + bytes(47)),
        ("infinity with a sign", QUICKNET, round, b"\xe0" + bytes(47)),
        ("not compressed", QUICKNET, round, bytes([good[0] & 0x1F]) + good[1:]),
        ("a coordinate above the field's prime", QUICKNET, round, b"\x9f" + b"\xff" * 47),
        ("not on the curve", QUICKNET, round, b"\x80" + bytes(46) + b"\x01"),
        ("on the curve, outside the group", QUICKNET, round, b"\x80" + bytes(46) + b"\x04"),
    ]


def _asked() -> list[tuple[Chain, int, int]]:
    first = TEST_CHAIN.genesis_time // 600
    return [
        (QUICKNET, 600, 0),
        (QUICKNET, 600, 2_821_338),
        (QUICKNET, 600, 2_821_339),
        (QUICKNET, 600, 2_945_376),
        (QUICKNET, 3, 564_267_789),
        (QUICKNET, 3, 564_267_790),
        (QUICKNET, 31_536_000, _LAST_EPOCH),
        (TEST_CHAIN, 600, first - 1),
        (TEST_CHAIN, 600, first),
        (TEST_CHAIN, 600, first + 1),
        (TEST_CHAIN, 601, 2_940_099),
        (TEST_CHAIN, 7, 252_428_571),
        (TEST_CHAIN, 7, 252_428_572),
    ]


def _info_json(chain: Chain) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(chain).items()}
