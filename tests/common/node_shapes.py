"""Nodes on an in-memory network and a virtual clock, as the tests of node and simulation open
them."""

from __future__ import annotations

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope
from protocols.messages import Kind, Share, unpack_body
from swarm.events import Event, RoundFinished
from swarm.node.node import Node
from swarm.testing.medium import EMBEDDED, SETTINGS, START_MS, Medium, on_virtual_time

__all__ = ["EMBEDDED", "SETTINGS", "START_MS", "Medium", "checked_log", "finished", "on_virtual_time"]


def finished(events: list[Event]) -> list[RoundFinished]:
    return [event for event in events if isinstance(event, RoundFinished)]


async def checked_log(node: Node) -> list[tuple[Envelope, Share]]:
    """The node's own log, which must be contiguous and chained, with index ranges that join."""
    entries = await node.pool.run(lambda store: list(store.own_log()))
    previous, expected, epoch, log = NO_PREVIOUS, 0, None, []
    for sequence, entry in enumerate(entries):
        envelope = open_envelope(entry.envelope, node.context.manifest.id)
        share = unpack_body(Kind.SHARE, entry.body if entry.body is not None else envelope.body)
        assert isinstance(share, Share)
        assert (envelope.sequence, envelope.previous) == (sequence, previous)
        assert share.first_index == (expected if share.epoch == epoch else 0)
        previous, expected, epoch = envelope.id, share.first_index + share.count, share.epoch
        log.append((envelope, share))
    return log
