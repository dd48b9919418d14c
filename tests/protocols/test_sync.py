"""Log requests and proofs: good ones are read, bad ones refused, and any two envelopes fit."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from shapes import hashes, one_group

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, seal
from protocols.limits import (
    MAX_ENVELOPE_BYTES,
    MAX_HEADS,
    MAX_HEADS_BYTES,
    MAX_INLINE_BODY_BYTES,
    MAX_INTEGER,
    MAX_LOG_BYTES,
    MAX_LOG_ENVELOPES,
    MAX_SYNC_REQUEST_BYTES,
)
from protocols.messages import Completion, Kind, Proof, Share, pack_body, unpack_body
from protocols.proof import check_proof, prove
from protocols.reasons import ProtocolError, Reason
from protocols.sync import Head, HeadsRequest, LogRequest, pack_heads, pack_log, read_heads, read_log
from protocols.vectors.make import ALICE, SWARM

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
sequences = st.integers(0, MAX_INTEGER)


@given(st.builds(HeadsRequest, hashes, hashes, st.integers(1, MAX_HEADS)))
def test_heads_requests_are_read_as_written(request):
    assert HeadsRequest.from_bytes(request.to_bytes()) == request
    assert len(request.to_bytes()) <= MAX_SYNC_REQUEST_BYTES


@given(st.builds(LogRequest, hashes, hashes, sequences, st.integers(1, MAX_LOG_ENVELOPES)))
def test_log_requests_are_read_as_written(request):
    assert LogRequest.from_bytes(request.to_bytes()) == request
    assert len(request.to_bytes()) <= MAX_SYNC_REQUEST_BYTES


@given(st.lists(st.tuples(hashes, sequences, sequences, hashes), max_size=8, unique_by=lambda each: each[0]))
def test_heads_are_read_as_written(fields):
    heads = tuple(Head(key, min(one, two), max(one, two), id_) for key, one, two, id_ in sorted(fields))
    assert read_heads(pack_heads(heads), HeadsRequest(bytes(32), bytes(32), MAX_HEADS)) == heads


def test_as_many_heads_as_can_be_asked_for_fit():
    heads = [Head(number.to_bytes(32, "big"), MAX_INTEGER, MAX_INTEGER, b"\xff" * 32) for number in range(MAX_HEADS)]
    assert len(pack_heads(heads)) <= MAX_HEADS_BYTES


def log_of(length: int) -> list[Envelope]:
    log: list[Envelope] = []
    for sequence in range(length):
        log.append(seal(KEY, sequence, log[-1].id if log else NO_PREVIOUS, 0, Share(1, 7, sequence, 1, ()), SWARM))
    return log


LOG = log_of(5)


@given(st.integers(0, 5), st.integers(1, 5), st.sets(st.integers(0, 4)))
def test_stretches_are_read_as_written(first, count, held):
    stretch = [LOG[sequence] for sequence in range(first, min(first + count, 5)) if sequence in held]
    asked = LogRequest(SWARM, ALICE, first, count)
    assert read_log(pack_log([each.to_bytes() for each in stretch]), asked) == tuple(stretch)


@given(st.data(), st.binary(max_size=200))
def test_whatever_a_peer_answers_is_refused_inside_the_tree_of_errors(data, junk):
    whole = data.draw(
        st.sampled_from([pack_log([each.to_bytes() for each in LOG]), pack_heads([Head(ALICE, 0, 4, LOG[4].id)]), b""])
    )
    at = data.draw(st.integers(0, len(whole)))
    answer = whole[:at] + junk + whole[at + data.draw(st.integers(0, 8)) :]
    for read, asked in (
        (read_heads, HeadsRequest(SWARM, bytes(32), MAX_HEADS)),
        (read_log, LogRequest(SWARM, ALICE, 0, 5)),
    ):
        with contextlib.suppress(ProtocolError):
            read(answer, asked)
    for request in (HeadsRequest, LogRequest):
        with contextlib.suppress(ProtocolError):
            request.from_bytes(answer)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_is_called_a_proof(one, other):
    with pytest.raises(ProtocolError) as caught:
        check_proof(Proof(*sorted((one, other))), SWARM)
    assert caught.value.reason is Reason.FALSE_PROOF


def largest(text: str) -> Envelope:
    """A share as large as one may be without being announced."""
    size = len(pack_body(one_group(completions=(Completion("", True, 1, -1.0),) * 2, rewards=(0.0, 0.0))))
    room = MAX_INLINE_BODY_BYTES - size
    halves = [text * (room // 2 - 4), text * (room - room // 2 - 4)]
    share = one_group(completions=tuple(Completion(half, True, 1, -1.0) for half in halves), rewards=(0.0, 0.0))
    assert MAX_INLINE_BODY_BYTES - 8 <= len(pack_body(share)) <= MAX_INLINE_BODY_BYTES
    return seal(KEY, MAX_INTEGER, b"p" * 32, MAX_INTEGER, share, SWARM)


def test_the_two_largest_envelopes_fit_into_a_proof_and_one_answer_holds_it():
    proof = prove(largest("a"), largest("b"))
    envelope = seal(KEY, MAX_INTEGER, b"p" * 32, MAX_INTEGER, proof, SWARM)
    assert len(envelope.to_bytes()) <= MAX_ENVELOPE_BYTES
    opened = open_envelope(envelope.to_bytes(), SWARM)
    assert check_proof(unpack_body(Kind.PROOF, opened.body), SWARM) == ALICE
    assert len(pack_log([bytes(MAX_ENVELOPE_BYTES)])) <= MAX_LOG_BYTES


def test_a_share_that_had_to_be_announced_is_refused():
    envelope = largest("a")
    body = envelope.body + bytes(9)
    large = Envelope(1, 1, ALICE, 1, b"p" * 32, 0, body, bytes(64), SWARM)
    with pytest.raises(ProtocolError) as caught:
        open_envelope(large.to_bytes(), SWARM)
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(ProtocolError) as caught:
        seal(KEY, 1, b"p" * 32, 0, one_group(completions=(Completion("a" * 2**18, True, 1, -1.0),) * 2), SWARM)
    assert caught.value.reason is Reason.TOO_LARGE


def test_one_envelope_twice_proves_nothing():
    for one, other in ((LOG[0], LOG[0]), (LOG[0], LOG[1])):
        with pytest.raises(ProtocolError) as caught:
            prove(one, other)
        assert caught.value.reason is Reason.FALSE_PROOF
