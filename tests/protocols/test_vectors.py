"""The committed vectors are what the code makes, and the code reads them as they say."""

import json

import pytest

from protocols.codec import decode, encode
from protocols.drand import QUICKNET, Chain, drand_beacon, round_of_epoch, verify_round
from protocols.envelope import equivocates, open_envelope, seal
from protocols.invite import Invite
from protocols.limits import MAX_BODY_BYTES
from protocols.manifest import Manifest, epoch_of, permits, topic
from protocols.messages import Kind, Proof, Share, check_share, pack_body, unpack_body
from protocols.peer_id import peer_id, public_key
from protocols.proof import check_proof
from protocols.reasons import ManifestError, ProtocolError, Reason
from protocols.recipe import Recipe, local_beacon, seed
from protocols.sync import HeadsRequest, LogRequest, read_heads, read_log
from protocols.vectors import make as make_vectors
from protocols.vectors.as_json import body_json, envelope_json, recipe_json, typed
from protocols.vectors.beacon_cases import TEST_CHAIN


def load(name):
    return json.loads((make_vectors.DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def raw(value):
    return bytes.fromhex(value) if isinstance(value, str) else b"".join(bytes.fromhex(part) * times for part, times in value)


def same(value):
    """As JSON reads it back: tuples are lists."""
    return json.loads(json.dumps(value))


def cases(name, section):
    entries = load(name)[section]
    return [pytest.param(entry, id=entry.get("name", str(number))) for number, entry in enumerate(entries)]


def read_body(kind, data, signer):
    body = unpack_body(kind, data)
    if isinstance(body, Share):
        check_share(body, signer)
    return body


def read_envelope(case):
    envelope = open_envelope(raw(case["bytes"]), bytes.fromhex(case["swarm_id"]))
    return envelope, read_body(envelope.kind, envelope.body, envelope.key)


def refusal(read, *arguments):
    with pytest.raises(ProtocolError) as caught:
        read(*arguments)
    assert len(str(caught.value)) > 10
    return caught.value.reason


def test_committed_vectors_are_what_the_script_makes():
    made = make_vectors.files()
    assert {path.name for path in make_vectors.DIRECTORY.glob("*.json")} == set(made)
    for name, text in made.items():
        assert (make_vectors.DIRECTORY / name).read_text(encoding="utf-8") == text, "run: python -m protocols.vectors.make"


def test_invalid_vectors_show_every_reason_of_the_wire():
    shown = {case["reason"] for name in make_vectors.files() for case in load(name[:-5])["invalid"]}
    wire = list(Reason)[: list(Reason).index(Reason.OWN_KEY)]
    assert shown == {*wire, Reason.PROPOSER, Reason.BEACON, Reason.CHAIN, Reason.FALSE_PROOF}


@pytest.mark.parametrize("case", cases("codec", "valid"))
def test_codec(case):
    value = decode(raw(case["bytes"]), MAX_BODY_BYTES)
    assert typed(value) == case["value"]
    assert encode(value) == raw(case["bytes"])


@pytest.mark.parametrize("case", cases("codec", "invalid"))
def test_codec_refuses(case):
    assert refusal(decode, raw(case["bytes"]), MAX_BODY_BYTES) == case["reason"]


@pytest.mark.parametrize("case", cases("recipes", "valid"))
def test_recipe(case):
    recipe = Recipe.from_array(decode(raw(case["bytes"]), MAX_BODY_BYTES))
    assert recipe_json(recipe) == case["recipe"]
    assert str(seed(recipe, raw(case["beacon"]))) == case["seed"]


@pytest.mark.parametrize("case", cases("recipes", "local_beacons"))
def test_local_beacon(case):
    assert local_beacon(raw(case["manifest_id"]), case["epoch"]).hex() == case["value"]


@pytest.mark.parametrize("case", cases("peers", "valid"))
def test_peer(case):
    assert peer_id(raw(case["public_key"])) == case["peer_id"]
    assert public_key(case["peer_id"]).hex() == case["public_key"]


@pytest.mark.parametrize("case", cases("peers", "invalid"))
def test_peer_refuses(case):
    assert refusal(public_key, case["peer_id"]) == case["reason"]


@pytest.mark.parametrize("case", cases("manifests", "valid"))
def test_manifest(case):
    manifest = Manifest.from_toml(case["toml"])
    assert encode(manifest.to_array()).hex() == case["bytes"]
    assert (manifest.swarm_id, topic(manifest)) == (case["swarm_id"], case["topic"])
    assert [{"time_ms": each["time_ms"], "epoch": epoch_of(manifest, each["time_ms"])} for each in case["epochs"]] == case[
        "epochs"
    ]


@pytest.mark.parametrize("case", cases("manifests", "invalid"))
def test_manifest_refuses(case):
    with pytest.raises(ManifestError):
        Manifest.from_toml(case["toml"])


@pytest.mark.parametrize("case", cases("manifests", "permits"))
def test_permits(case):
    fields = case["recipe"]
    parameters = tuple((name, next(iter(value.values()))) for name, value in fields["parameters"])
    recipe = Recipe(**{**fields, "parameters": parameters, "proposer": raw(fields["proposer"])})
    assert permits(Manifest.from_toml(case["toml"]), recipe) == case["reason"]


@pytest.mark.parametrize("case", cases("bodies", "valid"))
def test_body(case):
    body = read_body(case["kind"], raw(case["bytes"]), raw(case["signer"]))
    assert same(body_json(body)) == case["body"]
    assert pack_body(body) == raw(case["bytes"])


@pytest.mark.parametrize("case", cases("bodies", "invalid"))
def test_body_refuses(case):
    assert refusal(read_body, case["kind"], raw(case["bytes"]), raw(case["signer"])) == case["reason"]


@pytest.mark.parametrize("case", cases("envelopes", "valid"))
def test_envelope(case):
    envelope, body = read_envelope(case)
    assert same(envelope_json(envelope)) == case["fields"]
    assert same(body_json(body)) == case["body"]
    assert envelope.id.hex() == case["id"]
    key = make_vectors.Ed25519PrivateKey.from_private_bytes(raw(case["secret"]))
    again = seal(key, envelope.sequence, envelope.previous, envelope.time_ms, body, envelope.swarm)
    assert again.to_bytes() == raw(case["bytes"])


@pytest.mark.parametrize("case", cases("envelopes", "invalid"))
def test_envelope_refuses(case):
    assert refusal(read_envelope, case) == case["reason"]


def test_the_valid_envelopes_are_one_log_and_the_last_two_a_proof():
    vectors = load("envelopes")
    log = [read_envelope(case)[0] for case in vectors["valid"]]
    assert [envelope.sequence for envelope in log] == [0, 1, 2]
    assert [envelope.previous for envelope in log] == [bytes(32), log[0].id, log[1].id]
    one, other = (open_envelope(raw(data), log[0].swarm) for data in vectors["equivocation"])
    assert equivocates(one, other)
    assert not equivocates(one, one)
    assert not equivocates(log[0], log[1])


def convicted(case):
    body = unpack_body(Kind.PROOF, raw(case["bytes"]))
    assert isinstance(body, Proof)
    return check_proof(body, raw(case["swarm_id"])).hex()


@pytest.mark.parametrize("case", cases("proofs", "valid"))
def test_proof(case):
    assert convicted(case) == case["signer"]


@pytest.mark.parametrize("case", cases("proofs", "invalid"))
def test_false_proof(case):
    assert refusal(convicted, case) == case["reason"]


def read_sync(case):
    """What a message of log sync says, as the vectors write it."""
    data, of = raw(case["bytes"]), case["message"]
    if of == "heads-request":
        asked = HeadsRequest.from_bytes(data)
        return {"swarm": asked.swarm.hex(), "start": asked.start.hex(), "count": asked.count}
    if of == "log-request":
        wanted = LogRequest.from_bytes(data)
        return {"swarm": wanted.swarm.hex(), "key": wanted.key.hex(), "first": wanted.first, "count": wanted.count}
    if of == "heads":
        heads = read_heads(data, HeadsRequest.from_bytes(raw(case["request"])))
        return [{"key": head.key.hex(), "first": head.first, "last": head.last, "id": head.id.hex()} for head in heads]
    return [envelope.id.hex() for envelope in read_log(data, LogRequest.from_bytes(raw(case["request"])))]


@pytest.mark.parametrize("case", cases("sync", "valid"))
def test_sync(case):
    assert read_sync(case) == case["fields"]


@pytest.mark.parametrize("case", cases("sync", "invalid"))
def test_sync_refuses(case):
    assert refusal(read_sync, case) == case["reason"]


@pytest.mark.parametrize("case", cases("invites", "valid"))
def test_invite(case):
    invite = Invite.from_string(f"  {case['text']}\n")
    assert (invite.manifest_id.hex(), list(invite.addresses)) == (case["manifest_id"], case["addresses"])
    assert invite.to_string() == case["text"]


@pytest.mark.parametrize("case", cases("invites", "invalid"))
def test_invite_refuses(case):
    assert refusal(Invite.from_string, case["text"]) == case["reason"]


CHAINS = {chain.hash.hex(): chain for chain in (QUICKNET, TEST_CHAIN)}


@pytest.mark.parametrize("case", cases("beacon", "valid"))
def test_beacon(case):
    randomness = verify_round(CHAINS[case["chain"]], case["round"], raw(case["signature"]))
    assert randomness.hex() == case["randomness"]
    for each in case["values"]:
        assert drand_beacon(raw(each["manifest_id"]), each["epoch"], randomness).hex() == each["value"]


@pytest.mark.parametrize("case", cases("beacon", "invalid"))
def test_beacon_refuses(case):
    assert refusal(verify_round, CHAINS[case["chain"]], case["round"], raw(case["signature"])) == case["reason"]


def test_chains_and_the_rounds_of_epochs():
    vectors = load("beacon")
    for case in vectors["chains"]:
        binary = {name: raw(case["info"][name]) for name in ("public_key", "group_hash")}
        assert Chain(**{**case["info"], **binary}).hash.hex() == case["hash"]
    for case in vectors["rounds"]:
        assert round_of_epoch(CHAINS[case["chain"]], case["epoch_seconds"], case["epoch"]) == case["round"]
