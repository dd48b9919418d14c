"""Any changed byte of a store is named; remains of a kill or a full disk are no damage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from swarm_shapes import NOW_MS, scored

from protocols.reasons import Reason
from swarm.config.schema import PoolSection
from swarm.errors import HomeError
from swarm.pool.store.damage import Search, copied, search
from swarm.pool.store.journal import journal_path
from swarm.pool.store.page_sums import sums_path
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.pool.store.wal import wal_path
from swarm.records import Refusal

ONE, OWN = bytes([1]) * 32, bytes([9]) * 32


def opened(path: Path, commit_every_s: float = 0) -> Store:
    return Store(path, PoolSection(max_groups=10**6, max_bytes=2**30, groups_per_peer=10**6, commit_every_s=commit_every_s))


def fill(store: Store, first: int, count: int) -> None:
    for number in range(first, first + count):
        plain = StoredEnvelope(
            number.to_bytes(32), ONE, number, NOW_MS + number, bytes([number % 251]) * (900 + 37 * number % 9000)
        )
        store.add_envelope(plain)
        store.append_own(replace(plain, id=(number + 10**6).to_bytes(32), signer=OWN))
        store.add_groups([scored(ONE, number)], own=False)
        store.add_refusals(NOW_MS, [Refusal(ONE, Reason.REWARD, bytes(32), number), Refusal(b"", Reason.SCHEMA, evidence=b"?")])
    with store.transaction() as db:
        db.execute("DELETE FROM envelopes WHERE own = 0 AND sequence % 7 = 3")


def looked_through(pool: Path) -> Search:
    with copied(pool) as copy:
        return search(copy)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a kill leaves it: much of it in the file, some of that overwritten in the log."""
    folder = tmp_path_factory.mktemp("damage")
    with closing(opened(folder / "pool.sqlite")) as store:
        fill(store, 0, 60)
    store = opened(folder / "pool.sqlite")
    fill(store, 60, 12)
    (folder / "killed").mkdir()
    for file in folder.glob("pool.sqlite*"):
        shutil.copy(file, folder / "killed")
    store.close()
    assert wal_path(folder / "killed" / "pool.sqlite").stat().st_size > 100_000
    return folder / "killed" / "pool.sqlite"


@pytest.fixture(scope="module")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a kill leaves it before it has written what it had collected."""
    folder = tmp_path_factory.mktemp("damage")
    with closing(opened(folder / "pool.sqlite")) as store:
        fill(store, 0, 60)
    store = opened(folder / "pool.sqlite", 3600)
    fill(store, 60, 3)
    (folder / "killed").mkdir()
    for file in folder.glob("pool.sqlite*"):
        shutil.copy(file, folder / "killed")
    store.close()
    assert journal_path(folder / "killed" / "pool.sqlite").stat().st_size > 9000
    assert journal_path(folder / "pool.sqlite").stat().st_size == 0
    return folder / "killed" / "pool.sqlite"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "pool.sqlite"
    with closing(opened(path)) as store:
        fill(store, 0, 40)
    return path


def flipped(path: Path, place: int, bit: int) -> Iterator[None]:
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        (before,) = file.read(1)
        file.seek(place)
        file.write(bytes([before ^ (1 << bit)]))
        yield
        file.seek(place)
        file.write(bytes([before]))


@pytest.mark.parametrize("store", ["killed", "stopped", "collecting"])
def test_any_flipped_byte_is_found_and_its_file_named(store: str, request: pytest.FixtureRequest) -> None:
    pool: Path = request.getfixturevalue(store)
    found = looked_through(pool)
    assert (found.damage, found.notes) == ([], [])
    assert found.pages > 50
    assert found.rows > 150
    random = Random(7)
    files = [
        path for path in (pool, wal_path(pool), sums_path(pool), journal_path(pool)) if path.exists() and path.stat().st_size
    ]
    assert len(files) == (2 if store == "stopped" else 3)
    for path in files:
        size = path.stat().st_size
        places = {*range(0, 100, 4), *(random.randrange(size) for _ in range(30)), size - 1}
        for place in places:
            for _ in flipped(path, place, random.randrange(8)):
                named = {each.file for each in looked_through(pool).damage}
                assert path.name in named, f"byte {place} of {path.name}"
    assert looked_through(pool).damage == []


def test_a_row_is_named_though_its_page_was_written_again(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        store.add_groups([scored(ONE, 5, rendering="compact"), scored(ONE, 6)], own=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"compact", b"compost"))
    with closing(opened(path)) as store:
        store.add_groups([scored(ONE, 7)], own=False)
    rows = [str(each) for each in looked_through(path).damage]
    assert len(rows) == 2
    assert all("of groups" in row and "is not the row that was written" in row for row in rows)


def test_what_a_kill_leaves_is_no_damage(tmp_path: Path, killed: Path) -> None:
    """At any moment of moving the log over some pages of the file are new, others are not."""
    path = tmp_path / "pool.sqlite"
    for suffix in ("", "-wal", "-sums"):
        shutil.copy(f"{killed}{suffix}", f"{path}{suffix}")
    shutil.copytree(tmp_path, tmp_path / "moved")
    moved = tmp_path / "moved" / "pool.sqlite"
    opened(moved).close()
    before, after = path.read_bytes(), moved.read_bytes()
    assert len(after) > len(before)
    for part in (0.1, 0.5, 0.9, 1.0):
        cut = int(len(after) * part) // 4096 * 4096
        path.write_bytes(after[:cut] + before[cut:])
        assert looked_through(path).damage == []
    shutil.copy(sums_path(moved), sums_path(path))
    assert looked_through(path).damage == [], "the sums are new, and the log is still there"


def test_an_unfinished_write_is_a_note(tmp_path: Path, killed: Path) -> None:
    path = tmp_path / "pool.sqlite"
    for suffix in ("", "-wal", "-sums"):
        shutil.copy(f"{killed}{suffix}", f"{path}{suffix}")
    with wal_path(path).open("ab") as log:
        log.write(b"half a frame" * 100)
    found = looked_through(path)
    assert found.damage == []
    assert "unfinished write of 1200 bytes" in found.notes[0]


def test_half_written_sums_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        fill(store, 0, 1)
    left = tmp_path / ".pool.sqlite-sums-x1"
    left.write_bytes(b"half")
    opened(path).close()
    assert not left.exists()
    assert looked_through(path).damage == []


def test_looking_changes_nothing(tmp_path: Path, killed: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(killed.parent.iterdir())}
    looked_through(killed)
    assert {path: path.read_bytes() for path in sorted(killed.parent.iterdir())} == before


def test_no_room_for_the_sums_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is then left as it is, though a last connection that closes would move it over."""
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        fill(store, 0, 5)
    store = opened(path)
    fill(store, 5, 5)

    def full(*arguments: object) -> None:
        raise HomeError("full")

    with monkeypatch.context() as during:
        during.setattr("swarm.pool.store.pool_file.renew_sums", full)
        store.close()
        with suppress(HomeError):
            opened(path)
    assert wal_path(path).stat().st_size > 0
    assert looked_through(path).damage == []
    with closing(opened(path)) as again:
        assert len(list(again.own_log())) == 10
    assert looked_through(path).damage == []


def test_a_reader_beside_the_writer_leaves_the_log_alone(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        fill(store, 0, 5)
        with closing(Store(path, PoolSection(max_groups=9, max_bytes=9, groups_per_peer=9), read_only=True)) as reader:
            assert len(list(reader.own_log())) == 5
            with pytest.raises(HomeError):
                reader.belong_to(ONE)
        copy = tmp_path / "copy" / "pool.sqlite"
        copy.parent.mkdir()
        for suffix in ("", "-wal", "-sums"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    with closing(Store(copy, PoolSection(max_groups=9, max_bytes=9, groups_per_peer=9), read_only=True)) as reader:
        assert len(list(reader.own_log())) == 5
    assert wal_path(copy).stat().st_size > 0
    assert looked_through(copy).damage == []


def test_a_reader_that_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cannot be cut meanwhile, and may be written from its beginning again after that."""
    monkeypatch.setattr("swarm.pool.store.pool_file.SETTLED_BYTES", 100_000)
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        fill(store, 0, 5)
        for first in (5, 15, 25, 35):
            with closing(Store(path, PoolSection(max_groups=9, max_bytes=9, groups_per_peer=9), read_only=True)) as reader:
                entries = reader.own_log()
                next(entries)
                fill(store, first, 5)
                assert looked_through(path).damage == []
                del entries
            fill(store, first + 5, 5)
            assert looked_through(path).damage == []
            assert len(list(store.own_log())) == first + 10


def test_the_log_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.pool.store.pool_file.SETTLED_BYTES", 100_000)
    path = tmp_path / "pool.sqlite"
    with closing(opened(path)) as store:
        for first in range(0, 60, 5):
            fill(store, first, 5)
            assert wal_path(path).stat().st_size < 400_000
            assert looked_through(path).damage == []


def test_own_envelopes_survive_a_kill_before_they_are_written(tmp_path: Path, collecting: Path) -> None:
    for file in collecting.parent.iterdir():
        shutil.copy(file, tmp_path)
    with copied(tmp_path / "pool.sqlite") as copy:
        assert len(list(copy.rows("envelopes", "id", "WHERE own = 1"))) == 63, "the audit sees them"
    path = journal_path(tmp_path / "pool.sqlite")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "unfinished write" in " ".join(looked_through(tmp_path / "pool.sqlite").notes)
    path.write_bytes(whole)
    for commit_every_s in (3600, 0):
        with closing(opened(tmp_path / "pool.sqlite", commit_every_s)) as store:
            assert [entry.sequence for entry in store.own_log()] == list(range(63))
    assert looked_through(tmp_path / "pool.sqlite").damage == []


def test_changes_are_written_when_their_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "pool.sqlite", [1000.0]
    monkeypatch.setattr("swarm.pool.store.pool_file.time.monotonic", lambda: now[0])

    def seen() -> int:
        with closing(Store(path, PoolSection(), read_only=True)) as reader:
            return reader.statistics().foreign_envelopes

    with closing(opened(path, 30)) as store:
        fill(store, 0, 1)
        now[0] += 29
        fill(store, 1, 1)
        assert (store.statistics().foreign_envelopes, seen()) == (2, 0)
        now[0] += 1
        fill(store, 2, 1)
        assert seen() > 1
        with pytest.raises(HomeError):
            fill(store, 1, 1)  # its second part is refused: the own log has this number
        assert len(list(store.own_log())) == 3, "a piece that failed takes nothing else with it"
    assert seen() == 3


def test_a_write_that_fails_loses_no_own_envelope(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with closing(opened(path, 3600)) as store:
        fill(store, 0, 3)
        store._file._db.execute("ROLLBACK")  # as SQLite does when the disk is full
        store._file._lost()
        assert [entry.sequence for entry in store.own_log()] == [0, 1, 2]
        assert store.statistics().foreign_envelopes == store.foreign_bytes == 0
        fill(store, 3, 1)
    with closing(opened(path)) as store:
        assert [entry.sequence for entry in store.own_log()] == [0, 1, 2, 3]
