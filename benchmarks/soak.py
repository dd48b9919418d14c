"""Eight daemons that learn from each other for half an hour: `python -m benchmarks.soak`.

Every ten seconds the resident memory of each of their processes, the size of each home and what the
daemons count as lost are sampled. Prints one JSON object: how much each kind of process has grown
since the first `--settle` minutes (the median of a minute then, and of the last minute), and at
which daemon most. Ends with 1 when a process has grown by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.experiment.daemons import Daemon, start_swarm

EVERY_S = 10.0
ALLOWED_GROWTH = 0.05
MINUTE = int(60 / EVERY_S)  # samples
PAGE = os.sysconf("SC_PAGE_SIZE")

# Rounds as slow as two cores need for the processes of eight nodes; no bound of the pool is reached
# within the time otherwise.
SETTINGS = ("node.min_round_s=3", "checkpoint.every_rounds=20")
# What status says of queues that ran over; all of these stay 0 in a swarm that keeps up.
LOST = ("messages_dropped", "sends_dropped", "not_forwarded", "faults", "cut_offs")


def resident(pid: int) -> int:
    """Return the bytes of a process in memory, shared ones included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def processes(daemon: Daemon) -> dict[str, int]:
    """Return the ids of a daemon's processes by their kind and number."""
    assert daemon._process is not None
    status = daemon.status()
    named = {"node": daemon._process.pid}
    for number, pid in enumerate(sorted(daemon.fork_servers())):
        named[f"fork server {number}"] = pid
    policy = status["policy"]["pid"] if status else None
    others = sorted(pid for pid in daemon.children() if pid != policy)
    if policy:
        named["policy"] = policy
    return named | {f"scoring {number}": pid for number, pid in enumerate(others)}


def disk_bytes(daemon: Daemon) -> int:
    """Return the bytes of the home's files."""
    total = 0
    for path in daemon.home.path.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # a checkpoint that was just pruned
    return total


class Samples:
    """Memory by (daemon, process), disk by daemon, and the daemons' last status."""

    def __init__(self, daemons: list[Daemon]) -> None:
        self._daemons = daemons
        self.memory: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.pids: dict[tuple[int, str], set[int]] = defaultdict(set)
        self.disk: dict[int, list[int]] = defaultdict(list)
        self.statuses: dict[int, dict[str, Any]] = {}

    def take(self) -> None:
        """Take one sample of all figures."""
        for number, daemon in enumerate(self._daemons):
            self.statuses[number] = daemon.until("it answers", lambda status: True)
            self.disk[number].append(disk_bytes(daemon))
            for name, pid in processes(daemon).items():
                try:
                    self.memory[number, name].append(resident(pid))
                except FileNotFoundError:
                    continue  # a child that has just been replaced
                self.pids[number, name].add(pid)

    def restarted(self) -> dict[str, int]:
        """Count per kind how often a process was replaced."""
        return _sums({name.rstrip(" 0123456789"): len(pids) - 1} for (_, name), pids in self.pids.items())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind at all daemons."""
        return [event for daemon in self._daemons for event in daemon.events(kind)]


def growth(values: list[int], settled: int) -> float:
    """Return the last minute's median over that of the minute after settling, less 1."""
    then, now = median(values[settled : settled + MINUTE]), median(values[-MINUTE:])
    return now / then - 1


def report(samples: Samples, settled: int) -> dict[str, Any]:
    """Return the figures of all samples."""
    kinds = sorted({name.rstrip(" 0123456789") for _, name in samples.memory})
    memory = {}
    for kind in kinds:
        grown = {
            f"{number}": growth(values, settled)
            for (number, name), values in samples.memory.items()
            if name.rstrip(" 0123456789") == kind and len(values) > settled + MINUTE
        }
        worst = max(grown, key=lambda each: grown[each])
        sizes = [values[-1] for (_, name), values in samples.memory.items() if name.rstrip(" 0123456789") == kind]
        memory[kind] = {
            "growth_mean": round(fmean(grown.values()), 4),
            "growth_most": round(grown[worst], 4),
            "most_at_daemon": int(worst),
            "mb_mean": round(fmean(sizes) / 2**20, 1),
        }
    statuses = samples.statuses.values()
    return {
        "processes": memory,
        "restarted": {name: count for name, count in samples.restarted().items() if count},
        # Why a policy's child is another one: its part failed, or the canary went back to a
        # checkpoint.
        "failed": [f"{each['part']}: {each['error']}" for each in samples.events("PartRestarted")],
        "rolled_back": [f"{each['best']:.3f} to {each['accuracy']:.3f}" for each in samples.events("RolledBack")],
        "disk": {
            "mb_settled_mean": round(fmean(values[settled] for values in samples.disk.values()) / 2**20, 2),
            "mb_end_mean": round(fmean(values[-1] for values in samples.disk.values()) / 2**20, 2),
            "pool_groups_mean": fmean(each["pool"]["own_groups"] + each["pool"]["foreign_groups"] for each in statuses),
        },
        "lost": {name: sum(each["network"][name] for each in statuses) for name in LOST},
        "refused": _sums(each["refused"] for each in statuses),
        "rounds": [each["round"] for each in statuses],
        "groups_trained_foreign": [each["groups_trained_foreign"] for each in statuses],
        "peers": [each["peers"] for each in statuses],
        "samples": len(samples.disk[0]),
    }


def _sums(counts: Any) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for each in counts:
        for name, number in each.items():
            total[name] += number
    return dict(total)


def soak(folder: Path, nodes: int, minutes: float, settle: float) -> dict[str, Any]:
    """Start the daemons, sample them, and stop them."""
    with ExitStack() as stack:
        daemons = start_swarm(stack, folder, [SETTINGS] * nodes)
        samples = Samples(daemons)
        begun = time.monotonic()
        while time.monotonic() - begun < 60 * minutes:
            due = begun + EVERY_S * len(samples.disk[0])
            time.sleep(max(0.0, due - time.monotonic()))
            samples.take()
            print(f"{(time.monotonic() - begun) / 60:.1f} of {minutes:g} minutes", file=sys.stderr)
        for daemon in daemons:
            daemon.stopped()
        return report(samples, round(60 * settle / EVERY_S))


def main() -> int:
    """Print the report; return 1 when memory grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--settle", type=float, default=5.0, help="minutes before growth counts (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=8)
    options = parser.parse_args()
    if options.minutes < options.settle + 2:
        parser.error("--minutes must be at least two more than --settle")
    with TemporaryDirectory(prefix="soak-") as folder:
        found = soak(Path(folder), options.nodes, options.minutes, options.settle)
    print(json.dumps({"nodes": options.nodes, "minutes": options.minutes, "settle_minutes": options.settle} | found, indent=1))
    return 1 if any(each["growth_most"] > ALLOWED_GROWTH for each in found["processes"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
