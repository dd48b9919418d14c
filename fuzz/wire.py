"""The decoders of `protocols/`: they accept only bytes that they would have written themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fuzz import seeds
from fuzz.target import Check, Target, refusing
from protocols.codec import decode, encode
from protocols.drand import QUICKNET, verify_round
from protocols.envelope import open_envelope
from protocols.invite import Invite
from protocols.limits import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, MAX_HEADS, MAX_LOG_ENVELOPES
from protocols.manifest import Manifest
from protocols.messages import Kind, Proof, Share, check_share, pack_body, unpack_body
from protocols.peer_id import peer_id, public_key
from protocols.proof import check_proof
from protocols.recipe import Recipe, seed
from protocols.sync import HeadsRequest, LogRequest, pack_heads, pack_log, read_heads, read_log
from protocols.vectors import make as make_vectors

Prepared = tuple[Check, Sequence[bytes]]


def codec() -> Prepared:
    def read(data: bytes) -> None:
        assert encode(decode(data, MAX_BODY_BYTES)) == data, "other bytes spell the same value"

    return refusing(read), seeds.cases("codec") + seeds.cases("bodies")


def envelope() -> Prepared:
    examples = seeds.cases("envelopes") + _rivals()
    signed: set[bytes] = set()

    def read(data: bytes) -> None:
        opened = open_envelope(data, make_vectors.SWARM)
        assert opened.to_bytes() == data, "other bytes spell the same envelope"
        assert not signed or data in signed, "an envelope that nobody signed"
        found.append(data)

    found: list[bytes] = []
    for data in examples:
        refusing(read)(data)
    signed.update(found)
    return refusing(read), examples


def _rivals() -> list[bytes]:
    """Two envelopes that prove an equivocation."""
    return [seeds.raw(each) for each in seeds.vectors("envelopes")["equivocation"]]


def body(kind: Kind) -> Prepared:
    def read(data: bytes) -> None:
        found = unpack_body(kind, data)
        assert pack_body(found) == data, "other bytes spell the same body"
        if isinstance(found, Share):
            check_share(found, make_vectors.ALICE)
        if isinstance(found, Proof):
            check_proof(found, make_vectors.SWARM)

    return refusing(read), seeds.cases("bodies", kind=int(kind)) or [encode(sorted(_rivals()))]


def manifest() -> Prepared:
    def read(data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        found = Manifest.from_toml(text)
        assert Manifest.from_toml(found.to_toml()).id == found.id, "it changes when it is written and read again"

    return refusing(read), seeds.cases("manifests", "toml")


def invite() -> Prepared:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        assert Invite.from_string(text).to_string() == text.strip(" \t\r\n"), "another text is the same invite"

    return refusing(read), seeds.cases("invites", "text")


def recipe() -> Prepared:
    good = [seeds.raw(each["bytes"]) for each in seeds.vectors("recipes")["valid"]]

    def read(data: bytes) -> None:
        found = Recipe.from_array(decode(data, MAX_BODY_BYTES))
        assert encode(found.to_array()) == data, "other bytes spell the same recipe"
        assert 0 <= seed(found, bytes(32)) < 2**63

    return refusing(read), good


def peer() -> Prepared:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        assert peer_id(public_key(text)) == text, "another text is the same peer"

    return refusing(read), seeds.cases("peers", "peer_id")


def drand_round() -> Prepared:
    """A round's number in 8 bytes and its signature."""
    rounds = [each for each in seeds.vectors("beacon")["valid"] if each["chain"] == QUICKNET.hash.hex()]
    good = [each["round"].to_bytes(8, "big") + bytes.fromhex(each["signature"]) for each in rounds]

    def read(data: bytes) -> None:
        verify_round(QUICKNET, int.from_bytes(data[:8], "big"), data[8:])
        assert data in good, "a round that the chain did not sign"

    return refusing(read), good


def sync() -> Prepared:
    """Requests for heads and logs, and what a peer answers to them."""
    swarm, anyone = make_vectors.SWARM, bytes(32)
    heads_request = HeadsRequest(swarm, anyone, MAX_HEADS)
    log_request = LogRequest(swarm, make_vectors.ALICE, 0, MAX_LOG_ENVELOPES)
    envelopes = [data for data in seeds.cases("envelopes") if len(data) < MAX_ENVELOPE_BYTES]

    def read(data: bytes) -> None:
        refusing(lambda data: _same(HeadsRequest.from_bytes(data).to_bytes(), data))(data)
        refusing(lambda data: _same(LogRequest.from_bytes(data).to_bytes(), data))(data)
        refusing(lambda data: _same(pack_heads(read_heads(data, heads_request)), data))(data)
        refusing(lambda data: _same(pack_log([each.to_bytes() for each in read_log(data, log_request)]), data))(data)

    heads = encode([[make_vectors.ALICE, 0, 7, anyone], [make_vectors.BOB, 3, 3, anyone]])
    return read, [heads_request.to_bytes(), log_request.to_bytes(), heads, pack_log(envelopes[:1]), pack_log(envelopes[:3])]


def _same(one: bytes, other: bytes) -> None:
    assert one == other, "other bytes spell the same"


# A share reserves more memory for each of its bytes than other bodies; a proof has two signatures.
UNUSUAL_BODIES: dict[Kind, dict[str, int]] = {Kind.SHARE: {"bytes_per_byte": 256}, Kind.PROOF: {"cost": 2}}

TARGETS = (
    Target("codec", codec),
    Target("envelope", envelope),
    *(Target(kind.name.lower(), partial(body, kind), **UNUSUAL_BODIES.get(kind, {})) for kind in Kind),
    Target("manifest", manifest, bytes_per_byte=512, cost=5),
    Target("invite", invite),
    Target("recipe", recipe),
    Target("peer-id", peer),
    Target("drand-round", drand_round, cost=4),
    Target("sync", sync, cost=3),
)
