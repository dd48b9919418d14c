"""What one flooding peer does to honest nodes: prints JSON.

    python benchmarks/flood.py [--nodes 3] [--repeats 3] [--phase-s 40] > flood.json

N daemons (`swarmd start`, embedded model) learn together on loopback. Quiet phases and attacked ones take turns, so that
whatever else the machine does falls on both. In an attacked phase one more process attacks every daemon at once, each way with
an identity of its own, so that the fastest to be cut off does not hide the others:

    valid       sound envelopes of junk, a hundred times as many per second as a peer is read, as fast as they are taken
    invalid     messages that are no envelopes
    oversized   frames that announce 256 MB
    pings       frames of the connection itself
    slow        streams and frames that begin and do not end, a byte at a time
    half-open   a hundred TCP connections held before the handshake, opened again when they are closed

Everybody who is cut off comes back again and again. The attacker shares the machine with its victims, so it is kept to
15 % of one core and what it used is reported. Two figures are free of that: the CPU seconds (node, policy and scorers
together) that an honest round costs, and the time that a node spends per round apart from waiting by `node.min_round_s`.
Rounds are counted from the moment the attack has begun, and the first ones, where the policy compiles and pools fill, not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.cli.client import ask
from swarm.errors import NotRunningError
from swarm.home import Home

WARM_UP_ROUNDS = 8
RESTING = "waiting"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
SWARMD = str(Path(sys.executable).with_name("swarmd"))
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")


# The honest side


@dataclass(frozen=True)
class Sample:
    """A daemon at one moment: its rounds so far, its processes' CPU seconds and resident bytes."""

    rounds: int
    cpu_s: float
    resident: dict[str, int]


class Daemon:
    """One honest node."""

    def __init__(self, directory: Path, index: int, bootstrap: list[str], min_round_s: float) -> None:
        self.home = Home(directory / f"node-{index}")
        self._log = (directory / f"node-{index}.log").open("wb")
        command = [SWARMD, "--home", str(self.home.path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "init"], check=True, capture_output=True, env=environment)
        settings = {
            "network.mdns": "false",
            "network.listen": json.dumps([LOOPBACK]),
            "swarm.bootstrap": json.dumps(bootstrap),
            "node.min_round_s": str(min_round_s),
            # As patient as anything else here, or a busy machine would show as a slow round.
            "policy.niceness": "0",
        }
        sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        self.process = subprocess.Popen([*command, "start", *sets], stdout=self._log, stderr=self._log, env=environment)

    def ask(self, verb: str) -> Any:
        """The daemon's answer, waited for until it answers."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise SystemExit(f"a daemon ended: see {self._log.name}")
            with suppress(NotRunningError):
                return ask(self.home, verb, timeout_s=60.0)
            time.sleep(0.2)
        raise SystemExit("a daemon does not answer")

    def events(self) -> list[dict[str, Any]]:
        """Its rounds."""
        lines = self.home.events.read_text().splitlines() if self.home.events.exists() else []
        return [event for event in map(json.loads, lines) if event.get("event") == "RoundFinished"]

    def sample(self) -> Sample:
        """Its state now."""
        family = _family(self.process.pid)
        names = Counter[str]()
        for number, pid in enumerate(family):
            names["node" if number == 0 else "children"] += _resident(pid)
        return Sample(len(self.events()), sum(map(_cpu_s, family)), dict(names))

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self._log.close()


def _family(pid: int) -> list[int]:
    family, at = [pid], 0
    while at < len(family):
        with suppress(OSError):
            for task in Path(f"/proc/{family[at]}/task").iterdir():
                family += map(int, (task / "children").read_text().split())
        at += 1
    return family


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Of a process and of those of its children that have ended.
    return sum(map(int, fields[11:15])) / TICKS


def _machine_cpu_s() -> float:
    """CPU seconds of everything on this machine, but for idling and waiting for disks."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + interrupts + soft) / TICKS


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


# The comparison


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Phases by turns, and what they say."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swarmd-flood-")))
        daemons: list[Daemon] = []
        for index in range(arguments.nodes):
            bootstrap = [_loopback(daemons[0])] if daemons else []
            daemons.append(Daemon(directory, index, bootstrap, arguments.min_round_s))
            stack.callback(daemons[-1].end)
            daemons[-1].ask("status")
        for daemon in daemons:
            while daemon.ask("status")["peers"] < arguments.nodes - 1 or len(daemon.events()) < WARM_UP_ROUNDS:
                time.sleep(0.2)
        phases = []
        for _ in range(arguments.repeats):
            phases += [_phase(daemons, arguments.phase_s, attacked) for attacked in (False, True)]
        network = Counter[str]()
        for daemon in daemons:
            network.update(daemon.ask("status")["network"])
        cut_off = [peer["cut_off"] for daemon in daemons for peer in daemon.ask("peers") if peer["cut_off"]]
    return _summary(phases, cut_off, network) | {"options": vars(arguments)}


def _loopback(daemon: Daemon) -> str:
    addresses: list[str] = daemon.ask("status")["addresses"]
    return next(address for address in addresses if "/127.0.0.1/" in address)


def _phase(daemons: list[Daemon], seconds: float, attacked: bool) -> dict[str, Any]:
    attacker, report = None, None
    if attacked:
        plan = {"addresses": [_loopback(daemon) for daemon in daemons], "seconds": seconds}
        command = [sys.executable, str(Path(__file__).with_name("flood_attacker.py")), json.dumps(plan)]
        attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert attacker.stdout is not None
        # Signing the junk is not part of the attack.
        assert attacker.stdout.readline() == "ready\n", "the attacker did not start"
    before, began, busy_before = [daemon.sample() for daemon in daemons], time.monotonic(), _machine_cpu_s()
    time.sleep(seconds)
    machine_s = _machine_cpu_s() - busy_before
    after, elapsed = [daemon.sample() for daemon in daemons], time.monotonic() - began
    if attacker is not None:
        report = json.loads(attacker.communicate(timeout=60)[0])
    rounds = sum(late.rounds - early.rounds for early, late in zip(before, after, strict=True))
    cpu_s = sum(late.cpu_s - early.cpu_s for early, late in zip(before, after, strict=True))
    spent = [
        event["seconds"]
        for daemon, early, late in zip(daemons, before, after, strict=True)
        for event in daemon.events()[early.rounds : late.rounds]
    ]
    return {
        "attacked": attacked,
        "rounds": rounds,
        "round_wall_s": round(len(daemons) * elapsed / max(rounds, 1), 3),
        "round_busy_s": round(statistics.median(sum(each.values()) - each.get(RESTING, 0.0) for each in spent), 3),
        "rounds_busy_s": [round(sum(each.values()) - each.get(RESTING, 0.0), 2) for each in spent],
        "round_parts_s": _parts(spent),
        "round_cpu_s": round(cpu_s / max(rounds, 1), 3),
        # What neither the honest processes nor the attacker used: above 0.1 or so the wall times say little.
        "other_cores_busy": round((machine_s - cpu_s - (report["cpu_s"] if report else 0.0)) / elapsed, 2),
        "resident_mb": {
            name: round(max(late.resident.get(name, 0) for late in after) / 2**20, 1) for name in ("node", "children")
        },
        "attacker": report,
    }


def _parts(spent: list[dict[str, float]]) -> dict[str, float]:
    """Mean seconds per round by activity."""
    return {name: round(sum(each.get(name, 0.0) for each in spent) / len(spent), 3) for name in sorted(set().union(*spent))}


def _summary(phases: list[dict[str, Any]], cut_off: list[dict[str, Any]], network: Counter[str]) -> dict[str, Any]:
    def middle(name: str, attacked: bool) -> float:
        return statistics.median(phase[name] for phase in phases if phase["attacked"] is attacked)

    names = ("round_wall_s", "round_busy_s", "round_cpu_s")
    counted = ("cut_offs", "throttled", "messages_dropped", "not_forwarded", "rejected", "streams_refused")
    return {
        "ratio": {name: round(middle(name, True) / middle(name, False), 3) for name in names},
        "quiet": {name: middle(name, False) for name in names},
        "attacked": {name: middle(name, True) for name in names},
        "resident_mb": {
            "quiet": max(phase["resident_mb"]["node"] for phase in phases if not phase["attacked"]),
            "attacked": max(phase["resident_mb"]["node"] for phase in phases if phase["attacked"]),
        },
        "cut_off_reasons": dict(Counter(each["reason"] for each in cut_off)),
        "cut_off": cut_off[:10],
        "network": {name: network[name] for name in (*counted, "connections_refused", "handshakes_failed", "faults")},
        "phases": phases,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="honest nodes with and without a flooding peer")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="quiet and attacked phases, by turns")
    parser.add_argument("--phase-s", type=float, default=40.0)
    parser.add_argument("--min-round-s", type=float, default=3.0, help="leaves the attacker and its victims room on few cores")
    arguments = parser.parse_args()
    # Daemons are not left behind by whoever ends this early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(json.dumps(run(arguments), indent=1))


if __name__ == "__main__":
    main()
