"""Whether the network stays on time in training: `python -m benchmarks.cost.heartbeats`.

Two daemons on loopback. One trains in long steps on all cores and is paused by hand in turn,
`--seconds` each, `--repeats` times; the other learns slowly all the while, so that there is gossip
to check and to forward. Measured at the first, in both states:

    timer   how late a timer fires in the daemon's loop, by which all its pings and heartbeats go
            out (`loop` in its status)
    ping    how long a third peer, this process, waits for the answer to a small request every fifth
            of a second
    here    how late that peer's own timer fires meanwhile, which is the machine's part in both

Prints JSON, milliseconds: each phase's p50, p99 and longest, and what training adds to the p99, of
each pair of phases and of their median. `training` is the part of a phase that was spent in
training steps, `others` how many cores the machine's other processes used meanwhile. Ends with 1
when the median of what training adds is above `--most`.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import trio

from benchmarks.experiment.daemons import LOOPBACK, Daemon, start_swarm
from benchmarks.experiment.program import add_settings
from protocols.limits import MAX_MANIFEST_BYTES
from protocols.manifest import Manifest, topic
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError
from swarm.exchange.answering import MANIFEST_PROTOCOL
from swarm.net.libp2p import open_libp2p
from swarm.net.network import deaf
from swarm.node.punctuality import WINDOW_S, Punctuality, PunctualityStatistics
from swarm.sim.cpu import tree_cpu_s

PING_EVERY_S = 0.2
# A round's groups in one step of many passes, each of as many completions as the swarm allows.
HARD = (
    "node.min_round_s=0", "generation.num_generations=32", "training.local=12", "training.groups_per_update=0",
    "training.num_iterations=20", "defences.canary_tasks=0",
)  # fmt: skip
SLOW = ("node.min_round_s=2",)


async def pings(address: str, manifest: Manifest, seconds: float) -> tuple[list[float], PunctualityStatistics]:
    """Ask at a steady pace; return the milliseconds until each answer, and this loop's delay."""
    waited: list[float] = []
    punctuality = Punctuality()
    config = NetworkSection(listen=(LOOPBACK,), mdns=False)

    async with open_libp2p(secrets.token_bytes(32), deaf(topic(manifest)), clock=WallClock(), config=config) as network:
        peer = await network.dial(address)

        async def ping() -> None:
            asked = trio.current_time()
            with suppress(NetworkError):  # who gave up waiting has waited
                await network.request(peer, MANIFEST_PROTOCOL, manifest.id, MAX_MANIFEST_BYTES)
            waited.append(1000 * (trio.current_time() - asked))

        async with trio.open_nursery() as beside:
            beside.start_soon(punctuality.watch)
            async with trio.open_nursery() as asking:
                begun = trio.current_time()
                for number in range(round(seconds / PING_EVERY_S)):
                    await trio.sleep_until(begun + number * PING_EVERY_S)
                    asking.start_soon(ping)
            beside.cancel_scope.cancel()
    return waited, punctuality.statistics()


def busy_cores_s() -> float:
    """Return the CPU seconds of all processes since the machine started."""
    spent = psutil.cpu_times()
    return float(sum(getattr(spent, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq")))


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return the quantiles that a daemon's status has, in milliseconds."""
    ordered = sorted(values)
    return {
        name: round(ordered[int(at * (len(ordered) - 1))], 1)
        for name, at in (("p50_ms", 0.5), ("p99_ms", 0.99), ("most_ms", 1.0))
    }


def phase(daemon: Daemon, manifest: Manifest, seconds: float, *, training: bool) -> dict[str, Any]:
    """Bring the daemon into this state, and measure it for so long."""
    if training:
        daemon.ok("resume")
        status = daemon.until("it trains", lambda status: status["state"] == "training")
    else:
        daemon.ok("pause")
        status = daemon.until("it is paused", lambda status: status["paused"] and status["paused"]["in_effect"])
    rounds, begun = len(daemon.events("RoundFinished")), time.monotonic()
    everybody_s, ours_s = busy_cores_s(), tree_cpu_s()
    waited, here = trio.run(pings, status["addresses"][0], manifest, seconds)
    took_s = time.monotonic() - begun
    loop = daemon.until("it answers", lambda _: True)["loop"]
    others = (busy_cores_s() - everybody_s - (tree_cpu_s() - ours_s)) / took_s
    steps = [event["seconds"].get("training", 0.0) for event in daemon.events("RoundFinished")[rounds:]]
    return {
        "state": "training" if training else "idle",
        "timer": loop,
        "ping": quantiles(waited) | {"answers": len(waited)},
        "here": asdict(here),
        "training": round(sum(steps) / took_s, 3),
        "step_s": round(max(steps, default=0.0), 2),
        "others": round(others, 2),
        "load": round(os.getloadavg()[0], 2),
    }


def added(phases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what training adds to the p99, for each pair of phases and as their median."""
    found = {}
    for what in ("timer", "ping"):
        p99 = {state: [each[what]["p99_ms"] for each in phases if each["state"] == state] for state in ("idle", "training")}
        pairs = [round(busy - idle, 1) for idle, busy in zip(p99["idle"], p99["training"], strict=True)]
        found[what] = {state: median(values) for state, values in p99.items()} | {"added": pairs, "added_median": median(pairs)}
    return found


def measure(folder: Path, repeats: int, seconds: float, hard: Sequence[str]) -> list[dict[str, Any]]:
    """Start the daemons and measure the phases in turn."""
    manifest = built_in()["embedded"]
    with ExitStack() as stack:
        trains, _ = start_swarm(stack, folder, [hard, SLOW])
        trains.until("they have met", lambda status: status["peers"] > 0)
        phases = []
        for number in range(2 * repeats):
            phases.append(phase(trains, manifest, seconds, training=number % 2 == 1))
            print(f"{number + 1} of {2 * repeats}: {phases[-1]}", file=sys.stderr, flush=True)
        return phases


def main() -> int:
    """Print the report; return 1 when training makes the network late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=WINDOW_S + 2, help="of one phase; a minute is what the status tells of")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the policy (default: all cores)")
    parser.add_argument("--most", type=float, default=100.0, help="milliseconds that training may add (default: %(default)s)")
    add_settings(parser, "the daemon that trains")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="heartbeats-") as folder:
        hard = (*HARD, f"policy.threads={options.threads}", *options.set)
        phases = measure(Path(folder), options.repeats, options.seconds, hard)
    result = added(phases)
    asked = {"threads": options.threads, "seconds": options.seconds, "settings": options.set, "niceness": os.nice(0)}
    print(json.dumps({**asked, **result, "phases": phases}, indent=1))
    return int(max(each["added_median"] for each in result.values()) > options.most)


if __name__ == "__main__":
    sys.exit(main())
