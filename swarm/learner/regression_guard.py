"""Whether what was trained on helped: a few held-out tasks of this node's own, looked at before every checkpoint.

No check of a single message sees everything, and a policy that was led astray also generates, proposes and judges what is
plausible for the worse. So every checkpoint is preceded by the same few tasks, answered greedily. They are held out (no task
that anybody trains on is among them) and drawn with a secret of this node's identity, so that nobody can train it to pass.

- A checkpoint is only written while the policy is healthy, so the newest one always is. If the policy is harmed, the node
  goes back to it. Harmed means: against the best reading, so many more tasks were lost than won that chance does not explain
  it. The tasks are the same each time, so only those that changed count (McNemar's test): of n changed ones by chance alone
  the difference has a standard deviation of sqrt(n).
- What changed since the last reading is credited to those whose groups were trained on since, each in proportion to its share;
  that is how standing is earned and lost by what it did, not by how it looks. One reading says little; their sum says more.

A node whose readings stay bad begins from the newest reading after `PATIENCE` times, since going back for ever is no progress.
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
LEAST_LOSS = 0.1  # of all tasks; a smaller loss is not worth twenty rounds, however certain
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `accuracy` now and at its `best`; `credit` is each peer's part of the change since the look before."""

    accuracy: float
    best: float
    harmed: bool
    credit: Mapping[str, float]


class RegressionGuard:
    """The held-out tasks of one node, and how they were answered before."""

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
        """How often in a row the policy was found harmed; above one, the checkpoint it went back to was no better."""
        return self._bad_in_a_row

    def trained(self, sources: Mapping[str, float]) -> None:
        """Note whose groups were trained on: peer id, or "" for this node's own, to the weight they had."""
        self._sources.update(sources)

    async def look(self, policy: Policy, view: View) -> Reading:
        """Answer the tasks and compare."""
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
        """What a checkpoint keeps."""
        return {"best": self._best, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave, that is how the policy of that checkpoint answered."""
        self._best, self._last = list(state.get("best", [])), list(state.get("last", []))
        self._sources.clear()


def _harmed(best: Sequence[bool], now: Sequence[bool]) -> bool:
    if len(best) != len(now):
        return False  # the state of a checkpoint made with another number of tasks
    lost = sum(was and not is_ for was, is_ in zip(best, now, strict=True))
    won = sum(is_ and not was for was, is_ in zip(best, now, strict=True))
    return lost - won > max(DEVIATIONS * math.sqrt(lost + won), LEAST_LOSS * len(now))
