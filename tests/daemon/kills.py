"""A daemon that is killed again and again, or whose disk is full, with a peer that goes on.

After each death:

- its identity is the same, and `swarmd audit` finds no damage and no contradiction;
- its own log begins with all its earlier entries, here and at the peer;
- it goes on from its newest checkpoint, and that is at most one checkpoint back.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from disk import Disk
from processes import LOOPBACK, WITHIN_S, Daemon

from swarm import identity
from swarm.audit.home_audit import run_audit
from swarm.config.load import load
from swarm.errors import HomeError
from swarm.policy import checkpoint
from swarm.pool.store.damage import copied

EVERY_ROUNDS = 2
# Short rounds, so that there is much to interrupt. The canary goes back on purpose, which is not
# the question here.
SETTINGS = (
    "node.min_round_s=0",
    "generation.num_generations=4",
    "training.local=1",
    "training.external=2",
    "tasks.share_uninformative=true",
    f"checkpoint.every_rounds={EVERY_ROUNDS}",
    "checkpoint.keep=2",
    "defences.canary_tasks=0",
)
FULL_AUDIT_EVERY = 10


@dataclass
class Deaths:
    """What happened, and what did not hold."""

    deaths: int = 0
    while_starting: int = 0
    by_full_disk: int = 0
    full_audits: int = 0
    rounds: int = 0
    own_log: int = 0
    foreign_envelopes: int = 0
    most_rounds_back: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


class Victim:
    """A daemon with the memory of what it must not lose."""

    def __init__(self, daemon: Daemon, random: Random) -> None:
        self.daemon = daemon
        self.random = random
        self.seen = Deaths()
        self.key = identity.load(daemon.home.identity_key).public_key
        self._key_file = daemon.home.identity_key.read_bytes()
        self._log: list[bytes] = []
        self._events_read = 0
        self._done = 0
        self._start_s = 5.0

    def live_and_die(self) -> None:
        """Start it, and kill it at a random moment: while it starts, or some time after it
        answers."""
        self.daemon.start(*SETTINGS)
        if self.random.random() < 0.25:
            self.seen.while_starting += 1
            self._wait(1.0)
        else:
            self._until_it_answers()
            self._wait(0.8)
        self.daemon.kill()
        self.examine()

    def _until_it_answers(self) -> None:
        begun = time.monotonic()
        self.daemon.until("it answers", lambda _: True)
        self._start_s = time.monotonic() - begun

    def _wait(self, most: float) -> None:
        """A random time of at most so many times what a start takes, so that as much happens
        meanwhile on a busy machine."""
        time.sleep(self.random.uniform(0.0, most * self._start_s))

    def live_and_lack_room(self, disk: Disk) -> None:
        """Start it, fill its disk at a random moment but for a little, and let it end by itself or
        kill it."""
        self.daemon.start(*SETTINGS)
        self._until_it_answers()
        self._wait(0.6)
        disk.fill(leaving=self.random.choice([0, 4096, 50_000, 400_000, 1_500_000]))
        if self.random.random() < 0.5:
            self._wait(0.6)
            self.daemon.signal_all(signal.SIGKILL)
            self.daemon.ended()
        else:
            code = self.daemon.ended(WITHIN_S)
            self.seen.by_full_disk += 1
            if code != HomeError.exit_code:
                self.wrong(f"it ended with {code} on a full disk: {self.daemon.tail()}")
        self.examine()
        disk.empty()

    def settle(self, peer: Daemon) -> None:
        """Go on from what it signed before its deaths, come to rest in order, and compare with what
        its peer holds."""
        self.daemon.running()
        self.daemon.rounds_more(2)
        self.daemon.stopped()
        self.examine()
        peer.stopped()
        self.agrees_with(peer)

    def examine(self) -> None:
        """What must hold after a death."""
        self.seen.deaths += 1
        home = self.daemon.home
        # A child that is still importing its libraries notices the end of its parent after that.
        if left := self.daemon.left_behind(WITHIN_S):
            self.wrong(f"processes are left: {left}")
        if home.identity_key.read_bytes() != self._key_file:
            self.wrong("the key is another one")
        self._look_through()
        self._read_log()
        self._read_events()
        if self._done >= EVERY_ROUNDS and checkpoint.newest(home.checkpoints) is None:
            self.wrong("there is no whole checkpoint")

    def _look_through(self) -> None:
        home = self.daemon.home
        report = run_audit(home, load(home.path), quick=True)
        for note in report.notes:
            kind = "".join(letter for letter in note if not letter.isdigit())
            self.seen.notes[kind] = self.seen.notes.get(kind, 0) + 1
        for what in report.contradictions:
            self.wrong(f"audit: {what}")
        if self.seen.deaths % FULL_AUDIT_EVERY == 0:
            self.seen.full_audits += 1
            done = self.daemon.command("audit", timeout_s=WITHIN_S)
            if done.returncode != 0:
                self.wrong(f"swarmd audit ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")

    def _read_log(self) -> None:
        with copied(self.daemon.home.pool) as copy:
            log = [id_ for (id_,) in copy.rows("envelopes", "id", "WHERE own = 1 ORDER BY sequence")]
            self.seen.foreign_envelopes = sum(1 for _ in copy.rows("envelopes", "id", "WHERE own = 0"))
        if log[: len(self._log)] != self._log:
            self.wrong(f"its log was {len(self._log)} entries long, and is not continued by that of {len(log)}")
        self._log = log
        self.seen.own_log = len(log)

    def _read_events(self) -> None:
        """Where its lives began again, against how far the ones before had come."""
        events = self.daemon.home.events
        data = events.read_bytes() if events.exists() else b""
        end = data.rfind(b"\n") + 1
        for line in data[self._events_read : end].splitlines():
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # a full disk cuts lines short
            if event["event"] == "NodeStarted":
                back = self._done - event["round"]
                self.seen.most_rounds_back = max(self.seen.most_rounds_back, back)
                if back > EVERY_ROUNDS:
                    self.wrong(f"it had done {self._done} rounds and began again at {event['round']}")
                self._done = event["round"]
            elif event["event"] == "RoundFinished":
                self.seen.rounds += 1
                self._done = event["round"] + 1
        self._events_read = end

    def agrees_with(self, peer: Daemon) -> None:
        """The peer, which must be stopped, holds no other history of it than its own."""
        own = dict(enumerate(self._log))
        with copied(peer.home.pool) as copy:
            held = list(copy.rows("envelopes", "sequence, id", "WHERE signer = ?", (self.key,)))
            for number, id_ in held:
                if own.get(number) != id_:
                    self.wrong(f"the peer holds another number {number} of its log")
            if any(True for _ in copy.rows("proofs", "signer")):
                self.wrong("the peer has a proof that it signed two histories")
            for (reason,) in copy.rows("refusals", "reason"):
                if reason in {"equivocation", "chain", "index-gap", "own-key"}:
                    self.wrong(f"the peer refused something of it: {reason}")
        if not held:
            self.wrong("the peer has never heard of it")

    def wrong(self, what: str) -> None:
        """Note what did not hold."""
        self.seen.violations.append(f"death {self.seen.deaths}: {what}")


def begin(folder: Path, random: Random, disk: Disk | None = None) -> tuple[Victim, Daemon]:
    """A victim, on a disk of its own if one is given, and the peer by which it joins, which
    runs."""
    peer = Daemon(folder / "peer")
    peer.ok("init", "--listen", LOOPBACK)
    peer.start("node.min_round_s=2", "generation.num_generations=4", "defences.canary_tasks=0")
    address = peer.until("it listens", lambda status: status["addresses"])["addresses"][0]
    if disk is None:
        daemon = Daemon(folder / "victim")
    else:
        place = disk.place / "victim"
        daemon = Daemon(place, prefix=disk.prefix, inside=disk.inside / "victim", log=folder / "victim.log")
    daemon.ok("init", "--listen", LOOPBACK)
    daemon.ok("join", address)
    return Victim(daemon, random), peer
