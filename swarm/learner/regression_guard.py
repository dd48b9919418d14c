"""The regression guard: a few held-out tasks of this node's own, answered before every checkpoint.

No check of single messages sees everything, and a policy led astray also generates, proposes and
judges worse. So every checkpoint is preceded by the same few tasks, answered greedily. They are
held out: nobody trains on them. A secret of this node's identity draws them, so nobody can train it
to pass.

- A checkpoint is written only while the policy is healthy, so the newest one always is healthy. A
  harmed policy goes back to it. Harmed means: compared with the best reading, more tasks were lost
  than won, by more than chance explains. The tasks are the same each time, so only those that
  changed count (McNemar's test): for n changed ones the difference has by chance a standard
  deviation of sqrt(n).
- The change since the last reading is told of all signers whose groups were trained on since. What
  each earned in that time grows or shrinks by it, so a peer score follows the effect of groups, not
  their look. One reading says little, and nothing of who it was: most of the batch is honest.
- So blame needs several looks. A signer is blamed whose part of the training goes with losses: over
  the last `LOOKS`, the line through its parts and the changes falls by more than chance explains.
  A reading's own error is known (McNemar again), and a signer whose part is always the same is
  never blamed, since nothing tells its effect from that of the others.

A harmed policy goes back, and the groups that are in the pool then are not drawn again: the harm
may lie in them. Found harmed once more, the node learns from its own groups alone until the next
look. Only if these do harm too, the newest checkpoint was no better, and is discarded. A node whose
readings stay bad starts afresh from the newest reading after `PATIENCE` times: going back for ever
is no progress.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from protocols.manifest import Manifest
from swarm.policy.policy import Policy
from swarm.roles.held_out_accuracy import HeldOut, held_out_set, solved
from swarm.roles.view import View
from swarm.tasks.scoring import Scorer

DEVIATIONS = 3.0
LEAST_LOSS = 0.1  # of all tasks; a smaller loss is not worth dropping twenty rounds, however certain
PATIENCE = 3
LOOKS = 16
# Looks at groups of a signer before it can be blamed.
FEWEST_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """One look: `accuracy` now and at its `best`, the `change` since the last look, the peers that
    were trained on since (`taught`), and those of them `blamed` for losses over several looks."""

    accuracy: float
    best: float
    harmed: bool
    change: float
    taught: Collection[str]
    blamed: Collection[str]


class Look(NamedTuple):
    """A change of accuracy, its error by chance alone (standard deviation), and each peer's part of
    the training before."""

    change: float
    error: float
    parts: Mapping[str, float]


class RegressionGuard:
    """The held-out tasks of one node, and its earlier answers."""

    def __init__(self, scorer: Scorer, manifest: Manifest, tasks: int, seed: int) -> None:
        self._scorer = scorer
        self._manifest = manifest
        self._per_environment = math.ceil(tasks / len(manifest.environments))
        self._seed = seed
        self._blocks: Sequence[HeldOut] = ()
        self._best: list[bool] = []
        self._last: list[bool] = []
        self._sources: Counter[str] = Counter()
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._bad_in_a_row = 0

    @property
    def bad_in_a_row(self) -> int:
        """How often in a row the policy was found harmed."""
        return self._bad_in_a_row

    @property
    def alone(self) -> bool:
        """Whether the node is to learn from its own groups alone until the next look: without those
        in the pool it was harmed as well."""
        return self._bad_in_a_row > 1

    def trained(self, sources: Mapping[str, float]) -> None:
        """Add the weights of the groups trained on, by peer id; "" stands for this node's own."""
        self._sources.update(sources)

    async def look(self, policy: Policy, view: View) -> Reading:
        """Answer the tasks and compare the result with earlier ones."""
        self._blocks = self._blocks or await held_out_set(self._scorer, self._manifest, self._per_environment, self._seed)
        answers = await solved(policy, self._scorer, self._blocks, view)
        now = [right for environment in sorted(answers) for right in answers[environment]]
        before = self._last or now
        best = self._best or now
        taught = sorted(peer for peer, weight in self._sources.items() if peer and weight > 0)
        if self._last and taught:
            self._looks.append(_looked(before, now, self._sources))
        blamed = [peer for peer in taught if _goes_with_losses(peer, self._looks)]
        harmed = _harmed(best, now) and self._bad_in_a_row < PATIENCE
        self._sources.clear()
        if harmed:
            self._bad_in_a_row += 1
        else:
            self._best = now if self._bad_in_a_row == PATIENCE or sum(now) >= sum(best) else best
            self._last = now
            self._bad_in_a_row = 0
        change = (sum(now) - sum(before)) / len(now)
        return Reading(sum(now) / len(now), sum(best) / len(best), harmed, change, taught, blamed)

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that belongs to the guard."""
        return {"best": self._best, "last": self._last, "looks": [list(look) for look in self._looks]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore `state`'s result: the answers of that checkpoint's policy.

        What is known of peers is kept: a return to a checkpoint is not to make them look better.
        """
        self._best, self._last = list(state.get("best", [])), list(state.get("last", []))
        self._sources.clear()
        if not self._looks:
            self._looks.extend(Look(*look) for look in state.get("looks", []))


def _looked(before: Sequence[bool], now: Sequence[bool], sources: Mapping[str, float]) -> Look:
    changed = sum(was != is_ for was, is_ in zip(before, now, strict=True)) if len(before) == len(now) else len(now)
    total = sum(sources.values())
    return Look(
        change=(sum(now) - sum(before)) / len(now),
        error=math.sqrt(max(changed, 1)) / len(now),
        parts={peer: weight / total for peer, weight in sorted(sources.items()) if peer and weight > 0},
    )


def _goes_with_losses(peer: str, looks: Collection[Look]) -> bool:
    """Whether losses grow with a peer's part: the line of least squares falls by `DEVIATIONS` of
    its own error, also without the look that says it loudest."""
    parts = [look.parts.get(peer, 0.0) for look in looks]
    if sum(part > 0 for part in parts) < FEWEST_LOOKS:
        return False
    mean, mean_change = fmean(parts), fmean(look.change for look in looks)
    pulls = [(part - mean) * (look.change - mean_change) for part, look in zip(parts, looks, strict=True)]
    chance = math.sqrt(sum(((part - mean) * look.error) ** 2 for part, look in zip(parts, looks, strict=True)))
    return sum(pulls) - min(pulls) < -DEVIATIONS * chance


def _harmed(best: Sequence[bool], now: Sequence[bool]) -> bool:
    if len(best) != len(now):
        return False  # the checkpoint was made with another number of tasks
    lost = sum(was and not is_ for was, is_ in zip(best, now, strict=True))
    won = sum(is_ and not was for was, is_ in zip(best, now, strict=True))
    return lost - won > max(DEVIATIONS * math.sqrt(lost + won), LEAST_LOSS * len(now))
