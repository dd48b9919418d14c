"""The store is whole after any kill, bounded, and says clearly when its file cannot be used."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from swarm_shapes import NOW_MS, RULES, scored

from protocols.envelope import NO_PREVIOUS, open_envelope
from protocols.reasons import Reason
from swarm.config.schema import PoolSection
from swarm.errors import HomeError
from swarm.pool.store.candidates import Eligible, candidates
from swarm.pool.store.store import KEPT_REFUSALS, Store
from swarm.pool.store.tables import SCHEMA_VERSION, StoredEnvelope
from swarm.records import Refusal

ELIGIBLE = Eligible(max_uses=1, since_ms=0, max_policy_age=100, rendering="compact", environments=("toy/add",))
ONE, TWO, OWN = bytes([1]) * 32, bytes([2]) * 32, bytes([9]) * 32


def opened(path: Path, *, max_groups: int = 1000, max_bytes: int = 2**20, groups_per_peer: int = 1000) -> Store:
    return Store(path, PoolSection(max_groups=max_groups, max_bytes=max_bytes, groups_per_peer=groups_per_peer))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(opened(tmp_path / "pool.sqlite")) as store:
        yield store


def entry(signer: bytes, sequence: int, size: int = 100, received_ms: int = NOW_MS, **changes: Any) -> StoredEnvelope:
    plain = StoredEnvelope(signer[:16] + sequence.to_bytes(16), signer, sequence, received_ms, b"e" * size)
    return replace(plain, **changes)


# Kill and power

WRITER = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {common!r})
from swarm_shapes import Peer, RULES, scored
from protocols.envelope import open_envelope
from swarm.errors import HomeError
from swarm.config.schema import PoolSection
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope

limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store = Store(Path(sys.argv[1]), PoolSection(max_groups=50, max_bytes=2**20, groups_per_peer=50))
    store.belong_to(RULES.id)
    peer = Peer()
    newest = store.newest_own()
    if newest is not None:
        envelope = open_envelope(newest.envelope, RULES.id)
        peer.sequence, peer.previous = envelope.sequence + 1, envelope.id
    while True:
        envelope = peer.seal(peer.share(peer.group(0)))
        store.append_own(StoredEnvelope(envelope.id, peer.key, peer.sequence, 1, envelope.to_bytes()))
        print(peer.sequence, flush=True)
        store.add_groups([scored(peer.key, peer.sequence)], own=True)
        peer.sequence, peer.previous = envelope.sequence + 1, envelope.id
except HomeError as error:
    print(error, file=sys.stderr)
    sys.exit(4)
"""


def writer(path: Path, limit: int = 0) -> subprocess.Popen[str]:
    script = WRITER.format(common=str(Path(__file__).parents[1] / "common"))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(limit)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def checked_log(path: Path) -> int:
    """The length of the own log, which must be contiguous, signed and chained."""
    with closing(opened(path)) as store:
        store.belong_to(RULES.id)
        previous = NO_PREVIOUS
        length = 0
        for length, stored in enumerate(store.own_log(), start=1):
            envelope = open_envelope(stored.envelope, RULES.id)
            assert (envelope.sequence, envelope.previous, envelope.id) == (length - 1, previous, stored.id)
            previous = envelope.id
        newest = store.newest_own()
        assert (newest.id if newest else NO_PREVIOUS) == previous
        for _, _, group in store.groups(limit=1000):
            assert group.task.recipe.index < length
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return length


def test_a_killed_writer_leaves_everything_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    random = Random(5)
    reported = -1
    for _ in range(5):
        process = writer(path)
        assert process.stdout is not None
        for _ in range(random.randrange(1, 60)):
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        for line in process.stdout.read().splitlines():
            reported = int(line)
        process.wait()
        length = checked_log(path)
        assert reported + 1 <= length <= reported + 2, "what was reported is there; at most one more was under way"
        reported = length - 1


def test_a_full_disk_is_one_sentence_and_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    process = writer(path, limit=800_000)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 4
    assert "check that the disk has room" in error
    assert "Traceback" not in error
    assert checked_log(path) in (len(out.split()), len(out.split()) + 1)
    assert len(out.split()) > 10


# Files that are not ours


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pool.sqlite"
    path.write_bytes(content)
    with pytest.raises(HomeError, match=r"pool\.sqlite cannot be used"):
        opened(path)
    assert path.read_bytes() == content, "what could not be read is left as it was"


@pytest.mark.parametrize("place", [".", "missing/pool.sqlite"])
def test_a_place_that_cannot_hold_a_file(tmp_path: Path, place: str) -> None:
    with pytest.raises(HomeError, match="cannot be used"):
        opened(tmp_path / place)


def test_another_versions_file(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    opened(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    with pytest.raises(HomeError, match="another version of swarmd"):
        opened(path)


def test_a_file_belongs_to_one_swarm(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        store.belong_to(ONE)
        store.belong_to(ONE)
    with closing(opened(path)) as store:
        with pytest.raises(HomeError, match="use another --home for another swarm"):
            store.belong_to(TWO)
        store.belong_to(ONE)


def test_pages_damaged_under_a_running_node(tmp_path: Path) -> None:
    """A damaged file gives right answers or errors of our own, never exceptions of the database."""
    path = tmp_path / "pool.sqlite"
    questions = [
        lambda store: store.newest_own(),
        lambda store: list(store.own_log()),
        lambda store: store.envelope_at(ONE, 3),
        lambda store: store.body(ONE),
        lambda store: store.held_items(ONE, 1),
        lambda store: candidates(store, ELIGIBLE, 9),
        lambda store: store.load(range(1, 80)),
        lambda store: store.groups(limit=99),
        lambda store: store.refusals(),
        lambda store: store.statistics(),
        lambda store: store.add_groups([scored(TWO, 7)], own=False),
    ]  # fmt: skip
    with closing(opened(path)) as store:
        store.add_groups([scored(ONE, index) for index in range(80)], own=False)
        for sequence in range(40):
            store.add_envelope(entry(ONE, sequence, 600))
            store.append_own(entry(OWN, sequence, 600))
        store.add_refusals(NOW_MS, [Refusal(ONE, Reason.SCHEMA)])
    whole = path.read_bytes()
    random = Random(3)
    sentences: list[str] = []
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(8):
            place = random.randrange(4096, len(damaged) - 64)
            damaged[place : place + 48] = random.randbytes(48)
        path.write_bytes(damaged)
        try:
            store = opened(path)
        except HomeError:
            continue
        for ask in questions:
            try:
                ask(store)
            except HomeError as error:
                sentences.append(str(error))
        store.close()
    assert len(sentences) > 20
    assert all(str(path) in sentence for sentence in sentences)


# Envelopes and bodies


def test_foreign_envelopes_go_oldest_first_own_ones_never(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "pool.sqlite", max_bytes=1000)) as store:
        for sequence in range(20):
            store.append_own(entry(OWN, sequence))
        for sequence in range(7):
            store.add_envelope(entry(ONE, sequence, 300, received_ms=NOW_MS - sequence if sequence == 5 else NOW_MS + sequence))
        held = [sequence for sequence in range(7) if store.envelope_at(ONE, sequence) is not None]
        assert held == [4, 6, 3] or held == [3, 4, 6]
        statistics = store.statistics()
        assert (statistics.own_envelopes, statistics.foreign_envelopes, statistics.foreign_envelope_bytes) == (20, 3, 900)
        store.add_envelope(entry(TWO, 0, 400, received_ms=NOW_MS + 99, body_hash=ONE, body=b"b" * 700))
        assert store.statistics().foreign_envelopes == 3, "a body counts; what alone is over the limit is not kept"
        assert store.body(ONE) is None
        assert [each.sequence for each in store.own_log()] == list(range(20))


def test_bodies_by_hash(store: Store) -> None:
    store.add_envelope(entry(ONE, 0, body_hash=ONE, body=b"foreign"))
    store.append_own(entry(OWN, 0, body_hash=TWO, body=b"own"))
    assert (store.body(ONE), store.body(TWO), store.body(OWN)) == (b"foreign", b"own", None)
    newest = store.newest_own()
    assert newest is not None
    assert newest.body == b"own"


def test_the_own_log_takes_a_number_once(store: Store) -> None:
    store.append_own(entry(OWN, 0))
    with pytest.raises(HomeError):
        store.append_own(entry(OWN, 0, id=TWO))
    assert [each.id for each in store.own_log()] == [entry(OWN, 0).id]


# Groups


def test_groups_are_bounded_per_peer_and_in_all(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "pool.sqlite", max_groups=12, groups_per_peer=8)) as store:
        store.add_groups([scored(ONE, index, received_ms=NOW_MS + index) for index in range(20)], own=False)
        assert sorted(group.task.recipe.index for _, _, group in store.groups(limit=99)) == list(range(12, 20))
        store.add_groups([scored(OWN, index, received_ms=NOW_MS + index) for index in range(8)], own=True)
        store.add_groups([scored(TWO, index, received_ms=NOW_MS + 17 + index) for index in range(6)], own=False)
        kept = [(group.signer, group.task.recipe.index) for _, _, group in store.groups(limit=99)]
        assert sorted(index for signer, index in kept if signer == ONE) == [14, 15, 16, 17, 18, 19]
        assert sorted(index for signer, index in kept if signer == TWO) == list(range(6))
        assert sum(signer == OWN for signer, _ in kept) == 8, "foreign groups do not push out own ones"


def test_a_group_is_kept_once(store: Store) -> None:
    store.add_groups([scored(ONE, 5)], own=False)
    store.add_groups([scored(ONE, 5, rewards=(0.0, 0.0)), scored(ONE, 6)], own=False)
    assert [group.rewards for _, _, group in store.groups(limit=9, signer=ONE) if group.task.recipe.index == 5] == [(1.0, 0.0)]
    assert store.held_items(ONE, scored(ONE, 5).task.recipe.epoch) >= {5}
    assert store.held_items(TWO, scored(ONE, 5).task.recipe.epoch) == frozenset()
    assert store.held_items(ONE, 1) == frozenset()


def ask(store: Store, limit: int = 100, **changes: Any) -> list[int]:
    """Task indices of the candidates, in their order."""
    keys = [each.key for each in candidates(store, replace(ELIGIBLE, **changes), limit)]
    return [group.task.recipe.index for group in store.load(keys)]


def test_candidates_are_what_may_be_drawn(store: Store) -> None:
    groups = [
        scored(ONE, 0, received_ms=NOW_MS + 10, step=20),
        scored(ONE, 1, received_ms=NOW_MS + 9, step=12),
        scored(ONE, 2, received_ms=NOW_MS + 8, environment="toy/sort"),
        scored(ONE, 3, received_ms=NOW_MS + 7, rewards=(1.0, 1.0)),
        scored(ONE, 4, received_ms=NOW_MS + 6, rewards=(0.0, 0.0)),
        scored(ONE, 5, received_ms=NOW_MS + 5, rendering="prose"),
        scored(TWO, 6, received_ms=NOW_MS + 4, step=2),
        scored(TWO, 7, received_ms=NOW_MS - 10, step=2),
    ]
    store.add_groups(groups, own=False)
    store.add_groups([scored(OWN, 8)], own=True)
    assert ask(store) == [0, 6, 1, 7], "every signer's newest first"
    assert ask(store, max_policy_age=8) == [0, 6, 1, 7], "age is against its own signer's newest policy"
    assert ask(store, max_policy_age=7) == [0, 6, 7]
    assert ask(store, since_ms=NOW_MS) == [0, 6, 1]
    assert ask(store, rendering="prose") == [5]
    assert ask(store, environments=("toy/sort", "toy/add")) == [0, 6, 1, 7, 2]
    assert ask(store, environments=()) == []
    assert ask(store, limit=2) == [0, 6]
    (first, *_) = candidates(store, ELIGIBLE, 1)
    assert (first.signer, first.environment, first.reward_mean, first.policy_age) == (ONE, "toy/add", 0.5, 0)
    store.mark_trained([first.key], 3)
    assert ask(store) == [1, 6, 7]
    assert ask(store, max_uses=2) == [0, 6, 1, 7], "a second time"
    assert [trained for _, trained, group in store.groups(limit=9) if group.task.recipe.index == 0] == [3]
    assert store.statistics().foreign_groups_trained == 1


def test_a_signer_that_went_back_to_a_checkpoint_is_drawn_again(store: Store) -> None:
    store.add_groups([scored(ONE, 0, received_ms=NOW_MS, step=100)], own=False)
    store.add_groups([scored(ONE, 1, received_ms=NOW_MS + 1, step=80)], own=False)
    assert ask(store, max_policy_age=8) == [1, 0]
    ages = [each.policy_age for each in candidates(store, replace(ELIGIBLE, max_policy_age=8), 9)]
    assert ages == [0, 0], "an age is never negative"


def test_the_order_of_candidates_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    groups = [scored(signer, index, received_ms=NOW_MS + index // 3) for signer in (ONE, TWO) for index in range(9)]
    orders = []
    for seed in range(3):
        Random(seed).shuffle(groups)
        with closing(opened(tmp_path / f"{seed}.sqlite")) as store:
            for group in groups:
                store.add_groups([group], own=False)
            orders.append(ask(store))
    assert orders[0] == orders[1] == orders[2]


def test_what_was_trimmed_meanwhile_is_left_out(store: Store) -> None:
    store.add_groups([scored(ONE, 0), scored(ONE, 1)], own=False)
    assert [group.task.recipe.index for group in store.load([2, 77, 1])] == [1, 0]


def test_refusals_are_counted_for_ever_and_kept_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        store.add_refusals(NOW_MS, [Refusal(ONE, Reason.REWARD)] * (KEPT_REFUSALS + 50))
        store.add_refusals(NOW_MS, [Refusal(TWO, Reason.SCHEMA)])
    with closing(opened(path)) as store:
        assert store.refusals() == {"reward": KEPT_REFUSALS + 50, "schema": 1}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*), MAX(reason) FROM refusals").fetchone() == (KEPT_REFUSALS, "schema")


def test_a_crowd_does_not_age_out_the_logs_of_established_signers(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "pool.sqlite", max_bytes=10_000)) as store:
        for sequence in range(20):
            store.add_envelope(entry(ONE, sequence, 200, received_ms=NOW_MS + sequence))
        for number in range(200):
            stranger = number.to_bytes(2) * 16
            store.add_envelope(entry(stranger, 0, 200, received_ms=NOW_MS + 100 + number), established=[ONE])
        assert store.envelope_at(ONE, 0) is not None
        assert 8_500 < store.statistics().foreign_envelope_bytes == store.foreign_bytes <= 10_000


def test_the_biggest_holder_goes_first(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "pool.sqlite", max_bytes=10_000)) as store:
        for sequence in range(10):
            store.add_envelope(entry(ONE, sequence, 200, received_ms=NOW_MS + sequence))
        for sequence in range(100):
            store.add_envelope(entry(TWO, sequence, 200, received_ms=NOW_MS + 100 + sequence))
        assert store.envelope_at(ONE, 0) is not None
        assert store.envelope_at(TWO, 0) is None
        assert store.envelope_at(TWO, 99) is not None


def test_the_count_of_bytes_survives_an_envelope_that_is_not_kept(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "pool.sqlite")) as store:
        store.add_envelope(entry(ONE, 0))
        with pytest.raises(HomeError):
            store.add_envelope(entry(ONE, 0))
        assert store.foreign_bytes == store.statistics().foreign_envelope_bytes == 100
