import math
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import floats, integers, texts

from protocols.codec import decode, encode
from protocols.reasons import ProtocolError, Reason

LIMIT = 1 << 20
values = st.recursive(
    st.one_of(integers, floats, texts, st.binary(max_size=300), st.booleans()),
    lambda inner: st.lists(inner, max_size=20),
    max_leaves=50,
)


def depth(value):
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def types(value):
    return [types(item) for item in value] if isinstance(value, list) else type(value)


@given(values.filter(lambda value: depth(value) <= 8))
def test_what_is_written_is_read(value):
    data = encode(value)
    assert (decode(data, LIMIT), types(decode(data, LIMIT))) == (value, types(value))
    assert msgpack.unpackb(data) == value, "any MessagePack library reads it"


@given(st.one_of(st.binary(max_size=40), values.map(encode).flatmap(lambda data: st.binary(max_size=3).map(data.__add__))))
def test_whatever_is_read_has_this_one_spelling(data):
    try:
        value = decode(data, LIMIT)
    except ProtocolError as error:
        refused = error.reason
    else:
        refused = None
        assert encode(value) == data
    assert refused in (None, Reason.MALFORMED, Reason.NOT_CANONICAL, Reason.TOO_LARGE)


@given(values)
def test_every_prefix_is_malformed(value):
    data = encode(value)
    for end in range(min(len(data), 60)):
        with pytest.raises(ProtocolError) as caught:
            decode(data[:end], LIMIT, max_depth=60)
        assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "value", [None, {}, {1: 2}, math.nan, math.inf, -0.0, 2**53, -(2**53), "\ud800", 1j, bytearray(), [[None]]]
)
def test_encode_refuses_what_decode_would(value):
    with pytest.raises(ProtocolError):
        encode(value)


def test_limits_are_exact():
    assert decode(encode([1, [2, 3]]), 5, max_values=5, max_depth=2) == [1, [2, 3]]
    for limits in ({"max_bytes": 4}, {"max_bytes": 5, "max_values": 4}, {"max_bytes": 5, "max_depth": 1}):
        with pytest.raises(ProtocolError) as caught:
            decode(encode([1, [2, 3]]), **limits)
        assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 1000,
        b"\x91" * 1_000_000,
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff" + b"a" * 100,
        b"\xdc\xff\xfe" + b"\x90" * 900_000,
        b"\x9f" * 900_000,
    ],
)
def test_promises_cost_nothing(data):
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode(data, LIMIT, max_values=4096)
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
