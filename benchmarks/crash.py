"""What survives kill -9 and a full disk: a real daemon dies at random moments, and its home is audited after each death.

Prints one JSON object; ends with 1 when anything did not hold. Needs `unshare` and the right to mount for the full disk.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "daemon"))

from disk import Disk
from kills import Victim, begin


def killed(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` deaths by kill -9."""
    with ExitStack() as stack:
        victim, peer = begin(folder, Random(seed))
        stack.callback(victim.daemon.end)
        stack.callback(peer.end)
        for number in range(count):
            victim.live_and_die()
            _say(f"killed {number + 1} of {count}", victim)
        # What it signed before its deaths has to be what it goes on from.
        victim.daemon.running()
        victim.daemon.rounds_more(2)
        victim.daemon.stopped()
        victim.examine()
        peer.stopped()
        victim.agrees_with(peer)
        return asdict(victim.seen)


def without_room(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` deaths on a full disk, by itself or by kill -9."""
    with ExitStack() as stack:
        disk = stack.enter_context(closing(Disk(folder / "disk")))
        if not disk.mounted:
            return {"skipped": "mounting a small file system is not permitted here"}
        victim, peer = begin(folder, Random(seed), disk)
        stack.callback(victim.daemon.end)
        stack.callback(peer.end)
        for number in range(count):
            victim.live_and_lack_room(disk)
            _say(f"without room {number + 1} of {count}", victim)
        peer.stopped()
        victim.agrees_with(peer)
        return asdict(victim.seen)


def _say(what: str, victim: Victim) -> None:
    seen = victim.seen
    print(f"{what}: log {seen.own_log}, {seen.rounds} rounds, {len(seen.violations)} violations", file=sys.stderr, flush=True)
    for violation in seen.violations:
        print(f"  {violation}", file=sys.stderr, flush=True)


def main() -> int:
    """Run both and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full-disk", type=int, default=50, help="deaths on a full disk")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    results: dict[str, Any] = {"seed": options.seed}
    with TemporaryDirectory(prefix="swarmd-crash-") as folder:
        for name, run, count in (("kill", killed, options.kills), ("full_disk", without_room, options.full_disk)):
            if count:
                place = Path(folder) / name
                place.mkdir()
                started = time.monotonic()
                results[name] = run(place, count, options.seed) | {"seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(results, indent=1))
    return 1 if any(result.get("violations") for result in results.values() if isinstance(result, dict)) else 0


if __name__ == "__main__":
    sys.exit(main())
