"""CPU a gossip message takes on its way in: `python -m benchmarks.cost.receive_path [--repeats 5]`.

The way is the validator (size, signature, schema), the receiver's queue, admission, and the pool on
disk, in one process: `validate -> Receiver -> Admission -> Pool`. The verifier believes every
reward and costs nothing, so that what is measured is the handling of the message. Eight signers'
logs arrive in turn, at most eight messages wait, each comes once; every repeat begins with an empty
pool.

Prints JSON: per size of share the median over repeats of the CPU milliseconds per message (all
threads of this process), and each repeat's. One repeat before them warms up and is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import NO_PREVIOUS, seal
from protocols.manifest import Manifest, epoch_of
from protocols.messages import Completion, PolicyTag, RolloutGroup, Share
from protocols.recipe import Recipe
from swarm.beacon.beacon import LocalBeacon
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config, PoolSection
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.exchange.own_log import open_log
from swarm.exchange.receiving import Receiver
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.network import Message, Verdict
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.log_table import begin
from swarm.records import ScoredGroup, Task

SIGNERS = 8
REWARDS = (1.0, 0.0) * 4


@dataclass(frozen=True, slots=True)
class Size:
    """The groups of a share, characters of each answer, and shares to receive."""

    groups: int
    characters: int
    messages: int


SIZES = {"1 KB": Size(1, 95, 400), "256 KB": Size(30, 1045, 64)}


@dataclass(frozen=True, slots=True)
class Believed:
    """The outcome of a verifier that believes the claimed rewards."""

    task: Task
    rewards: tuple[float, ...]


async def believe(recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Believed:
    """Score answers as their solver did."""
    return Believed(Task(recipe, seed, {rendering: "?"}, "!"), REWARDS)


async def nobody(*_: Any) -> bytes:
    """Have no body to give."""
    raise NetworkError("nobody has it")


def logs(manifest: Manifest, size: Size) -> list[bytes]:
    """Return the messages of all signers in turn; each continues its signer's log."""
    chance, now_ms = random.Random(1), WallClock().now_ms()
    rule, epoch = manifest.environments[0], epoch_of(manifest, now_ms)
    keys = [Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32) for number in range(SIGNERS)]
    previous, messages = [NO_PREVIOUS] * SIGNERS, []
    for number in range(size.messages):
        sequence, turn = divmod(number, SIGNERS)
        key, first = keys[turn].public_key().public_bytes_raw(), sequence * size.groups
        groups = []
        for index in range(first, first + size.groups):
            texts = ["".join(chance.choices("abcdefgh ijklmnop", k=size.characters)) for _ in REWARDS]
            completions = tuple(Completion(text, True, size.characters // 4, -20.5) for text in texts)
            recipe = Recipe(rule.name, rule.version, (("level", 0),), epoch, key, index)
            groups.append(RolloutGroup(recipe, manifest.renderings[0], PolicyTag("some", bytes(32), 1), completions, REWARDS))
        share = Share(sequence, epoch, first, size.groups, tuple(groups))
        envelope = seal(keys[turn], sequence, previous[turn], now_ms, share, manifest.id)
        previous[turn] = envelope.id
        messages.append(envelope.to_bytes())
    return messages


async def receive(manifest: Manifest, messages: Sequence[bytes]) -> float:
    """Take messages into an empty pool; return the CPU seconds that took."""
    clock, room = WallClock(), trio.Semaphore(SIGNERS)

    def heard(groups: Sequence[ScoredGroup]) -> None:
        assert groups, "a message was refused"
        room.release()

    with tempfile.TemporaryDirectory(prefix="swarmd-receive-") as folder:
        home, identity = Home(Path(folder)), Identity(Ed25519PrivateKey.from_private_bytes(bytes([99]) * 32))
        context = Context(home, identity, Config(), manifest, clock)
        begin(home.pool, identity.public_key)
        beacon = LocalBeacon(manifest)
        async with Pool(home.pool, PoolSection(), clock) as pool:
            admission = Admission(context, pool, PeerScores(), believe, nobody, beacon.value)
            receiver = Receiver(context, pool, admission, beacon, await open_log(context, pool), heard)
            subscription = receiver.subscription
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receiver.run)
                await trio.lowlevel.checkpoint()
                begun = time.process_time()
                for data in messages:
                    await room.acquire()
                    opened = subscription.validate(data)
                    assert not isinstance(opened, Verdict)
                    subscription.take(Message(data, opened, "forwarder"))
                for _ in range(SIGNERS):
                    await room.acquire()
                spent = time.process_time() - begun
                nursery.cancel_scope.cancel()
    return spent


def measure(size: Size, repeats: int) -> dict[str, Any]:
    """Return the figures of one size of share."""
    manifest = built_in()["reasoning"]
    messages = logs(manifest, size)
    spent = [trio.run(receive, manifest, messages) for _ in range(repeats + 1)][1:]
    each = [round(1000 * seconds / len(messages), 3) for seconds in spent]
    return {
        "bytes": round(statistics.mean(map(len, messages))),
        "messages": len(messages),
        "cpu_ms_per_message": statistics.median(each),
        "repeats": each,
    }


def main() -> None:
    """Print the figures of all sizes as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each size (default: %(default)s)")
    options = parser.parse_args()
    print(json.dumps({name: measure(size, options.repeats) for name, size in SIZES.items()}, indent=1))


if __name__ == "__main__":
    main()
