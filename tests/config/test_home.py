import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swarm.errors import HomeError
from swarm.home import Home, write_atomically


def test_the_option_then_the_variable_then_the_users_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SWARMD_HOME": str(tmp_path / "variable")}
    assert Home.find(tmp_path / "option", environ).path == tmp_path / "option"
    assert Home.find(None, environ).path == tmp_path / "variable"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in Home.find(None, {}).path.parents
    assert Home.find("~/x", {}).path == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    assert Home.find("relative", {}).path == tmp_path / "relative"


def test_a_new_home_is_for_its_user_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home").create()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert home.checkpoints.is_dir()
    assert sorted(path.name for path in home.path.iterdir()) == ["checkpoints"]  # the probe is gone
    home.create()


def test_opening_what_is_no_home_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="init"):
        Home(tmp_path).open()


@pytest.mark.parametrize("path", ["/proc/self/swarmd", "/dev/null/home", "/dev/null"])
def test_an_impossible_place_is_a_home_error(path: str) -> None:
    with pytest.raises(HomeError, match="choose another --home"):
        Home(Path(path)).create()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "by this user"),
        (errno.EIO, "cannot be used"),
    ],
)
def test_a_disk_that_does_not_take_data_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    home = Home(tmp_path).create()
    home.node_toml.write_text("kept")

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(HomeError, match=message):
        home.check_writable()
    with pytest.raises(HomeError, match=message):
        write_atomically(home.node_toml, b"new")
    assert home.node_toml.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "node.toml"]


def test_replacing_a_file_keeps_its_mode_private(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", b"1")
    write_atomically(tmp_path / "secret", b"2")
    assert (tmp_path / "secret").read_bytes() == b"2"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 1


HOLD = """
import sys, time
from pathlib import Path
from swarm.home import Home
with Home(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.holder() is None
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert home.holder() == other.pid
        with pytest.raises(HomeError, match=f"process {other.pid}"), home.lock():
            pass
        other.send_signal(signal.SIGKILL)
    assert home.holder() is None
    with home.lock():
        assert home.holder() == os.getpid()
    assert home.holder() is None


def test_asking_for_the_holder_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.lock_file.touch()
    asking = os.open(home.lock_file, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [asking]).start()
    with home.lock():
        assert home.holder() == os.getpid()
