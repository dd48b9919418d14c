"""The cases of `vectors/proofs.json` and `vectors/sync.json`."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import encode
from protocols.envelope import NO_PREVIOUS, Envelope, seal
from protocols.limits import MAX_ENVELOPE_BYTES, MAX_HEADS, MAX_LOG_ENVELOPES
from protocols.messages import Share, pack_body
from protocols.proof import prove
from protocols.sync import Head, HeadsRequest, LogRequest, pack_heads, pack_log

_TIME_MS = 1_767_225_600_000
_MAX_INTEGER = 2**53 - 1


def _log(key: Ed25519PrivateKey, swarm: bytes, length: int = 3, round: int = 1) -> list[Envelope]:
    """A log of empty shares; another round makes another history."""
    envelopes: list[Envelope] = []
    for sequence in range(length):
        previous = envelopes[-1].id if envelopes else NO_PREVIOUS
        envelopes.append(seal(key, sequence, previous, _TIME_MS + sequence, Share(round, 7, sequence, 1, ()), swarm))
    return envelopes


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def proofs(swarm: bytes, alice: Ed25519PrivateKey, bob: Ed25519PrivateKey) -> dict[str, Any]:
    """Bodies of kind 3, with the key that they convict or the reason why they convict nobody."""
    here, twin = _log(alice, swarm), _log(alice, swarm, round=2)
    elsewhere, other = _log(alice, bytes(32), round=2), _log(bob, swarm)
    valid = [(f"two envelopes with number {one.sequence}", prove(one, two)) for one, two in zip(here[:2], twin[:2], strict=True)]
    pairs = {
        "two numbers of one log": (here[0], here[1]),
        "two signers": (here[0], other[0]),
        "another swarm's envelope": (here[0], elsewhere[0]),
    }
    raw = {name: [one.to_bytes(), two.to_bytes()] for name, (one, two) in pairs.items()}
    raw["a broken signature"] = [here[0].to_bytes(), _flipped(twin[0].to_bytes())]
    raw["no envelopes"] = [b"one", b"two"]
    return {
        "valid": [
            {"name": name, "swarm_id": swarm.hex(), "bytes": pack_body(proof).hex(), "signer": here[0].key.hex()}
            for name, proof in valid
        ],
        "invalid": [
            {"name": name, "swarm_id": swarm.hex(), "bytes": encode(sorted(pair)).hex(), "reason": "false-proof"}
            for name, pair in raw.items()
        ],
    }


def sync(swarm: bytes, alice: Ed25519PrivateKey, bob: Ed25519PrivateKey) -> dict[str, Any]:
    """Requests with their fields, answers with what they say to the request beside them."""
    log, other = _log(alice, swarm), _log(bob, swarm)
    heads = sorted((Head(each[0].key, 0, 2, each[2].id) for each in (log, other)), key=lambda head: head.key)
    ask_heads, ask_log = HeadsRequest(swarm, bytes(32), MAX_HEADS), LogRequest(swarm, log[0].key, 0, 3)
    last = HeadsRequest(swarm, heads[1].key, 1)
    stretch = [each.to_bytes() for each in log]
    answers: list[tuple[str, str, HeadsRequest | LogRequest, bytes]] = [
        ("heads of two signers", "heads", ask_heads, pack_heads(heads)),
        ("the head of one", "heads", last, pack_heads(heads[1:])),
        ("no heads", "heads", ask_heads, pack_heads([])),
        ("a whole log", "log", ask_log, pack_log(stretch)),
        ("its middle", "log", LogRequest(swarm, log[0].key, 1, MAX_LOG_ENVELOPES), pack_log(stretch[1:2])),
        ("what is held of it", "log", ask_log, pack_log(stretch[::2])),
        ("nothing of it", "log", LogRequest(swarm, log[0].key, _MAX_INTEGER, 1), pack_log([])),
    ]
    head = [heads[0].key, 0, 2, heads[0].id]
    bad_requests: list[tuple[str, str, bytes, str]] = [
        ("empty", "heads-request", b"", "malformed"),
        ("longer than 128 bytes", "heads-request", encode([swarm, bytes(32), b"0" * 64]), "too-large"),
        ("a short key", "heads-request", encode([swarm, bytes(31), 1]), "schema"),
        ("no heads asked for", "heads-request", encode([swarm, bytes(32), 0]), "schema"),
        ("1025 heads", "heads-request", encode([swarm, bytes(32), MAX_HEADS + 1]), "schema"),
        ("two fields", "heads-request", encode([swarm, bytes(32)]), "schema"),
        ("nested", "log-request", encode([swarm, bytes(32), [0], 1]), "too-large"),
        ("a negative number", "log-request", encode([swarm, bytes(32), -1, 1]), "schema"),
        ("257 envelopes", "log-request", encode([swarm, bytes(32), 0, MAX_LOG_ENVELOPES + 1]), "schema"),
        ("a short swarm id", "log-request", encode([swarm[1:], bytes(32), 0, 1]), "schema"),
        ("not canonical", "log-request", b"\xdc\x00\x04" + encode([swarm, bytes(32), 0, 1])[1:], "not-canonical"),
    ]
    bad_answers: list[tuple[str, str, HeadsRequest | LogRequest, bytes, str]] = [
        ("not an array", "heads", ask_heads, encode(b""), "schema"),
        ("more heads than asked for", "heads", HeadsRequest(swarm, bytes(32), 1), pack_heads(heads), "schema"),
        ("a key before the first asked for", "heads", last, pack_heads(heads[:1]), "schema"),
        ("one signer twice", "heads", ask_heads, encode([head, head]), "schema"),
        ("keys in no order", "heads", ask_heads, encode([[heads[1].key, *head[1:]], head]), "schema"),
        ("first after last", "heads", ask_heads, encode([[head[0], 3, 2, head[3]]]), "schema"),
        ("a short id", "heads", ask_heads, encode([[*head[:3], bytes(31)]]), "schema"),
        ("a head of three fields", "heads", ask_heads, encode([head[:3]]), "schema"),
        ("more than asked for", "log", LogRequest(swarm, log[0].key, 0, 2), pack_log(stretch), "schema"),
        ("before what was asked for", "log", LogRequest(swarm, log[0].key, 1, 3), pack_log(stretch[:1]), "schema"),
        ("behind what was asked for", "log", LogRequest(swarm, log[0].key, 0, 2), pack_log(stretch[2:]), "schema"),
        ("in descending order", "log", ask_log, pack_log(stretch[::-1]), "schema"),
        ("one envelope twice", "log", ask_log, pack_log(stretch[:1] * 2), "schema"),
        ("another signer's", "log", ask_log, pack_log([other[0].to_bytes()]), "schema"),
        ("text for an envelope", "log", ask_log, encode(["envelope"]), "schema"),
        ("of another history", "log", ask_log, pack_log([stretch[0], _log(alice, swarm, round=2)[1].to_bytes()]), "chain"),
        ("a broken signature", "log", ask_log, pack_log([_flipped(stretch[0])]), "signature"),
        ("cut off", "log", ask_log, pack_log(stretch)[:-1], "malformed"),
        ("too large an envelope", "log", ask_log, encode([bytes(MAX_ENVELOPE_BYTES + 1)]), "schema"),
        ("larger than 1 MiB", "log", ask_log, encode([bytes(2**20)]), "too-large"),
    ]
    valid: list[dict[str, Any]] = []
    for name, of, asked, answer in answers:
        request, said = asked.to_bytes().hex(), _said(of, answer, heads, log)
        valid.append({"name": name, "message": f"{of}-request", "bytes": request, "fields": _fields(asked)})
        valid.append({"name": name, "message": of, "request": request, "bytes": answer.hex(), "fields": said})
    invalid: list[dict[str, Any]] = [
        {"name": name, "message": of, "bytes": data.hex(), "reason": reason} for name, of, data, reason in bad_requests
    ]
    for name, of, asked, data, reason in bad_answers:
        request = asked.to_bytes().hex()
        invalid.append({"name": name, "message": of, "request": request, "bytes": _short(data), "reason": reason})
    return {"valid": valid, "invalid": invalid}


def _fields(asked: HeadsRequest | LogRequest) -> dict[str, Any]:
    if isinstance(asked, HeadsRequest):
        return {"swarm": asked.swarm.hex(), "start": asked.start.hex(), "count": asked.count}
    return {"swarm": asked.swarm.hex(), "key": asked.key.hex(), "first": asked.first, "count": asked.count}


def _said(of: str, answer: bytes, heads: list[Head], log: list[Envelope]) -> list[Any]:
    """What is in the answer, known by its bytes: heads by their fields, envelopes by their ids."""
    if of == "heads":
        return [
            {"key": head.key.hex(), "first": head.first, "last": head.last, "id": head.id.hex()}
            for head in heads
            if head.key in answer
        ]
    return [each.id.hex() for each in log if each.to_bytes() in answer]


def _short(data: bytes) -> Any:
    """Hexadecimal; the zeros of a very long answer as a count."""
    if len(data) < 10_000:
        return data.hex()
    head = data.rstrip(b"\0")
    return [[head.hex(), 1], ["00", len(data) - len(head)]]
