"""`swarmd` from the operator's side: every command a process, every daemon the leader of a process
group."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import randrange
from tempfile import TemporaryDirectory
from typing import Any

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope
from protocols.messages import Kind, Share, unpack_body
from protocols.peer_id import public_key
from swarm.cli.client import ask
from swarm.config.schema import PoolSection
from swarm.errors import NotRunningError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup

SWARMD = str(Path(sys.executable).with_name("swarmd"))
# Bounds only: a test machine may be busy with much else.
SOON_S, WITHIN_S = 120.0, 300.0
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
# Slow rounds, since the processes of three nodes share two cores, and frequent checkpoints.
SETTINGS = (
    "network.mdns=false",
    "node.min_round_s=0.3",
    "checkpoint.every_rounds=4",
    "checkpoint.every_minutes=0",
    "checkpoint.keep=2",
    "pool.commit_every_s=0",
)

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

Status = dict[str, Any]


class Daemon:
    """One home, the commands given to it, and its daemon while one runs.

    `prefix` is what commands are run under (`nsenter …`), `inside` where the home is to be found
    from here then. What the daemon writes to standard error goes to `log`, beside the home if
    nothing else is said.
    """

    def __init__(self, path: Path, *, prefix: Sequence[str] = (), inside: Path | None = None, log: Path | None = None) -> None:
        self.path = path
        self.home = Home(inside or path)
        self.log = log or path.with_suffix(".log")
        self._prefix = tuple(prefix)
        self._process: subprocess.Popen[bytes] | None = None
        self._group: int | None = None
        self._logged = 0

    def command(self, *arguments: str, timeout_s: float = SOON_S) -> subprocess.CompletedProcess[str]:
        """Run `swarmd --home HOME arguments`."""
        line = [*self._prefix, SWARMD, "--home", str(self.path), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, env=_environment())

    def ok(self, *arguments: str, timeout_s: float = SOON_S) -> str:
        """The standard output of a command that must succeed."""
        done = self.command(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a reading verb prints with --json."""
        return json.loads(self.ok(*arguments, "--json"))

    def start(self, *settings: str) -> None:
        """Begin to run the daemon; `settings` are this run's own."""
        assert self._process is None, "it runs already"
        sets = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        line = [*self._prefix, SWARMD, "--home", str(self.path), "start", *sets]
        with self.log.open("ab") as log:
            self._logged = log.tell()
            self._process = subprocess.Popen(
                line, stdout=log, stderr=log, env=_environment(), start_new_session=True, preexec_fn=_end_with_parent
            )
        self._group = self._process.pid

    def running(self, *settings: str) -> Status:
        """Its status; it is started first where it does not run."""
        if self._process is None:
            self.start(*settings)
        return self.until("it answers", lambda status: True)

    def status(self) -> Status | None:
        """What `swarmd status --json` would print; None while nothing answers."""
        try:
            answer: Status = ask(self.home, "status", timeout_s=SOON_S)
        except NotRunningError:
            return None
        return answer

    def until(self, what: str, condition: Callable[[Status], Any], within_s: float = WITHIN_S) -> Status:
        """The first status that fulfils `condition`; fails after `within_s`, or when the daemon
        ends before."""
        deadline = time.monotonic() + within_s
        while True:
            assert self._process is not None, "it was not started"
            assert self._process.poll() is None, f"it ended before {what}:\n{self.tail()}"
            status = self.status()
            if status is not None and condition(status):
                return status
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}; {status}\n{self.tail()}"
            time.sleep(0.1)

    def rounds_more(self, count: int = 3) -> Status:
        """Wait until so many more rounds are done; a round counts back where the policy was lost,
        so this looks at events."""
        before = len(self.events("RoundFinished"))
        return self.until(f"{count} more rounds", lambda _: len(self.events("RoundFinished")) >= before + count)

    def signal_all(self, number: int) -> None:
        """Send a signal to the daemon and all its children, as a shell or a service manager
        does."""
        assert self._group is not None
        os.killpg(self._group, number)

    def kill(self) -> None:
        """`kill -9` of the daemon alone."""
        assert self._process is not None
        self._process.kill()
        self.ended()

    def stopped(self) -> None:
        """Make sure that it does not run."""
        if self._process is not None:
            self.ok("stop")
            assert self.ended() == 0

    def ended(self, within_s: float = SOON_S) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        code = self._process.wait(within_s)
        self._process = None
        return code

    def left_behind(self, within_s: float = SOON_S) -> list[int]:
        """Processes of the daemon's group that are still there some time after its end."""
        deadline = time.monotonic() + within_s
        while (left := [pid for pid, group, _ in _processes() if group == self._group]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def children(self) -> list[int]:
        """The processes forked for policy and verifiers."""
        servers = self.fork_servers()
        return [pid for pid, _, parent in _processes() if parent in servers]

    def fork_servers(self) -> list[int]:
        """The processes that those are forks of."""
        assert self._process is not None
        own = [pid for pid, _, parent in _processes() if parent == self._process.pid]
        return [pid for pid in own if b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def frozen_while(self, activity: str) -> Status:
        """Stop (SIGSTOP) the policy's child while the node does this, so that it goes on doing it;
        the status then."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            status = self.running()
            if status["state"] == activity:
                os.kill(status["policy"]["pid"], signal.SIGSTOP)
                time.sleep(0.3)
                if self.running()["state"] == activity:
                    return status
                os.kill(status["policy"]["pid"], signal.SIGCONT)
        raise AssertionError(f"never seen {activity}")

    def end(self) -> None:
        """End whatever is left of it, at once."""
        if self._process is not None:
            self._process.kill()
            self.ended()
        for pid in self.left_behind(5.0):
            os.kill(pid, signal.SIGKILL)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of this kind, oldest first."""
        lines = self.home.events.read_text().splitlines() if self.home.events.exists() else []
        return [event for line in lines if line.endswith("}") and (event := json.loads(line))["event"] == kind]

    def tail(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-2000:]

    def sentence(self) -> str:
        """The one sentence with which it ended by itself."""
        return the_sentence(self.log.read_bytes()[self._logged :].decode(errors="replace"))

    def newest_checkpoint(self) -> Path:
        """The newest checkpoint, which must be whole."""
        path = checkpoint.newest(self.home.checkpoints)
        assert path is not None, "there is no whole checkpoint"
        return path

    def groups(self, signer: str) -> list[ScoredGroup]:
        """What its pool holds of a peer, in the order of the indices; the daemon may run."""
        with closing(Store(self.home.pool, PoolSection(max_groups=1, max_bytes=1, groups_per_peer=1), read_only=True)) as store:
            found = [group for _, _, group in store.groups(limit=10**6, signer=public_key(signer))]
        return sorted(found, key=lambda group: (group.task.recipe.epoch, group.task.recipe.index))

    def own_log(self, swarm: bytes) -> list[tuple[Envelope, Share]]:
        """Its own log, read from the disk; every signature, sequence number and link of the chain
        is checked."""
        with TemporaryDirectory() as folder:
            pool = self.home.pool
            if self.home.path != self.path:
                # SQLite does not find its way through /proc; the daemon does not run, so that a
                # copy is whole.
                for file in self.home.path.glob("pool.sqlite*"):
                    shutil.copy(file, folder)
                pool = Path(folder) / pool.name
            with closing(Store(pool, PoolSection(max_groups=10**6, max_bytes=10**9, groups_per_peer=10**6))) as store:
                entries = [(open_envelope(entry.envelope, swarm), entry.body) for entry in store.own_log()]
        previous, log = NO_PREVIOUS, []
        for number, (envelope, body) in enumerate(entries):
            assert (envelope.sequence, envelope.previous) == (number, previous)
            share = unpack_body(envelope.kind, envelope.body) if body is None else unpack_body(Kind.SHARE, body)
            assert isinstance(share, Share)
            log.append((envelope, share))
            previous = envelope.id
        return log


def free_port() -> int:
    """A port that nobody listens on just now, and that the system gives to nobody who asks for
    any."""
    while True:
        port = randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def the_sentence(said: str) -> str:
    """What a refusal says on standard error: one line that begins with `Error: `, and nothing after
    it, nor a traceback."""
    assert "Traceback" not in said, said
    lines = said.splitlines()
    assert [line.startswith("Error: ") for line in lines].count(True) == 1, said
    assert lines[-1].startswith("Error: "), said
    return lines[-1].removeprefix("Error: ")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")} | {"OMP_NUM_THREADS": "1"}


def _end_with_parent() -> None:
    """Whatever ends the thread that started a daemon, `kill -9` of the tests or a benchmark
    included, ends the daemon too."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _processes() -> list[tuple[int, int, int]]:
    """(pid, process group, parent) of every living process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            found.append((int(path.parent.name), int(group), int(parent)))
    return found
