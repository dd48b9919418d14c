"""Checkpoints under kills, full disks and flipped bytes. Files only; test_policy.py tests the
content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import HomeError
from swarm.policy import checkpoint

STATE = {"sampler": [1, 2], "curriculum": {"level": 3.5}, "round": 7}


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Waiting for the real disk would only slow the tests down; that everything is flushed is a
    test of its own."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def fill(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "optimizer.safetensors").write_bytes(b"moments")


def write(root: Path, step: int, state=STATE, fill=fill) -> Path:
    return checkpoint.write(root, step, {"base_model": "m"}, state, fill)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_what_is_written_is_found(tmp_path):
    root = tmp_path / "deep" / "checkpoints"
    assert checkpoint.newest(root) is None
    write(root, 9)
    path = write(root, 123)
    assert path == root / "step-00000123"
    assert checkpoint.newest(root) == path
    assert checkpoint.node_state(path) == STATE
    assert checkpoint.meta(path)["step"] == 123
    assert checkpoint.meta(path)["base_model"] == "m"
    assert names(path) == ["meta.json", "model", "node.json", "optimizer.safetensors"]


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000, 5):
        write(tmp_path, step)
    assert checkpoint.newest(tmp_path) == tmp_path / "step-100000000"


def test_the_same_step_again_replaces(tmp_path):
    write(tmp_path, 5, {"round": 1})
    path = write(tmp_path, 5, {"round": 2})
    assert checkpoint.node_state(path) == {"round": 2}
    assert checkpoint.newest(tmp_path) == path
    assert names(tmp_path) == ["step-00000005.1"]


def test_what_somebody_reads_stays_until_it_is_let_go(tmp_path):
    older = write(tmp_path, 5, {"round": 1})
    with checkpoint.hold(older) as there:
        assert there
        again = write(tmp_path, 5, {"round": 2})
        write(tmp_path, 6)
        checkpoint.prune(tmp_path, keep=1)
        assert checkpoint.damage(older) is None
        assert checkpoint.node_state(older) == {"round": 1}, "nothing else has got its name"
        assert not again.exists()
    checkpoint.prune(tmp_path, keep=1)
    assert names(tmp_path) == ["step-00000006"]
    with checkpoint.hold(older) as there:
        assert not there


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_reader_holds_nothing(tmp_path):
    older = write(tmp_path, 1)
    read, told = os.pipe()
    child = os.fork()
    if child == 0:
        with checkpoint.hold(older):
            os.write(told, b"held")
            signal.pause()
    assert os.read(read, 4) == b"held"
    write(tmp_path, 2)
    checkpoint.prune(tmp_path, keep=1)
    assert older.exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint.prune(tmp_path, keep=1)
    assert not older.exists()


def test_sums_known_already_are_taken_and_sound_checkpoints_not_read_again(tmp_path, monkeypatch):
    read = []
    sum_ = checkpoint._sum
    monkeypatch.setattr(checkpoint, "_sum", lambda path: (read.append(path.name), sum_(path))[1])
    known = hashlib.sha256(b"moments").hexdigest()
    first = write(tmp_path, 1, fill=lambda folder: (fill(folder), {"optimizer.safetensors": known})[1])
    second = write(tmp_path, 2)
    assert read.count("optimizer.safetensors") == 1
    read.clear()
    checkpoint.prune(tmp_path, 2, {first, second})
    assert read == []
    assert checkpoint.newest(tmp_path) == second
    assert checkpoint.damage(first) is None


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("two")
    write(root, 1)
    write(root, 2)
    return root


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_flipped_bit_falls_back_to_the_one_before(two, data):
    newer = two / "step-00000002"
    victim = data.draw(st.sampled_from(sorted(path for path in newer.rglob("*") if path.is_file())))
    content = victim.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = content[place] ^ 1 << data.draw(st.integers(0, 7))
    victim.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
    try:
        if victim.name == "meta.json" and says_the_same(victim.read_bytes(), content):
            return
        assert checkpoint.newest(two) == two / "step-00000001"
        assert checkpoint.damage(newer)
    finally:
        victim.write_bytes(content)


def says_the_same(changed: bytes, content: bytes) -> bool:
    """A flip may turn one kind of white space into another."""
    try:
        return json.loads(changed) == json.loads(content)
    except ValueError:
        return False


@pytest.mark.parametrize("victim", ["meta.json", "node.json", "optimizer.safetensors", "model/model.safetensors"])
def test_a_missing_or_cut_file_falls_back(tmp_path, victim):
    older, newer = write(tmp_path, 1), write(tmp_path, 2)
    content = (newer / victim).read_bytes()
    (newer / victim).write_bytes(content[:-1])
    assert checkpoint.newest(tmp_path) == older
    (newer / victim).unlink()
    assert checkpoint.newest(tmp_path) == older
    shutil.rmtree(older)
    assert checkpoint.newest(tmp_path) is None


def test_another_format_is_named(tmp_path):
    path = write(tmp_path, 1)
    (path / "meta.json").write_text('{"format": 2, "files": {}}')
    with pytest.raises(HomeError, match="format 2"):
        checkpoint.meta(path)
    with pytest.raises(HomeError, match="cannot read"):
        checkpoint.node_state(tmp_path / "nowhere")


def test_prune_keeps_the_latest_whole_ones(tmp_path):
    for step in range(1, 7):
        write(tmp_path, step)
    (tmp_path / "step-00000006" / "node.json").unlink()
    (tmp_path / ".writing-step-00000009").mkdir()
    (tmp_path / "notes").mkdir()
    checkpoint.prune(tmp_path, keep=2)
    # The damaged newest is left to whoever wants to look at it; it never counts.
    assert names(tmp_path) == ["notes", "step-00000004", "step-00000005", "step-00000006"]
    checkpoint.prune(tmp_path, keep=2)
    assert checkpoint.newest(tmp_path) == tmp_path / "step-00000005"


def test_prune_never_removes_the_last_hope(tmp_path):
    path = write(tmp_path, 1)
    (path / "node.json").write_text("{")
    checkpoint.prune(tmp_path, keep=1)
    assert path.exists()
    checkpoint.prune(tmp_path / "absent", keep=1)


def test_state_that_is_no_json_leaves_nothing_behind(tmp_path):
    older = write(tmp_path, 1)
    with pytest.raises((TypeError, ValueError)):
        write(tmp_path, 2, {"bytes": b"no"})
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, 2, {"nan": float("nan")})
    assert names(tmp_path) == [older.name]


def test_read_only_or_impossible_places_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for root in (tmp_path / "file", Path("/proc/checkpoints")):
        with pytest.raises(HomeError, match="cannot write the checkpoint"):
            write(root, 1)


CALLS = ["mkdir", "rename", "write_text"]


def counted(monkeypatch, act):
    """Call `act(number)` before each operation on the disk; answers how many there were."""
    calls = [0]

    def wrap(original):
        def operation(*arguments, **options):
            calls[0] += 1
            act(calls[0])
            return original(*arguments, **options)

        return operation

    for name in CALLS:
        monkeypatch.setattr(Path, name, wrap(getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", wrap(os.fsync))
    monkeypatch.setattr(os, "rmdir", wrap(os.rmdir))
    return calls


def test_everything_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(os.fstat(descriptor).st_ino))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, target: (events.append(target), rename(path, target)))
    path = write(tmp_path, 1)
    renamed = events.index(path)
    assert {item.stat().st_ino for item in [path, *path.rglob("*")]} == set(events[:renamed])
    assert events[renamed + 1 :] == [tmp_path.stat().st_ino]


@pytest.mark.parametrize("step", [1, 2], ids=["replacing", "beside"])
def test_a_full_disk_at_any_operation_leaves_the_earlier_checkpoint(tmp_path, step):
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        write(root, 1, {"round": 1})

        def refuse(number, at=at):
            if number == at:
                raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            calls = counted(patch, refuse)
            with contextlib.suppress(HomeError):
                write(root, step, {"round": 2})
        if calls[0] < at:
            assert at > 10
            break
        found = checkpoint.newest(root)
        assert found is not None
        assert checkpoint.node_state(found)["round"] in (1, 2)
        litter = [name for name in names(root) if name.startswith(".") and "removing" not in name]
        assert litter == []
        write(root, step, {"round": 3})  # and the next one succeeds and clears up
        assert checkpoint.node_state(checkpoint.newest(root)) == {"round": 3}
        assert not [name for name in names(root) if name.startswith(".")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("step", [1, 2], ids=["replacing", "beside"])
def test_a_kill_at_any_operation_leaves_a_whole_checkpoint(tmp_path, step):
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        write(root, 1, {"round": 1})
        child = os.fork()
        if child == 0:  # the writer, killed just before its operation number `at`
            try:
                with pytest.MonkeyPatch.context() as patch:
                    counted(patch, lambda number, at=at: os._exit(9) if number == at else None)
                    write(root, step, {"round": 2})
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        found = checkpoint.newest(root)
        assert found is not None, f"nothing left after a kill at operation {at}"
        assert checkpoint.node_state(found)["round"] in (1, 2)
        write(root, step, {"round": 3})
        assert checkpoint.node_state(checkpoint.newest(root)) == {"round": 3}
        assert not [name for name in names(root) if name.startswith(".") or "replaced" in name]
        if os.waitstatus_to_exitcode(status) == 0:
            assert at > 10
            break
