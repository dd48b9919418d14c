"""What a node writes to its disk: `python -m benchmarks.cost.disk`.

Two daemons of the embedded model on loopback learn from each other with the defaults.
`/proc/PID/io` says what each process of the first one has written, without what was dropped from
the page cache before it reached the disk. Prints one JSON object: bytes a second, extrapolated to a
day, of the node's own process (pool and events) and of the policy's (checkpoints); the size of each
file of the home; and by arithmetic, a day's checkpoints of a model of 0.5 billion weights, all of
them trained. Ends with 1 when the node writes more than `--most`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.experiment.daemons import Daemon, start_swarm
from benchmarks.soak import processes
from swarm.config.load import OF_OTHER_MODELS
from swarm.config.schema import Config
from swarm.policy.fit.devices import KEPT_BYTES

DAY_S = 86_400
LARGE_WEIGHTS = 494_032_768  # Qwen2.5-0.5B


def defaults() -> tuple[str, ...]:
    """Return the settings that undo those of the tests' daemons."""
    plain = Config()
    named = {
        "node.min_round_s": plain.node.min_round_s,
        "checkpoint.every_rounds": plain.checkpoint.every_rounds,
        "checkpoint.every_minutes": plain.checkpoint.every_minutes,
        "checkpoint.keep": plain.checkpoint.keep,
        "pool.commit_every_s": plain.pool.commit_every_s,
    }
    return tuple(f"{name}={value}" for name, value in named.items())


def written(pid: int) -> int:
    """Return the bytes that a process has sent to the disk; 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except FileNotFoundError:
        return 0
    figures = {name: int(value) for name, value in (line.split(": ") for line in lines)}
    return figures["write_bytes"] - figures["cancelled_write_bytes"]


class Written:
    """Bytes written by each process of a daemon, those of processes that have ended included."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._by_pid: dict[int, tuple[str, int]] = {}

    def look(self) -> dict[str, int]:
        """Return the sums by kind of process."""
        for name, pid in processes(self._daemon).items():
            self._by_pid[pid] = name.rstrip(" 0123456789"), max(written(pid), self._by_pid.get(pid, ("", 0))[1])
        sums: dict[str, int] = {}
        for kind, amount in self._by_pid.values():
            sums[kind] = sums.get(kind, 0) + amount
        return sums


def measure(folder: Path, settle_s: float, seconds: float, settings: tuple[str, ...]) -> dict[str, Any]:
    """Run two daemons and return the first one's figures."""
    with ExitStack() as stack:
        daemon, _ = start_swarm(stack, folder, [(*defaults(), *settings)] * 2)
        daemon.until("they have met", lambda status: status["peers"] > 0)
        time.sleep(settle_s)
        counted = Written(daemon)
        before, first, begun = counted.look(), daemon.until("it answers", lambda _: True), time.monotonic()
        while time.monotonic() - begun < seconds:
            time.sleep(5)
            now = counted.look()
        took_s, last = time.monotonic() - begun, daemon.until("it answers", lambda _: True)
        per_s = {kind: (amount - before.get(kind, 0)) / took_s for kind, amount in now.items()}
        sizes = {path.name: path.stat().st_size for path in daemon.home.path.iterdir() if path.is_file()}
        return {
            "seconds": round(took_s),
            "rounds_per_s": round((last["round"] - first["round"]) / took_s, 2),
            "bytes_per_s": {kind: round(amount) for kind, amount in per_s.items()},
            "gb_per_day": round(sum(per_s.values()) * DAY_S / 1e9, 2),
            "checkpoints": len(daemon.events("Checkpointed")),
            "home_bytes": sizes,
            "gb_per_day_of_large_checkpoints": round(large_checkpoints() / 1e9, 1),
        }


def large_checkpoints() -> float:
    """Return the bytes of a day's checkpoints of the large model, however short its rounds are."""
    return LARGE_WEIGHTS * KEPT_BYTES * DAY_S / (60 * OF_OTHER_MODELS["checkpoint.every_minutes"])


def main() -> int:
    """Print the report; return 1 when the node writes more than `--most`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=float, default=60.0, help="seconds before it counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1260.0, help="that are measured (default: %(default)s)")
    parser.add_argument("--most", type=float, default=2.0, help="GB a day that are allowed (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of both daemons")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="disk-") as folder:
        found = measure(Path(folder), options.settle, options.seconds, tuple(options.set))
    print(json.dumps(found, indent=1))
    return int(found["gb_per_day"] > options.most)


if __name__ == "__main__":
    sys.exit(main())
