"""What is held of logs, and what one answer holds of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from swarm_shapes import RULES, Peer

from protocols.limits import MAX_LOG_BYTES
from protocols.reasons import Reason
from protocols.sync import Head, LogRequest, pack_log, read_log
from swarm.config.schema import PoolSection
from swarm.pool.store import log_table
from swarm.pool.store.log_table import Stretch
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope


@pytest.fixture
def store(tmp_path: Path):
    with closing(Store(tmp_path / "pool.sqlite", PoolSection(max_groups=10, max_bytes=2**26, groups_per_peer=10))) as store:
        yield store


def log_of(number: int, length: int):
    peer = Peer(number)
    envelopes = []
    for _ in range(length):
        envelope = peer.seal(share := peer.share())
        peer.advance(envelope, share)
        envelopes.append(envelope)
    return envelopes


def keep(store: Store, *envelopes) -> None:
    for each in envelopes:
        store.add_envelope(StoredEnvelope(each.id, each.key, each.sequence, 0, each.to_bytes()))


def test_an_envelope_is_compared_with_both_neighbours(store: Store) -> None:
    log, other = log_of(1, 5), log_of(1, 5)
    fork = Peer(1)
    fork.publish(fork.group(0, "right", "fork"))
    second = fork.seal(fork.share())
    keep(store, log[0], log[2], log[4])
    assert log_table.place(store, log[1]) == log_table.Placed(None)
    assert log_table.place(store, other[2]) == log_table.Placed(Reason.DUPLICATE)
    assert log_table.place(store, second) == log_table.Placed(Reason.CHAIN), "it does not name the one before"
    keep_only = Peer(1, sequence=3, previous=log[2].id, next_index=50)
    assert log_table.place(store, keep_only.seal(keep_only.share())).reason is Reason.CHAIN, "the one after does not name it"
    twin = Peer(1, sequence=2, previous=log[1].id, next_index=50)
    assert log_table.place(store, twin.seal(twin.share())) == log_table.Placed(Reason.EQUIVOCATION, log[2].to_bytes())


def test_heads_and_what_is_missing(store: Store) -> None:
    one, two = log_of(1, 9), log_of(2, 3)
    keep(store, *one[2:5], one[7], *two)
    heads = sorted([Head(one[0].key, 2, 7, one[7].id), Head(two[0].key, 0, 2, two[2].id)], key=lambda head: head.key)
    assert log_table.heads(store, bytes(32), 9) == heads
    assert log_table.heads(store, heads[1].key, 9) == heads[1:]
    assert log_table.heads(store, bytes(32), 1) == heads[:1]
    offered = [Head(one[0].key, 0, 8, one[8].id), Head(two[0].key, 1, 2, two[2].id), Head(b"\xff" * 32, 5, 6, bytes(32))]
    key = one[0].key
    gaps = [Stretch(key, 0, 2), Stretch(key, 5, 2), Stretch(key, 8, 1), Stretch(b"\xff" * 32, 5, 2)]
    assert log_table.missing(store, offered, backwards=True) == gaps
    assert log_table.missing(store, offered, backwards=False) == gaps[2:]
    assert log_table.disputed(store, offered) == []
    assert log_table.disputed(store, [Head(key, 0, 7, bytes(32))]) == [Stretch(key, 7, 1)]


def test_one_answer_is_bounded_and_never_empty_while_there_is_something(store: Store) -> None:
    log = log_of(1, 4)
    keep(store, *log)
    large = [bytes([number]) * (MAX_LOG_BYTES // 2 - 100) for number in range(3)]
    for number, data in enumerate(large):
        store.add_envelope(StoredEnvelope(bytes([number]) * 32, bytes(32), number, 0, data))
    assert log_table.stretch(store, bytes(32), 0, 256) == large[:2]
    assert log_table.stretch(store, bytes(32), 2, 256) == large[2:]
    assert len(pack_log(large[:2])) <= MAX_LOG_BYTES
    request = LogRequest(RULES.id, log[0].key, 1, 2)
    assert read_log(pack_log(log_table.stretch(store, request.key, 1, 2)), request) == tuple(log[1:3])
    assert log_table.stretch(store, request.key, 2**53 - 1, 256) == []


def test_where_a_log_begins(tmp_path: Path) -> None:
    path, key = tmp_path / "pool.sqlite", Peer(1).key
    log_table.begin(path, key)
    log_table.begin(path, key)
    with closing(Store(path, PoolSection(max_groups=10, max_bytes=2**26, groups_per_peer=10))) as store:
        assert log_table.begins_here(store, key)
        assert not log_table.begins_here(store, Peer(2).key)
        keep(store, log_of(2, 3)[2])
        log_table.note_if_whole(store, Peer(2).key)
        assert not log_table.begins_here(store, Peer(2).key), "its beginning is missing"
