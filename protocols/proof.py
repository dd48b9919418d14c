"""Proofs of equivocation: two envelopes of one signer with one sequence number.

A signer that shows different peers different histories can be caught by nobody alone, and by
anybody who sees both. What he has then is evidence that needs no trust: two signatures under one
number of one log. It travels as a body of its own in the finder's log. Shares and announcements
take at most `MAX_INLINE_BODY_BYTES`, so that any two of them fit into one envelope.
"""

from __future__ import annotations

from protocols.envelope import Envelope, equivocates, open_envelope
from protocols.messages import Proof
from protocols.reasons import ProtocolError, Reason


def prove(one: Envelope, other: Envelope) -> Proof:
    """The proof that two opened envelopes make.

    Raises ProtocolError ("false-proof") when they do not contradict each other.
    """
    if not equivocates(one, other):
        raise ProtocolError(Reason.FALSE_PROOF, "these envelopes do not share signer, swarm and sequence number, or are the same")
    return Proof(*sorted((one.to_bytes(), other.to_bytes())))


def check_proof(proof: Proof, swarm: bytes) -> bytes:
    """The key (32 bytes) that is proved to have equivocated in `swarm` (its manifest's id).

    Raises ProtocolError ("false-proof") when an envelope does not open, or the two do not
    contradict each other.
    """
    try:
        one, other = open_envelope(proof.one, swarm), open_envelope(proof.other, swarm)
    except ProtocolError as error:
        raise ProtocolError(Reason.FALSE_PROOF, f"one of the envelopes does not open: {error}") from None
    prove(one, other)
    return one.key
