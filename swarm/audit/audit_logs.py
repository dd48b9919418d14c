"""Check envelopes: the own log, the held logs of others, proofs of equivocation, beacon rounds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from protocols.drand import drand_beacon, randomness_of, round_of_epoch, verify_round
from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, share_in
from protocols.messages import Proof, Share
from protocols.peer_id import peer_id
from protocols.proof import check_proof
from protocols.reasons import ProtocolError
from protocols.recipe import local_beacon
from swarm.audit.findings import AuditCase

_COLUMNS = "id, signer, sequence, envelope, body_hash, body"


@dataclass(frozen=True, slots=True)
class Held:
    """An opened envelope, and the share that it carries or announces; None without one at hand."""

    envelope: Envelope
    share: Share | None


class Logs:
    """The envelopes of a store."""

    def __init__(self, case: AuditCase) -> None:
        self._copy = case.copy
        self._manifest = case.manifest
        self._own_key = case.own_key
        self._report = case.report

    def held(self, id: bytes) -> Held | None:
        """The envelope with this id, or None when it is not held.

        Raises `ProtocolError` where it does not open.
        """
        rows = self._copy.rows("envelopes", "envelope, body", "WHERE id = ?", (id,))
        return next((self.read(envelope, body) for envelope, body in rows), None)

    def at(self, signer: bytes, sequence: int) -> Held | None:
        """The envelope of a signer with this number."""
        rows = self._copy.rows("envelopes", "envelope, body", "WHERE signer = ? AND sequence = ?", (signer, sequence))
        return next((self.read(envelope, body) for envelope, body in rows), None)

    def read(self, data: bytes, body: bytes | None) -> Held:
        """Verify and decode. Raises `ProtocolError`."""
        envelope = open_envelope(data, self._manifest.id)
        return Held(envelope, share_in(envelope, body))

    def check_beginnings(self) -> None:
        """A log that begins in this pool is that of the key in this home."""
        for (key,) in self._copy.rows("beginnings", "key"):
            wrong = None if key == self._own_key else f"identity.key is not the key whose log begins here, that of {peer_id(key)}"
            self._report.settle("identity", wrong)

    def check_own(self) -> None:
        """Every own envelope is signed by this key and chained, and index ranges join."""
        begins_here = any(True for _ in self._copy.rows("beginnings", "key", "WHERE key = ?", (self._own_key,)))
        before: Held | None = None
        for row in self._copy.rows("envelopes", _COLUMNS, "WHERE own = 1 ORDER BY sequence"):
            held, wrong = self._one(*row)
            if held is not None and wrong is None:
                wrong = self._follows(before, held)
            if wrong is None and row[1] != self._own_key:
                wrong = "is signed by another key than that in identity.key"
            if wrong is None and before is None and begins_here and row[2] > 0:
                wrong = "is the first that is held, though the log began here: what lies before is missing"
            self._report.settle("own log", wrong and f"number {row[2]} {wrong}")
            if before is None and held is not None and held.envelope.sequence > 0:
                self._report.notes.append(f"the own log is held from number {held.envelope.sequence} on")
            before = held or before

    def _follows(self, before: Held | None, held: Held) -> str | None:
        envelope = held.envelope
        if before is None:
            return None if envelope.sequence or envelope.previous == NO_PREVIOUS else "is the first and names one before it"
        if envelope.sequence != before.envelope.sequence + 1:
            return f"follows number {before.envelope.sequence}: what lies between is missing"
        if envelope.previous != before.envelope.id:
            return "does not name the envelope before it"
        if held.share is not None and before.share is not None:
            expected = before.share.first_index + before.share.count if before.share.epoch == held.share.epoch else 0
            if held.share.epoch < before.share.epoch or held.share.first_index != expected:
                return f"uses task indices from {held.share.first_index} on, not from {expected}"
        return None

    def check_foreign(self) -> None:
        """Every foreign envelope opens, has its announced body, and follows a held neighbour."""
        before: Envelope | None = None
        for row in self._copy.rows("envelopes", _COLUMNS, "WHERE own = 0 ORDER BY signer, sequence"):
            held, wrong = self._one(*row)
            if held is not None and wrong is None:
                envelope = held.envelope
                neighbours = before is not None and (before.key, before.sequence + 1) == (envelope.key, envelope.sequence)
                if neighbours and before is not None and envelope.previous != before.id:
                    wrong = "does not name the envelope before it"
                before = envelope
            self._report.settle("foreign envelopes", wrong and f"number {row[2]} of {peer_id(row[1])} {wrong}")

    def _one(
        self, id: bytes, signer: bytes, sequence: int, data: bytes, body_hash: bytes | None, body: bytes | None
    ) -> tuple[Held | None, str | None]:
        """What a row holds, and what is wrong with it."""
        try:
            envelope = open_envelope(data, self._manifest.id)
        except ProtocolError as error:
            return None, f"does not open: {error}"
        if (envelope.id, envelope.key, envelope.sequence) != (id, signer, sequence):
            return None, "stands under another id, signer or number than it says"
        if body is not None and hashlib.sha256(body).digest() != body_hash:
            return Held(envelope, None), "has another body than it announces"
        try:
            return self.read(data, body), None
        except ProtocolError:
            return Held(envelope, None), None  # a signed entry of a log all the same; that it was refused is another row

    def check_proofs(self) -> None:
        """Two envelopes of one signer with one number each."""
        for signer, one, other in self._copy.rows("proofs", "signer, one, other", "ORDER BY signer"):
            if not one and not other:
                self._report.leave("proofs of equivocation", "its envelopes were dropped for room")
                continue
            try:
                wrong = None if check_proof(Proof(one, other), self._manifest.id) == signer else "proves something of another key"
            except ProtocolError as error:
                wrong = f"proves nothing: {error}"
            self._report.settle("proofs of equivocation", wrong and f"the proof against {peer_id(signer)} {wrong}")

    def check_beacons(self) -> None:
        """Every kept round is the chain's, and the one of its epoch."""
        chain = self._manifest.drand
        for epoch, round, signature in self._copy.rows("beacons", "epoch, round, signature", "ORDER BY epoch"):
            if chain is None:
                self._report.contradict("beacons", f"epoch {epoch} has a round, but this swarm's beacon is local")
                continue
            wrong = None
            try:
                verify_round(chain, round, signature)
                if round != round_of_epoch(chain, self._manifest.epoch_seconds, epoch):
                    wrong = f"round {round} is not that of epoch {epoch}"
            except ProtocolError as error:
                wrong = f"epoch {epoch}: {error}"
            self._report.settle("beacons", wrong)

    def beacon(self, epoch: int) -> bytes | None:
        """The public value (32 bytes) of an epoch, or None where its round is not held."""
        if self._manifest.drand is None:
            return local_beacon(self._manifest.id, epoch)
        rows = self._copy.rows("beacons", "signature", "WHERE epoch = ?", (epoch,))
        return next((drand_beacon(self._manifest.id, epoch, randomness_of(signature)) for (signature,) in rows), None)
