"""The client and the commands that need a daemon, against a process that answers like one."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swarm.cli.client import ask
from swarm.cli.main import main
from swarm.errors import NotRunningError, SwarmdError
from swarm.home import Home
from swarm.identity import create
from swarm.policy import checkpoint


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").create()
    create(home.identity_key)
    home.node_toml.touch()
    return home


def swarmd(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.path), *arguments])


@contextmanager
def answering(home: Home, answer: Callable[[dict[str, Any]], bytes]) -> Iterator[list[dict[str, Any]]]:
    """A control socket in a thread; yields the requests it has had."""
    requests: list[dict[str, Any]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                requests.append(json.loads(stream.readline()))
                connection.sendall(answer(requests[-1]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    home.control.write_text(json.dumps({"port": listener.getsockname()[1], "token": "secret", "pid": 1}))
    try:
        yield requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def result(value: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: json.dumps({"ok": True, "result": value}).encode() + b"\n"


def test_a_question_carries_token_verb_and_arguments(home: Home) -> None:
    with answering(home, result({"round": 3})) as requests:
        assert ask(home, "status", detail=True) == {"round": 3}
    assert requests == [{"token": "secret", "verb": "status", "detail": True}]


def test_a_refusal_keeps_its_message_and_exit_code(home: Home) -> None:
    refusal = json.dumps({"ok": False, "error": "the disk is full", "exit_code": 4}).encode() + b"\n"
    with answering(home, lambda request: refusal):
        with pytest.raises(SwarmdError, match="the disk is full") as caught:
            ask(home, "save")
        shown = swarmd(home, "status")
    assert caught.value.exit_code == 4
    assert (shown.exit_code, shown.stderr) == (4, "Error: the disk is full\n")


@pytest.mark.parametrize("line", [b"", b"\n", b"HTTP/1.0 400\r\n\r\n", b"[]\n", b"{}\n", b'{"ok": true}\n', b"\xff\n"])
def test_another_program_at_the_port_is_no_daemon(home: Home, line: bytes) -> None:
    with answering(home, lambda request: line), pytest.raises(NotRunningError):
        ask(home, "status")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"port": "x", "token": ""}', b'{"token": ""}', b'{"port": 1, "token": "x"}']
)
def test_a_stale_or_damaged_control_file_is_no_daemon(home: Home, content: bytes) -> None:
    home.control.write_bytes(content)
    with pytest.raises(NotRunningError, match="start it with"):
        ask(home, "status")


def test_a_silent_daemon_is_given_up_on(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        home.control.write_text(json.dumps({"port": listener.getsockname()[1], "token": "x"}))
        with pytest.raises(NotRunningError, match=r"did not answer within 0\.1 s"):
            ask(home, "status", timeout_s=0.1)


STATUS = {
    "peer_id": "12D3KooW",
    "addresses": ["/ip4/1.2.3.4/tcp/1", "/ip4/5.6.7.8/tcp/2"],
    "state": "waiting for peers \x1b[2J",
    "refused": {"schema": 2},
    "policy": {"model": "embedded", "step": 3, "digest": "ab"},
    "reward_mean": None,
}


def test_status_for_programs_and_for_people(home: Home) -> None:
    with answering(home, result(STATUS)):
        assert json.loads(swarmd(home, "status", "--json").stdout) == STATUS
        shown = swarmd(home, "status").stdout
    assert "\x1b" not in shown, "strangers' text never steers the terminal"
    assert "peer id      12D3KooW\n" in shown
    assert "addresses    /ip4/1.2.3.4/tcp/1\n             /ip4/5.6.7.8/tcp/2\n" in shown
    assert "refused      schema 2\n" in shown


def test_peers(home: Home) -> None:
    peers = [{"peer_id": "12D3KooWA", "connected": True, "addresses": ["/ip4/1.2.3.4/tcp/1"], "cut_off": None}]
    with answering(home, result(peers)):
        assert json.loads(swarmd(home, "peers", "--json").stdout) == peers
        assert "12D3KooWA" in swarmd(home, "peers").stdout
    with answering(home, result([])):
        assert json.loads(swarmd(home, "peers", "--json").stdout) == []
        assert swarmd(home, "peers").stdout == "no peers\n"


def test_invite(home: Home) -> None:
    with answering(home, result({"invite": "swarmd1:xyz", "swarm_id": "00"})):
        assert swarmd(home, "invite").stdout == "swarmd1:xyz\n"
        assert json.loads(swarmd(home, "invite", "--json").stdout)["swarm_id"] == "00"


def test_export_asks_the_daemon_for_the_current_policy(home: Home, tmp_path: Path) -> None:
    def saved(request: dict[str, Any]) -> bytes:
        state = {"round": 5, "totals": {"groups_trained_own": 7, "groups_trained_foreign": 0}}
        checkpoint.write(home.checkpoints, 4, {"digest": "abc"}, state, lambda folder: (folder / checkpoint.MODEL).mkdir())
        return result({"round": 5})(request)

    with answering(home, saved) as requests:
        assert swarmd(home, "export", "--to", str(tmp_path / "out")).exit_code == 0
        card = (tmp_path / "out" / "README.md").read_text()
        assert "4, in 5 rounds" in card
        assert "7 own and 0 foreign" in card
        assert re.search(r"\n- `reasoning_gym/spell_backward` [^\n]*, level 0 to 2\n", card), "the swarm's environments"
        assert "dapo loss, learning rate 0.0001" in card
        assert "not evaluated" in card
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        assert swarmd(home, "export", "--to", str(tmp_path / "full")).exit_code == 4
    assert [each["verb"] for each in requests] == ["save"]


def test_export_without_a_daemon_takes_the_newest_whole_checkpoint(home: Home, tmp_path: Path) -> None:
    for step in (1, 2, 3):

        def fill(folder: Path, step: int = step) -> None:
            (folder / checkpoint.MODEL).mkdir()
            (folder / checkpoint.MODEL / "config.json").write_text(str(step))

        path = checkpoint.write(home.checkpoints, step, {}, {}, fill)
    (path / checkpoint.MODEL / "config.json").write_text("damaged")
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "out", tmp_path / "empty"):
        shown = swarmd(home, "export", "--to", str(target))
        assert (shown.exit_code, shown.stdout) == (0, f"{target}\n")
        assert sorted(file.name for file in target.iterdir()) == ["README.md", "config.json"]
        assert (target / "config.json").read_text() == "2"
    assert swarmd(home, "export", "--to", "/dev/null/out").exit_code in (2, 4)
    refused = swarmd(home, "export", "--adapter", "--to", str(tmp_path / "thin"))
    assert (refused.exit_code, "no adapter" in refused.stderr) == (9, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "home", "out"]


@pytest.mark.parametrize("how", ["another step", "the same step"])
def test_a_daemon_goes_on_saving_while_a_checkpoint_is_exported(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def save(step: int, text: str) -> Path:
        def fill(folder: Path) -> None:
            (folder / checkpoint.MODEL).mkdir()
            (folder / checkpoint.MODEL / "config.json").write_text(text)

        return checkpoint.write(home.checkpoints, step, {}, {}, fill)

    save(1, "old")
    copy, copied = shutil.copytree, list[str]()

    def disturbed(source: Path, target: Path) -> None:
        if not copied:
            copied.append("once")
            save(1 if how == "the same step" else 2, "new")
            checkpoint.remove_older(home.checkpoints, 1)
        copy(source, target)

    monkeypatch.setattr("swarm.serving.exporting.shutil.copytree", disturbed)
    assert swarmd(home, "export", "--to", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "config.json").read_text() == "old", "what was opened stays until it is copied"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]
    checkpoint.remove_older(home.checkpoints, 1)
    assert len(checkpoint.every(home.checkpoints)) == 1


DAEMON = """
import json, pathlib, signal, socket, sys, time
from swarm.home import Home
home, how = Home(pathlib.Path(sys.argv[1])), sys.argv[2]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with home.lock(), socket.create_server(("127.0.0.1", 0)) as listener:
    home.control.write_text(json.dumps({"port": listener.getsockname()[1], "token": "t"}))
    print("ready", flush=True)
    if how == "mute":
        time.sleep(60)
    connection, _ = listener.accept()
    assert json.loads(connection.makefile("rb").readline())["verb"] == "stop"
    connection.sendall(b'{"ok": true, "result": {}}\\n')
    time.sleep(0.3 if how == "orderly" else 60)
"""


@contextmanager
def daemon(home: Home, how: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", DAEMON, str(home.path), how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_stop_waits_for_the_end(home: Home) -> None:
    with daemon(home, "orderly") as process:
        assert swarmd(home, "stop").exit_code == 0
        assert home.holder() is None
        assert process.wait(60) == 0


def test_stop_says_when_it_takes_too_long_and_force_kills(home: Home) -> None:
    with daemon(home, "stubborn") as process:
        shown = swarmd(home, "stop", "--timeout", "0.2")
        assert shown.exit_code == 1
        assert "--force" in shown.stderr
        assert process.poll() is None
    with daemon(home, "stubborn") as process:
        assert swarmd(home, "stop", "--timeout", "0.2", "--force").exit_code == 0
        assert process.wait(60) == -9


def test_stop_of_a_daemon_that_does_not_answer(home: Home) -> None:
    with daemon(home, "mute") as process:
        shown = swarmd(home, "stop", "--timeout", "0.2")
        assert (shown.exit_code, process.poll()) == (7, None)
        home.control.unlink()
        assert f"process {process.pid}" in swarmd(home, "status").stderr
        assert swarmd(home, "stop", "--timeout", "0.2", "--force").exit_code == 0
        assert process.wait(60) == -9
    assert swarmd(home, "stop", "--force").exit_code == 7


def test_pause_and_resume(home: Home) -> None:
    paused = {"why": "by hand", "until": "2026-01-01 00:00", "in_effect": False}
    with answering(home, result({"paused": paused, "state": "training"})) as requests:
        shown = swarmd(home, "pause", "--for", "1d2h30m").stdout
        assert shown == "paused: by hand until 2026-01-01 00:00; it begins when this is done: training\n"
        assert json.loads(swarmd(home, "pause", "--json").stdout)["paused"] == paused
    assert [each["seconds"] for each in requests] == [86400 + 2 * 3600 + 1800, None]
    with answering(home, result({"paused": None, "state": "training"})):
        assert swarmd(home, "resume").stdout == "not paused\n"
    for wrong in ("2", "h", "-1h", "2 hours", ""):
        assert swarmd(home, "pause", "--for", wrong).exit_code == 2
