import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from shapes import hashes

from protocols.invite import Invite
from protocols.peer_id import peer_id, public_key
from protocols.reasons import ProtocolError, Reason
from protocols.vectors.make import ALICE, SWARM

ADDRESS = f"/ip6/2001:db8::1/udp/4711/quic-v1/p2p/{peer_id(ALICE)}"
TEXT = Invite(SWARM, (ADDRESS,)).to_string()

hosts = st.sampled_from(["/ip4/203.0.113.7/tcp/4711", "/dns4/node.example/tcp/443/wss", f"{ADDRESS}/p2p-circuit"])
addresses = st.tuples(hosts, hashes.map(peer_id)).map("/p2p/".join)


@given(hashes, st.lists(addresses, max_size=16))
def test_an_invite_survives_its_text(manifest_id, known):
    invite = Invite(manifest_id, tuple(known))
    assert Invite.from_string(invite.to_string()) == invite
    assert all(str(Multiaddr(address)) == address for address in known), "what is allowed are multiaddrs"


def test_every_slip_of_one_character_is_noticed():
    for place in range(len(TEXT)):
        for slip in ("", "A", "_", TEXT[place] * 2, " "):
            text = TEXT[:place] + slip + TEXT[place + 1 :]
            if text.strip() != TEXT:
                with pytest.raises(ProtocolError):
                    Invite.from_string(text)


@given(st.one_of(st.text(max_size=40), st.text(max_size=40).map("swarmd1:".__add__)))
def test_random_text_raises_nothing_but_protocol_errors(text):
    with pytest.raises(ProtocolError):
        Invite.from_string(text)


def test_a_cut_invite_says_what_to_do():
    with pytest.raises(ProtocolError, match="copy it again") as caught:
        Invite.from_string(TEXT[:-8])
    assert caught.value.reason is Reason.CHECKSUM


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "/p2p/" + peer_id(ALICE),
        "//p2p/" + peer_id(ALICE),
        "ip4/1.2.3.4/p2p/" + peer_id(ALICE),
        ADDRESS + "/",
        "/ü" + ADDRESS,
        "/x" * 100 + ADDRESS,
    ],
)
def test_addresses_name_their_peer(address):
    with pytest.raises(ProtocolError):
        Invite(SWARM, (address,))


@given(hashes.map(Ed25519PrivateKey.from_private_bytes))
def test_peer_ids_are_those_of_libp2p(private_key):
    key = private_key.public_key().public_bytes_raw()
    assert peer_id(key) == str(ID.from_pubkey(Ed25519PublicKey.from_bytes(key)))
    assert public_key(peer_id(key)) == key


@given(st.text(max_size=60))
def test_other_text_is_no_peer_id(text):
    with pytest.raises(ProtocolError):
        public_key(text)
