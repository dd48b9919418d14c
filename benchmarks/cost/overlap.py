"""How long the policy's device stands still: `python -m benchmarks.cost.overlap`.

One node alone, in real time, with its own verifiers and its store on the disk, does the same rounds
in each of these ways:

    strict        one thing after the other (training.max_versions_behind = 0)
    ahead         a round is generated while the one before is verified and shared (1)
    two devices   the same, generation in a second process on --generation-device

For a GPU: `--device cuda --model Qwen/Qwen2.5-0.5B-Instruct --tasks 64 --set
swarm.manifest=reasoning`, with `--generation-device cuda:1` where there is one, else
`--generation-device ""`. A model that solves nothing trains nothing. Prints JSON. Each way: rounds
per minute, idle share and seconds per round of each process of the policy (of the wall time, by the
process's own clock), the rest by activity, held-out accuracy after the rounds; on a GPU also the
share of the time in which no kernel ran on it, as the driver samples it. The first rounds are
warming up and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from subprocess import PIPE
from typing import Any, NamedTuple

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.experiment.program import add_settings, given
from swarm.clock import WallClock
from swarm.config.load import load
from swarm.config.manifest_lookup import find_manifest
from swarm.context import Context
from swarm.events import Event, RoundFinished
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.network import Subscription
from swarm.net.simulated import MemoryNetwork
from swarm.node.opening import open_node
from swarm.pool.store.log_table import begin
from swarm.roles.held_out_accuracy import examine, held_out_set

WARM = 3
HELD_OUT = 30  # problems per environment
# One line per GPU and fifth of a second: its number, and the percentage of the time in which a
# kernel ran.
LIST_BUSY = ("nvidia-smi", "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200")


class IdleReading(NamedTuple):
    """The driver's word on one GPU; `at_s` is of the monotonic clock."""

    at_s: float
    gpu: str
    busy_percent: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=32, help="tasks per round, all of them trained on")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--generation-device", default="cpu", help="of the third way; empty leaves it out")
    parser.add_argument("--seed", type=int, default=1)
    add_settings(parser, "the node")
    options = parser.parse_args()
    ways = {"strict": {}, "ahead": {"training.max_versions_behind": "1"}}
    if options.generation_device:
        ways["two devices"] = {**ways["ahead"], "policy.generation_device": options.generation_device}
    report = {}
    for name, more in ways.items():
        with tempfile.TemporaryDirectory(prefix="swarmd-overlap-") as folder:
            report[name] = trio.run(measured, Home(Path(folder) / "home").create(), settings(options) | more, options)
        print(name, report[name], file=sys.stderr)
    print(json.dumps(report, indent=1))


def settings(options: argparse.Namespace) -> dict[str, str]:
    """Return the settings that all ways have in common."""
    return {
        "policy.model": options.model,
        "policy.device": options.device,
        "tasks.per_round": str(options.tasks),
        "training.local": str(options.tasks),
        "training.external": "0",
        "node.rounds": str(WARM + options.rounds),
        "node.seed": str(options.seed),
        **given(options),
    }


async def measured(home: Home, asked: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Run a node in one way, and return the figures."""
    events: list[Event] = []
    ends_s: list[float] = []  # of all rounds
    config, clock = load(home.path, asked, {}), WallClock()
    manifest = find_manifest(config.swarm.manifest, home)
    assert manifest is not None
    key = Ed25519PrivateKey.from_private_bytes(bytes([options.seed]) * 32)
    begin(home.pool, key.public_key().public_bytes_raw())
    network = MemoryNetwork(options.seed)

    def join(subscription: Subscription[Any]) -> Any:
        return network.join(key.private_bytes_raw(), subscription, clock=clock, config=config.network)

    def heard(event: Event) -> None:
        events.append(event)
        if isinstance(event, RoundFinished):
            ends_s.append(time.monotonic())

    async with open_node(Context(home, Identity(key), config, manifest, clock, (heard,)), join) as node:
        roles = node.learner.roles
        problems = await held_out_set(roles.scorer, manifest, HELD_OUT)
        async with gpu_readings(options.device) as readings:
            await node.learn()
        after = await examine(roles.policy, roles.scorer, problems, roles.view)
    rounds = [event for event in events if isinstance(event, RoundFinished)][WARM:]
    took_s = sum(each.took_s for each in rounds)
    processes = {process: sum(each.busy_s[process] for each in rounds) for process in rounds[0].busy_s}
    activities = sorted({what for each in rounds for what in each.seconds})
    return {
        "rounds_per_minute": round(60 * len(rounds) / took_s, 2),
        "round_s": round(took_s / len(rounds), 3),
        "busy_s": {process: round(busy_s / len(rounds), 3) for process, busy_s in processes.items()},
        "idle_share": {process: round(1 - busy_s / took_s, 3) for process, busy_s in processes.items()},
        "gpu_idle_share": idle_shares(readings, ends_s[WARM - 1], ends_s[-1]),
        "seconds": {what: round(fmean(each.seconds.get(what, 0.0) for each in rounds), 3) for what in activities},
        "eval_after": round(after.accuracy, 4),
    }


@asynccontextmanager
async def gpu_readings(device: str) -> AsyncIterator[list[IdleReading]]:
    """Collect the driver's readings while the context lasts; none if the device is no CUDA card."""
    readings: list[IdleReading] = []
    if not device.startswith("cuda"):
        yield readings
        return
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, LIST_BUSY, stdout=PIPE))
        nursery.start_soon(_read, process.stdout, readings)
        yield readings
        nursery.cancel_scope.cancel()


async def _read(lines: trio.abc.ReceiveStream, readings: list[IdleReading]) -> None:
    begun = b""
    async for some in lines:
        *whole, begun = (begun + some).split(b"\n")
        for line in whole:
            gpu, _, percent = line.decode().partition(",")
            if percent.strip().isdigit():
                readings.append(IdleReading(time.monotonic(), gpu.strip(), float(percent)))


def idle_shares(readings: list[IdleReading], since_s: float, until_s: float) -> dict[str, float]:
    """Return per GPU the share of the time between two moments in which no kernel ran."""
    busy: dict[str, list[float]] = {}
    for reading in readings:
        if since_s <= reading.at_s <= until_s:
            busy.setdefault(reading.gpu, []).append(reading.busy_percent)
    return {gpu: round(1 - fmean(percents) / 100, 3) for gpu, percents in busy.items()}


if __name__ == "__main__":
    main()
