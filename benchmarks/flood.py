"""What one flooding peer does to honest nodes: prints JSON.

    python -m benchmarks.flood [--nodes 3] [--repeats 3] [--phase-s 40] > flood.json

N daemons (`swarmd start`, embedded model) learn together on loopback. Quiet phases and attacked
ones take turns, so that whatever else the machine does falls on both. In an attacked phase one more
process attacks every daemon at once, each way with an identity of its own, so that the fastest to
be cut off does not hide the others:

    valid       sound envelopes of junk, a hundred times as many per second as a peer is read, as
                fast as they are taken
    invalid     messages that are no envelopes
    oversized   frames that announce 256 MB
    pings       frames of the connection itself
    slow        streams and frames that begin and do not end, a byte at a time
    half-open   a hundred TCP connections held before the handshake, opened again when they are
                closed

Everybody who is cut off comes back again and again, and every attacked phase has new identities.
The attacker shares the machine with its victims, so it is kept to 15 % of one core, and its
use is reported. Two figures are free of that: the CPU seconds (node, policy and scorers together)
that an honest round costs, and the time that a node spends per round apart from waiting by
`node.min_round_s`. Rounds of the embedded model take a tenth of a second, so that their ratio is a
hard one; how much of a core the attack costs a node is `extra_core_per_node`. Rounds are counted
from the moment the attack has begun, without the first ones, in which the policy compiles and pools
fill.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiment.daemons import Daemon, start_swarm
from swarm.cli.client import ask
from swarm.sim.cpu import cpu_s

WARM_UP_ROUNDS = 8
RESTING = "waiting"
# As patient as anything else here, or a busy machine would show as a slow round.
SETTINGS = ("policy.niceness=0", "checkpoint.every_rounds=20")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")


# The honest side


@dataclass(frozen=True)
class CpuSample:
    """A daemon at one moment: its rounds, its processes' CPU seconds and resident bytes."""

    rounds: int
    cpu_s: float
    resident: dict[str, int]


def sample(daemon: Daemon) -> CpuSample:
    """Return a daemon's state now."""
    assert daemon._process is not None
    family = _family(daemon._process.pid)
    names = Counter[str]()
    for number, pid in enumerate(family):
        names["node" if number == 0 else "children"] += _resident(pid)
    return CpuSample(len(daemon.events("RoundFinished")), sum(map(cpu_s, family)), dict(names))


def _family(pid: int) -> list[int]:
    family, at = [pid], 0
    while at < len(family):
        with suppress(OSError):
            for task in Path(f"/proc/{family[at]}/task").iterdir():
                family += map(int, (task / "children").read_text().split())
        at += 1
    return family


def _machine_cpu_s() -> float:
    """Return the CPU seconds of all processes on this machine, without idling."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + interrupts + soft) / TICKS


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


# The comparison


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the phases in turn, and return their figures."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swarmd-flood-")))
        settings = (*SETTINGS, f"node.min_round_s={arguments.min_round_s}")
        daemons = start_swarm(stack, directory, [settings] * arguments.nodes)
        for daemon in daemons:
            daemon.until("it knows all others", lambda status: status["peers"] >= arguments.nodes - 1)
            daemon.rounds_more(WARM_UP_ROUNDS)
        phases = []
        for _ in range(arguments.repeats):
            phases += [_phase(daemons, arguments.phase_s, attacked) for attacked in (False, True)]
        network = Counter[str]()
        for daemon in daemons:
            network.update(ask(daemon.home, "status")["network"])
        cut_off = [peer["cut_off"] for daemon in daemons for peer in ask(daemon.home, "peers") if peer["cut_off"]]
    return _summary(phases, cut_off, network) | {"options": vars(arguments)}


def _loopback(daemon: Daemon) -> str:
    address: str = ask(daemon.home, "status")["addresses"][0]
    return address


def _phase(daemons: list[Daemon], seconds: float, attacked: bool) -> dict[str, Any]:
    with _attacker(daemons, seconds) if attacked else nullcontext() as attacker:
        before, began, busy_before = [sample(daemon) for daemon in daemons], time.monotonic(), _machine_cpu_s()
        time.sleep(seconds)
        machine_s = _machine_cpu_s() - busy_before
        after, elapsed = [sample(daemon) for daemon in daemons], time.monotonic() - began
        report = json.loads(attacker.communicate(timeout=60)[0]) if attacker else None
    rounds = sum(late.rounds - early.rounds for early, late in zip(before, after, strict=True))
    spent_s = sum(late.cpu_s - early.cpu_s for early, late in zip(before, after, strict=True))
    spent = [
        event["seconds"]
        for daemon, early, late in zip(daemons, before, after, strict=True)
        for event in daemon.events("RoundFinished")[early.rounds : late.rounds]
    ]
    return {
        "attacked": attacked,
        "rounds": rounds,
        "round_wall_s": round(len(daemons) * elapsed / max(rounds, 1), 3),
        "round_busy_s": round(statistics.median(sum(each.values()) - each.get(RESTING, 0.0) for each in spent), 3),
        "rounds_busy_s": [round(sum(each.values()) - each.get(RESTING, 0.0), 2) for each in spent],
        "round_parts_s": _parts(spent),
        "round_cpu_s": round(spent_s / max(rounds, 1), 3),
        "core_per_node": round(spent_s / elapsed / len(daemons), 3),
        # What neither the honest processes nor the attacker used: above 0.1 or so the wall times
        # say little.
        "other_cores_busy": round((machine_s - spent_s - (report["cpu_s"] if report else 0.0)) / elapsed, 2),
        "resident_mb": {
            name: round(max(late.resident.get(name, 0) for late in after) / 2**20, 1) for name in ("node", "children")
        },
        "attacker": report,
    }


@contextmanager
def _attacker(daemons: list[Daemon], seconds: float) -> Iterator[subprocess.Popen[str]]:
    plan = {"addresses": [_loopback(daemon) for daemon in daemons], "seconds": seconds}
    command = [sys.executable, "-m", "benchmarks.flood_attacker", json.dumps(plan)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert attacker.stdout is not None
        # Signing the junk is not part of the attack.
        assert attacker.stdout.readline() == "ready\n", "the attacker did not start"
        yield attacker
    finally:
        attacker.kill()
        attacker.communicate()


def _parts(spent: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean seconds per round by activity."""
    return {name: round(sum(each.get(name, 0.0) for each in spent) / len(spent), 3) for name in sorted(set().union(*spent))}


def _summary(phases: list[dict[str, Any]], cut_off: list[dict[str, Any]], network: Counter[str]) -> dict[str, Any]:
    def middle(name: str, attacked: bool) -> float:
        return float(statistics.median(phase[name] for phase in phases if phase["attacked"] is attacked))

    names = ("round_wall_s", "round_busy_s", "round_cpu_s")
    counted = ("cut_offs", "throttled", "messages_dropped", "not_forwarded", "rejected", "ignored", "streams_refused")
    return {
        "ratio": {name: round(middle(name, True) / middle(name, False), 3) for name in names},
        "quiet": {name: middle(name, False) for name in names},
        "attacked": {name: middle(name, True) for name in names},
        "extra_core_per_node": round(middle("core_per_node", True) - middle("core_per_node", False), 3),
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
    """Print the report."""
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
