from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import announces, bodies, one_group, shares

from protocols.messages import Announce, Kind, check_share, kind_of, pack_body, unpack_body
from protocols.reasons import ProtocolError, Reason
from protocols.vectors.make import ALICE, BOB, _share


@given(bodies)
def test_a_body_survives_the_wire(body):
    assert unpack_body(kind_of(body), pack_body(body)) == body


@settings(max_examples=100)
@given(st.data())
def test_damaged_bodies_raise_nothing_but_protocol_errors(data):
    whole = pack_body(data.draw(shares()))
    place = data.draw(st.integers(0, len(whole)))
    damaged = whole[:place] + data.draw(st.binary(max_size=8)) + whole[place + data.draw(st.integers(0, 8)) :]
    for kind in Kind:
        try:
            body = unpack_body(kind, damaged)
        except ProtocolError:
            continue
        assert pack_body(body) == damaged


@given(st.sampled_from(Kind), st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_protocol_errors(kind, data):
    with pytest.raises(ProtocolError):
        unpack_body(kind, data)


plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=40)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=20,
)


@given(st.sampled_from(Kind), st.one_of(plain, st.lists(plain, min_size=5, max_size=5)))
def test_any_other_message_pack_raises_nothing_but_protocol_errors(kind, value):
    try:
        body = unpack_body(kind, msgpack.packb(value, unicode_errors="surrogatepass"))
    except ProtocolError:
        return
    assert kind_of(body) is kind


@pytest.mark.parametrize("kind", [0, 100, 127, -1])
def test_unknown_kinds(kind):
    with pytest.raises(ProtocolError) as caught:
        unpack_body(kind, b"\x90")
    assert caught.value.reason is Reason.KIND


def test_only_what_the_signer_proposed():
    check_share(_share(), ALICE)
    with pytest.raises(ProtocolError) as caught:
        check_share(_share(), BOB)
    assert caught.value.reason is Reason.PROPOSER


@pytest.mark.parametrize(
    "body",
    [
        replace(_share(), epoch=8),
        replace(_share(), count=1),
        replace(_share(), groups=_share().groups[::-1]),
        replace(_share(), groups=(_share().groups[0],) * 2),
        one_group(rewards=(1.0,)),
        one_group(rewards=(float("nan"), 0.0)),
        one_group(completions=(), rewards=()),
        one_group(rendering="com pact"),
        one_group(completions=(replace(_share().groups[0].completions[0], text="\ud800"),), rewards=(0.0,)),
        one_group(completions=(replace(_share().groups[0].completions[0], logprob=0.5),), rewards=(0.0,)),
        Announce(bytes(31), 1),
        Announce(bytes(32), 0),
    ],
)
def test_nothing_is_packed_that_a_peer_would_refuse(body):
    with pytest.raises(ProtocolError):
        pack_body(body)


def test_numbers_are_brought_into_the_form_of_the_wire():
    share = one_group(rewards=(1, -0.0))
    answers = unpack_body(Kind.SHARE, pack_body(share)).groups[0]
    assert str(answers.rewards) == "(1.0, 0.0)"


@given(announces)
def test_an_announcement_is_small(body):
    assert len(pack_body(body)) < 50
