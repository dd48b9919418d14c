"""A message in its opened form: decoded and verified once, on arrival, and handed on as it is."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.envelope import Envelope, open_envelope
from protocols.messages import Announce, Body, unpack_body


@dataclass(frozen=True, slots=True)
class Opened:
    """A signed envelope, its body, and the bytes as they travelled."""

    data: bytes
    envelope: Envelope
    body: Body

    @property
    def size(self) -> int:
        """Bytes of the message, with the body that it announces."""
        return len(self.data) + (self.body.body_bytes if isinstance(self.body, Announce) else 0)


def open_message(data: bytes, swarm: bytes) -> Opened:
    """Decode and verify a message signed in `swarm` (its manifest's id). Raises `ProtocolError`
    with the reason."""
    envelope = open_envelope(data, swarm)
    return Opened(data, envelope, unpack_body(envelope.kind, envelope.body))
