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
- The change since the last reading is credited to the signers whose groups were trained on since,
  in proportion to their share. So a peer score follows the effect of groups, not their look. One
  reading says little; their sum says more.

A node whose readings stay bad starts afresh from the newest reading after `PATIENCE` times: going
back for ever is no progress.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.manifest import Manifest
from swarm.policy.policy import Policy
from swarm.roles.held_out_accuracy import HeldOut, held_out_set, solved
from swarm.roles.view import View
from swarm.tasks.scoring import Scorer

DEVIATIONS = 3.0
LEAST_LOSS = 0.1  # of all tasks; a smaller loss is not worth dropping twenty rounds, however certain
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """One look: `accuracy` now and at its `best`, and each peer's `credit`: its part of the change
    since the last look."""

    accuracy: float
    best: float
    harmed: bool
    credit: Mapping[str, float]


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
        self._bad_in_a_row = 0

    @property
    def bad_in_a_row(self) -> int:
        """How often in a row the policy was found harmed. Above one, the last checkpoint was no
        better."""
        return self._bad_in_a_row

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
        total = sum(self._sources.values())
        change = (sum(now) - sum(before)) / len(now)
        credit = {peer: change * weight / total for peer, weight in self._sources.items() if peer and weight > 0}
        harmed = _harmed(best, now) and self._bad_in_a_row < PATIENCE
        self._sources.clear()
        if harmed:
            self._bad_in_a_row += 1
        else:
            self._best = now if self._bad_in_a_row == PATIENCE or sum(now) >= sum(best) else best
            self._last = now
            self._bad_in_a_row = 0
        return Reading(sum(now) / len(now), sum(best) / len(best), harmed, credit)

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that belongs to the guard."""
        return {"best": self._best, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore `state`'s result: the answers of that checkpoint's policy."""
        self._best, self._last = list(state.get("best", [])), list(state.get("last", []))
        self._sources.clear()


def _harmed(best: Sequence[bool], now: Sequence[bool]) -> bool:
    if len(best) != len(now):
        return False  # the checkpoint was made with another number of tasks
    lost = sum(was and not is_ for was, is_ in zip(best, now, strict=True))
    won = sum(is_ and not was for was, is_ in zip(best, now, strict=True))
    return lost - won > max(DEVIATIONS * math.sqrt(lost + won), LEAST_LOSS * len(now))
