"""Only a drand chain's own rounds are taken, and nobody knows an epoch's before it begins."""

import subprocess
import sys
from dataclasses import replace

import pyblst
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shapes import chains, hashes

from protocols import drand as beacon
from protocols.drand import QUICKNET, Chain, drand_beacon, round_of_epoch, verify_round
from protocols.limits import MAX_INTEGER
from protocols.reasons import ProtocolError, Reason
from protocols.recipe import local_beacon
from protocols.vectors.beacon_cases import SECRET, TEST_CHAIN, sign_round

ROUND = 657_413
SIGNATURE = bytes.fromhex("b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b")


def refused(chain, round, signature):
    with pytest.raises(ProtocolError) as caught:
        verify_round(chain, round, signature)
    return caught.value.reason is Reason.BEACON


def test_quicknet_is_quicknet():
    assert QUICKNET.hash.hex() == "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
    assert verify_round(QUICKNET, ROUND, SIGNATURE).hex() == "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587"


def test_a_signature_is_of_one_round_of_one_chain():
    assert refused(QUICKNET, ROUND + 1, SIGNATURE)
    assert refused(TEST_CHAIN, ROUND, SIGNATURE)
    assert refused(QUICKNET, ROUND, sign_round(ROUND))


@given(st.integers(1, MAX_INTEGER))
def test_the_test_chain_signs_any_round(round):
    assert len(verify_round(TEST_CHAIN, round, sign_round(round))) == 32
    assert refused(TEST_CHAIN, round % MAX_INTEGER + 1, sign_round(round))


def test_the_test_chains_key_is_its_secrets():
    generator = pyblst.BlstP2Element.uncompress(beacon._GENERATOR)
    assert generator.scalar_mul(SECRET).compress() == TEST_CHAIN.public_key


@given(st.binary(max_size=100))
@example(b"\xc0" + bytes(47))
@example(b"\x80" + bytes(47))
def test_random_bytes_are_refused(data):
    assert refused(QUICKNET, ROUND, data)


@given(st.binary(min_size=47, max_size=47), st.sampled_from([0x80, 0xA0]))
def test_points_outside_the_group_are_refused(tail, flags):
    """About half of these are points of the curve, and practically none of its group."""
    assert refused(QUICKNET, ROUND, bytes([flags | tail[0] & 0x1F]) + tail)


@given(st.integers(0, 48 * 8 - 1))
def test_a_flipped_bit_is_refused(bit):
    number = int.from_bytes(SIGNATURE) ^ 1 << bit
    assert refused(QUICKNET, ROUND, number.to_bytes(48))


@given(st.binary(min_size=96, max_size=96))
@example(b"\xc0" + bytes(95))
@example(bytes(96))
def test_a_key_that_is_no_point_verifies_nothing(key):
    chain = replace(TEST_CHAIN, public_key=key)
    assert refused(chain, 1, sign_round(1))
    assert refused(chain, 1, b"\xc0" + bytes(47))


@pytest.mark.parametrize("round", [0, -1, MAX_INTEGER + 1, 2**64])
def test_rounds_that_no_chain_has_are_refused(round):
    assert refused(TEST_CHAIN, round, sign_round(1))


@given(chains, st.integers(1, 31_536_000), st.integers(0, MAX_INTEGER // 31_536_000))
@example(TEST_CHAIN, 600, 2_945_000)
@example(TEST_CHAIN, 1, TEST_CHAIN.genesis_time)
@example(TEST_CHAIN, 1, TEST_CHAIN.genesis_time + 1)
@example(TEST_CHAIN, 5, 0)
def test_an_epoch_takes_the_first_round_at_or_after_its_start(chain, epoch_seconds, epoch):
    start = epoch * epoch_seconds
    round = round_of_epoch(chain, epoch_seconds, epoch)
    assert round >= 1
    assert chain.time_of(round) >= start
    assert round == 1 or chain.time_of(round - 1) < start


def test_an_epoch_beyond_all_rounds_is_refused():
    with pytest.raises(ProtocolError) as caught:
        round_of_epoch(TEST_CHAIN, 600, MAX_INTEGER)
    assert caught.value.reason is Reason.BEACON


@given(hashes, hashes, st.integers(0, MAX_INTEGER), st.integers(0, MAX_INTEGER))
def test_a_value_is_of_one_swarm_epoch_and_round(one, other, epoch, later):
    values = {
        drand_beacon(swarm, number, random) for swarm in (one, other) for number in (epoch, later) for random in (one, other)
    }
    assert len(values) == len({one, other}) ** 2 * len({epoch, later})
    assert local_beacon(one, epoch) not in values


@given(chains, chains)
def test_a_chains_hash_covers_all_of_it(one, other):
    assert (one.hash == other.hash) == (one == other)
    assert replace(one, beacon_id="default").hash != one.hash or one.beacon_id == "default"


@pytest.mark.parametrize(
    "change",
    [
        {"public_key": bytes(95)},
        {"public_key": "00" * 96},
        {"genesis_time": -1},
        {"period": 0},
        {"period": 2**32},
        {"period": True},
        {"group_hash": bytes(31)},
        {"beacon_id": ""},
        {"beacon_id": "a b"},
        {"beacon_id": "a" * 65},
    ],
)
def test_a_chain_of_impossible_values_is_none(change):
    with pytest.raises(ProtocolError) as caught:
        replace(TEST_CHAIN, **change)
    assert caught.value.reason is Reason.SCHEMA
    assert isinstance(TEST_CHAIN, Chain)


def test_a_swarm_without_drand_does_not_pay_for_it():
    program = "import sys, protocols.manifest; print('pyblst' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
