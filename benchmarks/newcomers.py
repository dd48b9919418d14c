"""What a crowd of fresh identities gets of a node's training: `python -m benchmarks.newcomers`.

Eight peers and a crowd send groups into a real store for hours of simulated time. Every minute a
batch is drawn as a node draws it, and what was trained on earns its signers standing. All groups
are good ones: the crowd behaves as well as it can. Prints JSON: the crowd's largest and mean part
of a batch's weight per hour, and how many members are established at its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from protocols.messages import Completion, PolicyTag
from protocols.recipe import Recipe
from swarm.config.schema import DefencesSection, PoolSection, SamplingSection
from swarm.learner.sampling import MAX_AGE_MS
from swarm.pool.sampling import SAMPLERS
from swarm.pool.sampling.drawing import Budget, Skill
from swarm.pool.sampling.signer_quotas import quotas_of, weigh
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.candidates import Eligible, candidates
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup, Task

START_MS = 1_800_000_000_000
ROUND_MS = 60_000
GROUP_SIZE = 8
OWN_KEY = bytes(32)
LOCAL, EXTERNAL = 2, 6


@dataclass
class ListeningNode:
    """A node that only receives and draws batches, over a store of its own."""

    store: Store
    sampler: str = "useful"
    random: Random = field(default_factory=lambda: Random(1))
    standing: PeerScores = field(default_factory=PeerScores)
    now_ms: int = START_MS
    round: int = 0

    def receive(self, signers: list[bytes], characters: int = 20) -> None:
        """Admit one new group of each signer now."""
        for signer in signers:
            self.standing.proposed(signer, 2, 1, self.now_ms)
        groups = [self._group(signer, self.round * 1000 + number, characters) for number, signer in enumerate(signers)]
        self.store.add_groups(groups, own=False, established=self.standing.established_signers(self.now_ms))

    def train(self, own_groups: int = LOCAL) -> dict[bytes, float]:
        """Train one round; return each signer's part of the batch's weight."""
        sampler, defences, settings = SAMPLERS[self.sampler], DefencesSection(), SamplingSection()
        since_ms = self.now_ms - MAX_AGE_MS
        eligible = Eligible(sampler.max_uses, since_ms, settings.max_policy_age, "compact", ("toy/add",))
        found = candidates(self.store, eligible, 512, self.standing.established_signers(self.now_ms))
        own = [self._group(OWN_KEY, index, 20) for index in range(own_groups)]
        quotas = quotas_of(self.standing, {each.signer for each in found}, defences, self.now_ms)
        drawn = sampler.draw(own, found, Budget(LOCAL, EXTERNAL), Skill(), self.random, quotas)
        foreign = list(zip(drawn.foreign, self.store.load(drawn.foreign), strict=True))
        self.store.mark_trained(drawn.foreign, self.round)
        shares = weigh(*sampler.weights(drawn, foreign, Skill(), self.random), quotas).shares
        self.standing.trained({signer: share for signer, share in shares.items() if signer != OWN_KEY}, self.now_ms)
        self.round += 1
        self.now_ms += ROUND_MS
        return dict(shares)

    def _group(self, signer: bytes, index: int, characters: int) -> ScoredGroup:
        right = self.random.randint(1, GROUP_SIZE - 1)
        recipe = Recipe("toy/add", "1", (), self.round // 60, signer, index)
        return ScoredGroup(
            task=Task(recipe, 7, {"compact": "1+1="}, "2"),
            rendering="compact",
            policy=PolicyTag("embedded", bytes(32), self.round),
            completions=(Completion("2" * characters, True, characters, -1.0),) * GROUP_SIZE,
            rewards=tuple(float(number < right) for number in range(GROUP_SIZE)),
            signer=signer,
            envelope=bytes(32),
            received_ms=self.now_ms,
        )


def identities(kind: bytes, count: int) -> list[bytes]:
    """Return keys that nobody else has."""
    return [kind * 16 + number.to_bytes(16) for number in range(count)]


def scenario(
    crowd_size: int, hours: int, *, known_hours: int, old_silent: bool = False, sampler: str = "useful"
) -> dict[str, Any]:
    """Simulate `known_hours` with the eight alone, then `hours` beside a crowd.

    Each member of the crowd sends a group a minute, a hundred at most.
    """
    old, crowd = identities(b"o", 8), identities(b"n", crowd_size)
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "pool.sqlite", PoolSection())
        node = ListeningNode(store, sampler)
        for _ in range(known_hours * 60):
            node.receive(old)
            node.train()
        shares: list[list[float]] = []
        established = []
        for minute in range(hours * 60):
            if minute % 60 == 0:
                shares.append([])
            node.receive(node.random.sample(crowd, min(len(crowd), 100)) + ([] if old_silent else old), characters=32)
            batch = node.train()
            shares[-1].append(sum(share for signer, share in batch.items() if signer in set(crowd)))
            if minute % 60 == 59:
                known = node.standing.established_signers(node.now_ms)
                established.append([sum(signer in known for signer in each) for each in (crowd, old)])
        store.close()
    return {
        "largest share per hour": [round(max(each), 4) for each in shares],
        "mean share per hour": [round(statistics.mean(each), 4) for each in shares],
        "established of crowd and old": established,
    }


def main() -> None:
    """Run the scenarios and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=12)
    hours = parser.parse_args().hours
    results = {
        "1000 fresh, 8 known for 6 hours": scenario(1000, hours, known_hours=6),
        "1000 fresh, uniform sampler": scenario(1000, 1, known_hours=6, sampler="uniform"),
        "8 fresh, 8 known for 6 hours": scenario(8, hours, known_hours=6),
        "1 fresh, 8 known for 6 hours": scenario(1, hours, known_hours=6),
        "1000 fresh, 8 known for 1 hour": scenario(1000, hours, known_hours=1),
        "1000 fresh, the 8 silent": scenario(1000, min(hours, 6), known_hours=6, old_silent=True),
        "1000 fresh at a node that knows nobody": scenario(1000, 1, known_hours=0),
    }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
