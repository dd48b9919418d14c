import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import bodies, counts, hashes, one_group

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, seal
from protocols.limits import MAX_ENVELOPE_BYTES, MAX_INTEGER, MAX_TEXT_BYTES
from protocols.messages import Announce, Completion, Share, kind_of, unpack_body
from protocols.reasons import ProtocolError, Reason
from protocols.vectors.make import SWARM, _share

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
NOTHING = Share(0, 0, 0, 0, ())


@given(bodies, counts, hashes.filter(any), counts, hashes)
def test_an_envelope_survives_the_wire(body, sequence, previous, time_ms, swarm):
    if sequence == 0:
        previous = NO_PREVIOUS
    sealed = seal(KEY, sequence, previous, time_ms, body, swarm)
    opened = open_envelope(sealed.to_bytes(), swarm)
    assert opened == sealed
    assert opened.id == sealed.id == hashlib.sha256(sealed.signed_bytes).digest()
    assert (opened.sequence, opened.previous, opened.time_ms) == (sequence, previous, time_ms)
    assert (opened.kind, unpack_body(opened.kind, opened.body)) == (kind_of(body), body)
    assert opened.key == KEY.public_key().public_bytes_raw()


def test_the_overhead_is_under_200_bytes():
    largest = one_group(completions=(Completion("a" * (MAX_TEXT_BYTES // 2 - 200), True, 1, -1.0),) * 2)
    for body in (NOTHING, _share(), largest):
        envelope = seal(KEY, MAX_INTEGER, b"p" * 32, MAX_INTEGER, body, SWARM)
        assert len(envelope.to_bytes()) - len(envelope.body) <= 160


WHOLE = seal(KEY, 1, b"p" * 32, 1_767_225_600_000, _share(), SWARM).to_bytes()


def test_no_single_changed_bit_is_accepted():
    for place in range(len(WHOLE)):
        for bit in range(8):
            changed = WHOLE[:place] + bytes([WHOLE[place] ^ 1 << bit]) + WHOLE[place + 1 :]
            with pytest.raises(ProtocolError):
                open_envelope(changed, SWARM)


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE)), st.integers(0, 12), st.binary(max_size=12))
def test_no_damage_is_accepted(place, removed, inserted):
    damaged = WHOLE[:place] + inserted + WHOLE[place + removed :]
    if damaged != WHOLE:
        with pytest.raises(ProtocolError):
            open_envelope(damaged, SWARM)


@given(st.binary(max_size=300), hashes)
def test_random_bytes_raise_nothing_but_protocol_errors(data, swarm):
    with pytest.raises(ProtocolError):
        open_envelope(data, swarm)


@given(hashes.filter(lambda swarm: swarm != SWARM))
def test_an_envelope_belongs_to_one_swarm(swarm):
    with pytest.raises(ProtocolError) as caught:
        open_envelope(WHOLE, swarm)
    assert caught.value.reason is Reason.SIGNATURE


@pytest.mark.parametrize(
    ("sequence", "previous", "time_ms", "body", "swarm"),
    [
        (0, b"p" * 32, 0, NOTHING, SWARM),
        (1, NO_PREVIOUS, 0, NOTHING, SWARM),
        (-1, b"p" * 32, 0, NOTHING, SWARM),
        (1, b"p" * 31, 0, NOTHING, SWARM),
        (1, b"p" * 32, -1, NOTHING, SWARM),
        (1, b"p" * 32, 2**53, NOTHING, SWARM),
        (1, b"p" * 32, 0, Announce(b"", 1), SWARM),
        (1, b"p" * 32, 0, NOTHING, b"short"),
    ],
)
def test_nothing_is_sealed_that_a_peer_would_refuse(sequence, previous, time_ms, body, swarm):
    with pytest.raises(ProtocolError):
        seal(KEY, sequence, previous, time_ms, body, swarm)


def test_a_body_that_must_be_announced_is_not_sealed():
    large = one_group(completions=(Completion("a" * MAX_TEXT_BYTES, True, 1, -1.0),) * 3, rewards=(0.0,) * 3)
    with pytest.raises(ProtocolError) as caught:
        seal(KEY, 0, NO_PREVIOUS, 0, large, SWARM)
    assert caught.value.reason is Reason.TOO_LARGE
    assert "announce" in str(caught.value)
    with pytest.raises(ProtocolError) as caught:
        open_envelope(bytes(MAX_ENVELOPE_BYTES + 1), SWARM)
    assert caught.value.reason is Reason.TOO_LARGE


def test_an_envelope_cannot_be_changed():
    envelope = open_envelope(WHOLE, SWARM)
    with pytest.raises(AttributeError):
        envelope.sequence = 2
    assert isinstance(envelope, Envelope)
