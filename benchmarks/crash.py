"""What survives kill -9 and a full disk: `python -m benchmarks.crash [--kills 200]`.

A real daemon dies at random moments, and its home is audited after each death.
The home of the last kill is then copied, and single bits of it are flipped, each of which the audit
has to name. Prints one JSON object; ends with 1 when anything did not hold. Needs `unshare` and the
right to mount for the full disk. It takes hours: what has been reached is said on standard error
after each death, as JSON too, so that nothing is lost when it is cut off.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "daemon"))

from disk import Disk
from kills import Victim, begin

from swarm.audit.home_audit import run_audit
from swarm.config.load import load
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.pool.store.page_sums import sums_path
from swarm.pool.store.wal import wal_path

SAY_EVERY_FLIPS = 100


def killed(folder: Path, count: int, seed: int, flip_count: int) -> dict[str, Any]:
    """Kill a daemon `count` times, then flip bits."""
    with ExitStack() as stack:
        victim, peer = begin(folder, Random(seed))
        stack.callback(victim.daemon.end)
        stack.callback(peer.end)
        for number in range(count):
            victim.live_and_die()
            _say(f"killed {number + 1} of {count}", asdict(victim.seen))
        flips = flipped(victim, flip_count, folder / "flipped")
        victim.settle(peer)
        return asdict(victim.seen) | {"flips": flips}


def flipped(victim: Victim, count: int, copy: Path) -> dict[str, Any]:
    """Flip single random bits in a copy of the victim's home, and have the audit name each file."""
    home = Home(shutil.copytree(victim.daemon.home.path, copy, ignore=shutil.ignore_patterns(".*")))
    newest = checkpoint.newest(home.checkpoints)
    files = [home.pool, sums_path(home.pool), home.identity_key, *(newest.rglob("*") if newest else [])]
    config = load(home.path)
    report = run_audit(home, config, quick=True)
    if not report.notes:  # an unfinished write at the end of the log is what nobody can tell from damage
        files.append(wal_path(home.pool))
    files = [path for path in files if path.is_file() and path.stat().st_size]
    tried, missed = Counter[str](), []
    for number in range(count if report.clean else 0):
        path = files[number % len(files)]
        whole = path.read_bytes()
        place = victim.random.randrange(len(whole))
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ (1 << victim.random.randrange(8))]))
        tried[path.name] += 1
        if not any(path.name in what for what in run_audit(home, config, quick=True).contradictions):
            missed.append(f"byte {place} of {path.name} ({len(whole)} bytes)")
            victim.wrong(f"a flipped bit was not found: {missed[-1]}")
        with path.open("r+b") as file:
            file.write(whole)
        if (number + 1) % SAY_EVERY_FLIPS == 0:
            _say(f"flipped {number + 1} of {count}", {"tried": tried, "missed": missed})
    return {"tried": dict(tried), "missed": missed}


def without_room(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Have a daemon die `count` times on a full disk, by itself or by kill -9."""
    with ExitStack() as stack:
        disk = stack.enter_context(closing(Disk(folder / "disk")))
        if not disk.mounted:
            return {"skipped": "mounting a small file system is not permitted here"}
        victim, peer = begin(folder, Random(seed), disk)
        stack.callback(victim.daemon.end)
        stack.callback(peer.end)
        for number in range(count):
            victim.live_and_lack_room(disk)
            _say(f"without room {number + 1} of {count}", asdict(victim.seen))
        peer.stopped()
        victim.agrees_with(peer)
        return asdict(victim.seen)


def _made(folder: str, name: str) -> Path:
    place = Path(folder) / name
    place.mkdir()
    return place


def _timed(run: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    started = time.monotonic()
    return run(*arguments) | {"seconds": round(time.monotonic() - started, 1)}


def _say(what: str, reached: dict[str, Any]) -> None:
    print(f"{what}: {json.dumps(reached)}", file=sys.stderr, flush=True)


def main() -> int:
    """Run both parts and print the figures; return 1 when anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full-disk", type=int, default=50, help="deaths on a full disk")
    parser.add_argument("--flips", type=int, default=2000, help="bits flipped in a copy of the home of the last kill")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    results: dict[str, Any] = {"seed": options.seed}
    with TemporaryDirectory(prefix="swarmd-crash-") as folder:
        if options.kills:
            results["kill"] = _timed(killed, _made(folder, "kill"), options.kills, options.seed, options.flips)
        if options.full_disk:
            results["full_disk"] = _timed(without_room, _made(folder, "full_disk"), options.full_disk, options.seed)
    print(json.dumps(results, indent=1))
    return 1 if any(result.get("violations") for result in results.values() if isinstance(result, dict)) else 0


if __name__ == "__main__":
    sys.exit(main())
