"""What one core admits: `python -m benchmarks.cost.admission_steps [--groups 256]`.

Prints groups per second and each step's share as JSON. The whole path is `Admission.screen` and
`admit` over a store on the disk and a scoring child, as in a node; beside it each step is measured
alone, in this process. All figures are CPU seconds (this process and the child), so that a busy
machine does not falsify them; "the rest" is the cost of the whole beyond its steps: trips to the
child and to the store's thread, history, rules.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import NO_PREVIOUS, Envelope, _verify, open_envelope, seal
from protocols.manifest import Manifest, epoch_of
from protocols.messages import Completion, PolicyTag, RolloutGroup, Share, unpack_body
from protocols.recipe import Recipe, local_beacon, seed
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config, PoolSection
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.home import Home
from swarm.identity import Identity
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.opened import Opened
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.records import ScoredGroup, Task
from swarm.sim.cpu import tree_cpu_s
from swarm.tasks.scoring import Scorer
from swarm.tasks.task_worker import main as worker

COMPLETIONS = 8
PROSE_CHARS = 400  # about 100 tokens of reasoning before the answer
LIMIT_S = 30.0

Answer = dict[str, Any]


def recipes(manifest: Manifest, key: bytes, epoch: int, count: int) -> list[Recipe]:
    """Return tasks of all environments and levels in turn."""
    rules = manifest.environments
    chosen = [rules[index % len(rules)] for index in range(count)]
    levels = [rule.parameters["level"].max + 1 for rule in chosen]  # type: ignore[union-attr] # ours are all ranges
    return [
        Recipe(rule.name, rule.version, (("level", index // len(rules) % level),), epoch, key, index)
        for index, (rule, level) in enumerate(zip(chosen, levels, strict=True))
    ]


class Bench:
    """Shares of one manifest, and the verifier in this process."""

    def __init__(self, name: str) -> None:
        self.manifest = built_in()[name]
        self.rendering = self.manifest.renderings[0]
        self._handlers = worker(None)

    def beacon(self, epoch: int) -> bytes:
        return local_beacon(self.manifest.id, epoch)

    def ask(self, kind: str, recipe: Recipe, **more: Any) -> Answer:
        body = {"environment": recipe.environment, "version": recipe.version, "parameters": recipe.parameters, "limit_s": LIMIT_S}
        answer: Answer = self._handlers[kind](body | {"seed": seed(recipe, self.beacon(recipe.epoch))} | more)
        return answer

    def score(self, group: RolloutGroup) -> Answer:
        return self.ask("score", group.recipe, rendering=group.rendering, texts=[each.text for each in group.completions])

    def group(self, recipe: Recipe) -> RolloutGroup:
        chance = random.Random(recipe.index)
        answer = str(self.ask("build", recipe)["answer"])[:2000]
        if self.rendering == "prose":
            thoughts = ["".join(chance.choices("abcdefghij klmnop. ", k=PROSE_CHARS)) for _ in range(COMPLETIONS)]
            texts = [f"{each} <answer>{answer if turn % 2 else answer[::-1]}</answer>" for turn, each in enumerate(thoughts)]
        else:
            texts = [
                (answer.lower() if turn % 2 else answer[::-1])[: self.manifest.max_completion_chars]
                for turn in range(COMPLETIONS)
            ]
        completions = tuple(Completion(text, True, min(len(text), self.manifest.max_completion_tokens), -9.5) for text in texts)
        unscored = RolloutGroup(recipe, self.rendering, PolicyTag("bench", bytes(32), 1), completions, ())
        return RolloutGroup(recipe, self.rendering, unscored.policy, completions, tuple(self.score(unscored)["rewards"]))

    def shares(self, groups: int, per_share: int) -> list[bytes]:
        """Seal envelopes, each the first of its own signer, so that no budget is used up."""
        now_ms = WallClock().now_ms()
        made = []
        for number in range(max(1, groups // per_share)):
            private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
            epoch = epoch_of(self.manifest, now_ms)
            asked = recipes(self.manifest, private.public_key().public_bytes_raw(), epoch, per_share)
            share = Share(0, epoch, 0, per_share, tuple(self.group(recipe) for recipe in asked))
            made.append(seal(private, 0, NO_PREVIOUS, now_ms, share, self.manifest.id).to_bytes())
        return made

    def scored(self, envelope: Envelope, share: Share) -> list[ScoredGroup]:
        """Return a share's groups as the store takes them."""
        return [
            ScoredGroup(
                Task(group.recipe, 1, {self.rendering: "x" * 200}, "x"), group.rendering, group.policy, group.completions,
                group.rewards, envelope.key, envelope.id, envelope.time_ms,
            )
            for group in share.groups
        ]  # fmt: skip


def cpu_of(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this process that `work` takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def steps(bench: Bench, data: Sequence[bytes]) -> dict[str, float]:
    """Measure the CPU seconds of each step alone."""
    opened = [open_envelope(each, bench.manifest.id) for each in data]

    def check_signatures() -> None:
        for each in opened:
            _verify(each)

    verify = cpu_of(check_signatures)
    both = cpu_of(lambda: [open_envelope(each, bench.manifest.id) for each in data])
    bodies: list[Any] = []
    unpack = cpu_of(lambda: bodies.extend(unpack_body(each.kind, each.body) for each in opened))
    groups = [group for body in bodies for group in body.groups]
    rebuild = cpu_of(lambda: [bench.ask("build", group.recipe) for group in groups])
    score = cpu_of(lambda: [bench.score(group) for group in groups])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder, "pool.sqlite"), PoolSection(max_groups=10**6, max_bytes=10**9, groups_per_peer=10**6))
        rows = [
            (StoredEnvelope(each.id, each.key, each.sequence, each.time_ms, raw), bench.scored(each, body))
            for each, body, raw in zip(opened, bodies, data, strict=True)
        ]

        def keep() -> None:
            for entry, scored in rows:
                store.add_envelope(entry)
                store.add_groups(scored, own=False)

        kept = cpu_of(keep)
        store.close()
    return {
        "decode": max(both - verify, 0.0) + unpack,
        "verify signature": verify,
        "rebuild": rebuild,
        "re-score": max(score - rebuild, 0.0),
        "store": kept,
    }


def share_of(data: bytes, bench: Bench) -> Share:
    """Return the share in an envelope."""
    envelope = open_envelope(data, bench.manifest.id)
    body = unpack_body(envelope.kind, envelope.body)
    assert isinstance(body, Share)
    return body


async def whole(bench: Bench, data: Sequence[bytes]) -> tuple[int, float, float]:
    """Admit everything; return the groups, and CPU seconds of this process and the child."""

    async def nobody(*_: Any) -> bytes:
        raise NetworkError("nobody has it")

    clock = WallClock()
    with tempfile.TemporaryDirectory() as folder:
        async with Pool(Path(folder, "pool.sqlite"), PoolSection(), clock) as pool, Scorer(1, LIMIT_S, clock) as scorer:
            for group in {each.recipe: each for raw in data for each in share_of(raw, bench).groups}.values():
                await scorer.score(group.recipe, 0, group.rendering, [])  # the first task of a kind loads its words
            key = Ed25519PrivateKey.from_private_bytes(bytes([255]) * 32)
            context = Context(Home(Path(folder)), Identity(key), Config(), bench.manifest, clock)
            admission = Admission(context, pool, PeerScores(), scorer.score, nobody, bench.beacon)
            before, begun, admitted = tree_cpu_s(without={os.getpid()}), time.process_time(), 0
            for each in data:
                opened = admission.screen(each)
                assert isinstance(opened, Opened)
                done = await admission.admit(opened, "forwarder")
                assert not done.refusals, done.refusals
                admitted += len(done.groups)
            return admitted, time.process_time() - begun, tree_cpu_s(without={os.getpid()}) - before


def measure(name: str, groups: int, per_share: int) -> dict[str, Any]:
    """Return the figures of one kind of share."""
    bench = Bench(name)
    data = bench.shares(groups, per_share)
    admitted, own_s, child_s = trio.run(whole, bench, data)
    alone = steps(bench, data)
    total = own_s + child_s
    parts = alone | {"the rest": max(total - sum(alone.values()), 0.0)}
    return {
        "manifest": name,
        "rendering": bench.rendering,
        "groups_per_share": per_share,
        "completions_per_group": COMPLETIONS,
        "bytes_per_share": round(sum(map(len, data)) / len(data)),
        "groups": admitted,
        "groups_per_cpu_s": round(admitted / total, 1),
        "ms_per_group": {step: round(1000 * seconds / admitted, 3) for step, seconds in parts.items()},
        "share": {step: round(seconds / sum(parts.values()), 3) for step, seconds in parts.items()},
        "node_process_ms_per_group": round(1000 * own_s / admitted, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost.admission_steps", description=__doc__)
    parser.add_argument("--groups", type=int, default=256, help="groups of each kind (default: %(default)s)")
    options = parser.parse_args()
    kinds = [(name, per_share) for name in ("embedded", "reasoning") for per_share in (1, 32)]
    print(json.dumps([measure(name, options.groups, per_share) for name, per_share in kinds], indent=1))


if __name__ == "__main__":
    main()
