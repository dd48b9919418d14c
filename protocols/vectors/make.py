"""Write `vectors/*.json`, which check peers in other languages: `python -m protocols.vectors.make`.

Every file has `valid` and `invalid` cases; an invalid one carries the reason code that a reader
must give. Bytes are hexadecimal, or a list of [hexadecimal, times] where they are long. A value
whose type JSON would lose is an object of one key: {"integer": 1}, {"float": 1.0}, {"text": ""},
{"binary": "00"}, {"boolean": true}, {"array": []}.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import encode
from protocols.envelope import ENVELOPE_DOMAIN, NO_PREVIOUS, Envelope, seal
from protocols.invite import INVITE_DOMAIN, Invite
from protocols.limits import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, MAX_INLINE_BODY_BYTES, MAX_TEXT_BYTES
from protocols.manifest import Manifest, epoch_of, permits, topic
from protocols.messages import Announce, Body, Completion, PolicyTag, Proof, RolloutGroup, Share, kind_of, pack_body
from protocols.peer_id import peer_id
from protocols.recipe import Parameter, Recipe, local_beacon, seed
from protocols.vectors import faults, log_cases
from protocols.vectors.as_json import body_json, envelope_json, recipe_json, typed
from protocols.vectors.beacon_cases import beacons

DIRECTORY = Path(__file__).parent
TIME_MS = 1_767_225_600_000  # 2026-01-01

_SECRETS = {"alice": bytes(range(32)), "bob": bytes(range(32, 64))}
_KEYS = {name: Ed25519PrivateKey.from_private_bytes(secret) for name, secret in _SECRETS.items()}
ALICE, BOB = (key.public_key().public_bytes_raw() for key in _KEYS.values())
SWARM = Manifest.from_toml(faults.MANIFEST).id
LEVEL: tuple[tuple[str, Parameter], ...] = (("level", 3),)


def files() -> dict[str, str]:
    """The text of every vector file, by its name."""
    made = {
        "codec.json": _codec(),
        "recipes.json": _recipes(),
        "peers.json": _peers(),
        "manifests.json": _manifests(),
        "bodies.json": _bodies(),
        "envelopes.json": _envelopes(),
        "proofs.json": log_cases.proofs(SWARM, *_KEYS.values()),
        "sync.json": log_cases.sync(SWARM, *_KEYS.values()),
        "invites.json": _invites(),
        "beacon.json": beacons(SWARM),
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=True) + "\n" for name, content in made.items()}


def _codec() -> dict[str, Any]:
    return {
        "valid": [{"name": name, "bytes": encode(value).hex(), "value": typed(value)} for name, value in faults.GOOD_CODEC],
        "invalid": [{"name": name, "bytes": data, "reason": reason} for name, data, reason in faults.BAD_CODEC],
    }


def _recipes() -> dict[str, Any]:
    settings: tuple[tuple[str, Parameter], ...] = (
        ("count", -7), ("level", 1), ("ratio", 1.0), ("strict", True), ("words", "näher"),
    )  # fmt: skip
    recipes = [
        _recipe(0),
        _recipe(1),
        Recipe("reasoning_gym/spell_backward", "0.1.25", (), 0, BOB, 2**53 - 1),
        Recipe("a/b", "1", settings, 2**53 - 1, BOB, 5),
    ]
    beacons = [local_beacon(SWARM, recipe.epoch) for recipe in recipes]
    return {
        "valid": [
            {
                "recipe": recipe_json(recipe),
                "bytes": encode(recipe.to_array()).hex(),
                "beacon": beacon.hex(),
                "seed": str(seed(recipe, beacon)),
            }
            for recipe, beacon in zip(recipes, beacons, strict=True)
        ],
        "invalid": [],
        "local_beacons": [
            {"manifest_id": SWARM.hex(), "epoch": epoch, "value": local_beacon(SWARM, epoch).hex()} for epoch in (0, 1, 2**40)
        ],
    }


def _peers() -> dict[str, Any]:
    good = peer_id(ALICE)
    bad = {
        "empty": "",
        "one character missing": good[:-1],
        "one character too many": good + "1",
        "a character outside base58": good[:-1] + "0",
        "not of ASCII": good[:-1] + "é",
        "an RSA peer id": "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "another type of key": "16Uiu2HAm" + good[9:],
    }
    return {
        "valid": [{"public_key": key.hex(), "peer_id": peer_id(key)} for key in (ALICE, BOB, bytes(32), b"\xff" * 32)],
        "invalid": [{"name": name, "peer_id": text, "reason": "schema"} for name, text in bad.items()],
    }


def _manifests() -> dict[str, Any]:
    valid = []
    for name, text in faults.GOOD_MANIFESTS:
        manifest = Manifest.from_toml(text)
        times = (0, manifest.epoch_seconds * 1000 - 1, manifest.epoch_seconds * 1000, TIME_MS)
        valid.append(
            {
                "name": name,
                "toml": text,
                "bytes": encode(manifest.to_array()).hex(),
                "swarm_id": manifest.swarm_id,
                "topic": topic(manifest),
                "epochs": [{"time_ms": moment, "epoch": epoch_of(manifest, moment)} for moment in times],
            }
        )
    smallest = Manifest.from_toml(faults.MANIFEST)
    asked = {
        "as it should be": _recipe(0),
        "last index": _recipe(99),
        "index at the cap": _recipe(100),
        "level below": _recipe(0, level=0),
        "level above": _recipe(0, level=6),
        "level a float": _recipe(0, level=3.0),
        "level a boolean": _recipe(0, level=True),
        "level missing": Recipe("reasoning_gym/spell_backward", "0.1.25", (), 7, ALICE, 0),
        "one parameter more": Recipe("reasoning_gym/spell_backward", "0.1.25", (*LEVEL, ("size", 1)), 7, ALICE, 0),
        "another version": Recipe("reasoning_gym/spell_backward", "0.1.26", LEVEL, 7, ALICE, 0),
        "another environment": Recipe("reasoning_gym/gcd", "0.1.25", LEVEL, 7, ALICE, 0),
    }
    return {
        "valid": valid,
        "invalid": [
            {"name": name, "toml": faults.MANIFEST.replace(old, new, 1), "reason": "manifest"}
            for name, old, new in faults.BAD_MANIFESTS
        ],
        "permits": [
            {"name": name, "toml": faults.MANIFEST, "recipe": recipe_json(recipe), "reason": permits(smallest, recipe)}
            for name, recipe in asked.items()
        ],
    }


def _bodies() -> dict[str, Any]:
    good: dict[str, Body] = {
        "a share of two groups": _share(),
        "a share of nothing": Share(0, 7, 10, 0, ()),
        "a proof": Proof(b"one envelope", b"two"),
        "an announcement": Announce(hashlib.sha256(b"a body").digest(), MAX_BODY_BYTES),
    }
    valid = [
        {
            "name": name,
            "kind": int(kind_of(body)),
            "signer": ALICE.hex(),
            "bytes": pack_body(body).hex(),
            "body": body_json(body),
        }
        for name, body in good.items()
    ]
    array = _share_array(_share())
    bad = [(name, faults.changed(array, path, value), "schema") for name, path, value in faults.BAD_SHARE_FIELDS]
    bad += [(name, faults.changed(array, path, value), reason) for name, path, value, reason in faults.BAD_SHARE_VALUES]
    bad.append(("proposed by another key", faults.changed(array, (4, 0, 0, 4), BOB), "proposer"))
    bad.append(("four fields", array[:4], "schema"))
    bad.append(("six fields", [*array, 0], "schema"))
    invalid = [
        {"name": name, "kind": 1, "signer": ALICE.hex(), "bytes": msgpack.packb(value).hex(), "reason": reason}
        for name, value, reason in bad
    ]
    whole = pack_body(_share()).hex()
    head, tail = _long_text()
    group = encode(array[4][0]).hex()
    raw: list[tuple[str, int, Any, str]] = [
        ("empty", 1, "", "malformed"),
        ("cut off", 1, whole[:-2], "malformed"),
        ("a byte left over", 1, whole + "00", "malformed"),
        ("a text one byte too long", 1, [[head, 1], ["61", MAX_TEXT_BYTES + 1], [tail, 1]], "schema"),
        ("129 groups", 1, [["95030700cc8fdc0081", 1], [group, 129]], "schema"),
        ("more than 65536 values", 1, [["95030700cc8fdcffff", 1], ["01", 65_535]], "too-large"),
        ("more than 8 MiB", 1, [["c6", 1], ["00", MAX_BODY_BYTES]], "too-large"),
        ("announcement of three fields", 2, encode([bytes(32), 1, 1]).hex(), "schema"),
        ("announcement with a short hash", 2, encode([bytes(31), 1]).hex(), "schema"),
        ("announcement of nothing", 2, encode([bytes(32), 0]).hex(), "schema"),
        ("announcement of more than 8 MiB", 2, encode([bytes(32), MAX_BODY_BYTES + 1]).hex(), "schema"),
        ("a proof of three fields", 3, encode([b"1", b"2", b"3"]).hex(), "schema"),
        ("a proof of an envelope and itself", 3, encode([b"1", b"1"]).hex(), "schema"),
        ("a proof in descending order", 3, encode([b"2", b"1"]).hex(), "schema"),
        ("a proof of texts", 3, encode(["1", "2"]).hex(), "schema"),
        ("a kind of another version", 100, "90", "kind"),
    ]
    invalid += [
        {"name": name, "kind": kind, "signer": ALICE.hex(), "bytes": data, "reason": reason} for name, kind, data, reason in raw
    ]
    return {"valid": valid, "invalid": invalid}


def _envelopes() -> dict[str, Any]:
    first = seal(_KEYS["alice"], 0, NO_PREVIOUS, TIME_MS, _share(), SWARM)
    second = seal(_KEYS["alice"], 1, first.id, TIME_MS + 1, Share(4, 7, 14, 0, ()), SWARM)
    third = seal(_KEYS["alice"], 2, second.id, TIME_MS + 2, Announce(hashlib.sha256(b"a body").digest(), 300_000), SWARM)
    twin = seal(_KEYS["alice"], 1, first.id, TIME_MS + 3, Share(4, 7, 14, 0, ()), SWARM)
    newer = _signed([1, 100, ALICE, 3, third.id, TIME_MS, b"\x90"])
    return {
        "valid": [
            {
                "name": name,
                "secret": _SECRETS["alice"].hex(),
                "swarm_id": SWARM.hex(),
                "bytes": each.to_bytes().hex(),
                "id": each.id.hex(),
                "fields": envelope_json(each),
                "body": body_json(body),
            }
            for name, each, body in (
                ("first of a log", first, _share()),
                ("second", second, Share(4, 7, 14, 0, ())),
                ("third, an announcement", third, Announce(hashlib.sha256(b"a body").digest(), 300_000)),
            )
        ],
        "invalid": [
            {"name": name, "swarm_id": swarm.hex(), "bytes": data, "reason": reason}
            for name, swarm, data, reason in [
                ("a kind of another version, well signed", SWARM, newer.hex(), "kind"),
                ("signed for another swarm", bytes(32), first.to_bytes().hex(), "signature"),
                *[(name, SWARM, data, reason) for name, data, reason in _bad_envelopes(second)],
            ]
        ],
        "equivocation": [second.to_bytes().hex(), twin.to_bytes().hex()],
    }


def _bad_envelopes(good: Envelope) -> list[tuple[str, Any, str]]:
    """From a good one with sequence 1: name, bytes, reason."""
    fields = [1, 1, ALICE, 1, good.previous, TIME_MS, good.body]
    array = [*fields, good.signature]
    whole = good.to_bytes()
    signed = {
        "kind 0": [1, 0, *fields[2:]],
        "kind 128": [1, 128, *fields[2:]],
        "kind text": [1, "1", *fields[2:]],
        "key of 31 bytes": [*fields[:2], ALICE[:31], *fields[3:]],
        "key text": [*fields[:2], "a" * 32, *fields[3:]],
        "sequence negative": [*fields[:3], -1, *fields[4:]],
        "sequence a float": [*fields[:3], 1.0, *fields[4:]],
        "sequence 0 with a previous": [*fields[:3], 0, *fields[4:]],
        "sequence 1 without a previous": [*fields[:4], NO_PREVIOUS, *fields[5:]],
        "previous of 33 bytes": [*fields[:4], bytes(33), *fields[5:]],
        "time negative": [*fields[:5], -1, fields[6]],
        "body text": [*fields[:6], "body"],
        "body an array": [*fields[:6], []],
        "version 128": [128, *fields[1:]],
        "version text": ["1", *fields[1:]],
        "body of the wrong shape": [*fields[:6], b"\x90"],
    }
    body = bytes(MAX_INLINE_BODY_BYTES + 1)
    start, end = encode([*fields[:6], body, bytes(64)]).split(body, 1)
    nobody = b"\x01" + bytes(31)  # the neutral point: the signature (neutral, 0) fits every message
    flipped = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    return [
        *[(name, _signed(value).hex(), "schema") for name, value in signed.items()],
        ("nothing", "", "malformed"),
        ("random", hashlib.sha256(b"random").hexdigest(), "malformed"),
        ("a text", "a6737761726d64", "schema"),
        ("cut off", whole[:-1].hex(), "malformed"),
        ("a byte left over", whole.hex() + "00", "malformed"),
        ("seven fields", encode(fields).hex(), "schema"),
        ("nine fields", encode([*array, 0]).hex(), "schema"),
        ("nested deeper than an envelope", encode([*fields[:6], [[[]]], good.signature]).hex(), "too-large"),
        ("more values than an envelope", encode([*fields[:6], [0] * 16, good.signature]).hex(), "too-large"),
        ("larger than 768 KiB", [[whole.hex(), 1], ["00", MAX_ENVELOPE_BYTES - len(whole) + 1]], "too-large"),
        ("a body that had to be announced", [[start.hex(), 1], ["00", len(body)], [end.hex(), 1]], "too-large"),
        ("version 2", encode([2, *array[1:]]).hex(), "version"),
        ("version 0", encode([0, *array[1:]]).hex(), "version"),
        ("version 127 of another layout", "917f", "version"),
        ("version 2, of types this version refuses", "9202c0", "version"),
        (
            "body with a long head",
            whole.hex().replace(encode(good.body).hex(), "c500" + encode(good.body).hex()[2:]),
            "not-canonical",
        ),
        ("signature of 63 bytes", encode([*fields, good.signature[:63]]).hex(), "schema"),
        ("signature of zeros", encode([*fields, bytes(64)]).hex(), "signature"),
        ("signature with a flipped bit", encode([*fields, flipped]).hex(), "signature"),
        ("signature with the group order added", encode([*fields, faults.lax_signature(good.signature)]).hex(), "signature"),
        ("time changed", encode([*fields[:5], TIME_MS, good.body, good.signature]).hex(), "signature"),
        ("signed by another key", encode([*fields[:2], BOB, *array[3:]]).hex(), "signature"),
        ("signed without the domain", encode([*fields, _KEYS["alice"].sign(encode(fields))]).hex(), "signature"),
        ("a key under which anybody can sign", encode([*fields[:2], nobody, *fields[3:], nobody + bytes(32)]).hex(), "signature"),
        (
            "a key with an unreduced coordinate",
            encode([*fields[:2], b"\xf0" + b"\xff" * 30 + b"\x7f", *array[3:]]).hex(),
            "signature",
        ),
    ]


def _invites() -> dict[str, Any]:
    address = f"/ip4/203.0.113.7/tcp/4711/p2p/{peer_id(ALICE)}"
    relayed = f"/dns4/relay.example/tcp/443/wss/p2p/{peer_id(BOB)}/p2p-circuit/p2p/{peer_id(ALICE)}"
    good = [Invite(SWARM, ()), Invite(SWARM, (address,)), Invite(SWARM, (address, relayed))]
    text = good[1].to_string()
    other_tail = text[:-1] + chr(ord(text[-1]) + 1)
    bad = [
        ("empty", "", "malformed"),
        ("another scheme", "https://example.org", "malformed"),
        ("another version", text.replace("swarmd1:", "swarmd2:"), "version"),
        ("characters of another alphabet", text[:20] + "+/" + text[22:], "malformed"),
        ("padded", text + "=", "malformed"),
        ("cut to a length that cannot be", text[: 8 + 41], "malformed"),
        ("cut", text[: 8 + 44], "checksum"),
        ("one character changed", text[:20] + ("A" if text[20] != "A" else "B") + text[21:], "checksum"),
        ("unused bits set", other_tail, "not-canonical"),
        ("longer than 8192 characters", "swarmd1:" + "A" * 8192, "too-large"),
        ("not an array", _invite(encode("x")), "schema"),
        ("short manifest id", _invite(encode([SWARM[:31], []])), "schema"),
        ("three fields", _invite(encode([SWARM, [], 0])), "schema"),
        ("17 addresses", _invite(encode([SWARM, [address] * 17])), "schema"),
        ("address without a peer id", _invite(encode([SWARM, ["/ip4/203.0.113.7/tcp/4711"]])), "schema"),
        ("address with a bad peer id", _invite(encode([SWARM, [address[:-1]]])), "schema"),
        ("address with a space", _invite(encode([SWARM, ["/ip4/ " + address]])), "schema"),
        ("address binary", _invite(encode([SWARM, [address.encode()]])), "schema"),
        ("not canonical", _invite(b"\xdc\x00\x02" + encode([SWARM, []])[1:]), "not-canonical"),
    ]
    return {
        "valid": [
            {"text": each.to_string(), "manifest_id": each.manifest_id.hex(), "addresses": each.addresses} for each in good
        ],
        "invalid": [{"name": name, "text": text, "reason": reason} for name, text, reason in bad],
    }


def _invite(payload: bytes) -> str:
    checksum = hashlib.sha256(INVITE_DOMAIN + payload).digest()[:4]
    return "swarmd1:" + base64.urlsafe_b64encode(payload + checksum).decode().rstrip("=")


def _recipe(index: int, level: Parameter = 3) -> Recipe:
    return Recipe("reasoning_gym/spell_backward", "0.1.25", (("level", level),), 7, ALICE, index)


def _share() -> Share:
    policy = PolicyTag("swarmd/embedded", hashlib.sha256(b"weights").digest(), 12)
    solved = Completion("dlrow olleh", True, 12, -3.25)
    odd = Completion("…🐝\ufeff\x00\n", False, 32, -170.4375)
    return Share(
        3,
        7,
        10,
        4,
        (
            RolloutGroup(_recipe(11), "compact", policy, (solved, odd), (1.0, 0.0)),
            RolloutGroup(_recipe(12), "prose", policy, (odd, solved, Completion("", True, 1, 0.0)), (0.01, 1.0, -0.5)),
        ),
    )


def _share_array(share: Share) -> list[Any]:
    array: list[Any] = msgpack.unpackb(pack_body(share))
    return array


def _long_text() -> tuple[str, str]:
    """What stands before and after the letters of a completion that is one byte over the limit."""
    array = faults.changed(_share_array(_share()), (4, 0, 3, 0, 0), "a" * (MAX_TEXT_BYTES + 1))
    head, tail = msgpack.packb(array).hex().split("61" * (MAX_TEXT_BYTES + 1))
    return head, tail


def _signed(fields: list[Any]) -> bytes:
    """An envelope of any seven fields, signed as it should be."""
    return encode([*fields, _KEYS["alice"].sign(ENVELOPE_DOMAIN + SWARM + encode(fields))])


if __name__ == "__main__":
    for name, content in files().items():
        (DIRECTORY / name).write_text(content, encoding="utf-8")
