"""The gradient of a batch, part by part, on a device that may run out of memory in any part.

A backward pass that breaks off half-way has already added the gradient of the last layers, and
nothing separates that from what was there before. So after a shortage the gradient is begun anew,
with the parts that were too large cut in half. That costs the passes made so far, once: the smaller
size stays (memory.py). What a part keeps from the first pass, above all its old log-probabilities,
is cut with it: after an optimizer step it could not be computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.policy.fit.memory import Attempt
from swarm.policy.model.model import LanguageModel
from swarm.policy.update.batch import MicroBatch, halves
from swarm.policy.update.trainer import Trainer


@dataclass(frozen=True, slots=True)
class First:
    """Results of the first pass over a micro-batch, each [B, T]: log-probabilities (nats) under the
    policy as the update begins and under the base model, and 1 for the tokens that are trained on.
    """

    old: Tensor
    base: Tensor
    trained: Tensor


@dataclass(slots=True)
class Part:
    """A micro-batch, and the results of its first pass once that is over."""

    micro: MicroBatch
    first: First | None = None

    def halves(self, policy: LanguageModel) -> list[Part]:
        """Return two halves, or one part where there is one completion."""
        return [Part(micro, self._cut(rows, micro.ids.shape[1])) for rows, micro in halves(policy, self.micro)]

    def _cut(self, rows: slice, width: int) -> First | None:
        if self.first is None:
            return None
        return First(*(each[rows, :width] for each in (self.first.old, self.first.base, self.first.trained)))


def in_smaller_parts(trainer: Trainer, parts: list[Part], backward: Callable[[Part], Tensor]) -> tuple[list[Part], Tensor]:
    """Leave the gradient of all parts on the weights. Returns the parts as last cut, and the sum of
    `backward`'s results [3].

    Raises `PolicyError` when not even one completion fits into memory.
    """
    alone = False  # whether the last failure was of a single completion
    while True:
        trainer.optimizer.clear()
        sums = torch.zeros(3)
        too_large: MicroBatch | None = None
        for part in parts:
            with Attempt() as tried:
                sums += backward(part)
            if tried.ran_out:
                too_large = part.micro
                break
        if too_large is None:
            return parts, sums
        trainer.optimizer.clear()
        trainer.memory.smaller_micro_batch(too_large.tokens, len(too_large.ids), again=alone)
        alone = len(too_large.ids) == 1
        most = too_large.tokens // 2
        parts = [half for part in parts for half in (part.halves(trainer.policy) if part.micro.tokens > most else [part])]


def step(trainer: Trainer) -> float | None:
    """Make the optimizer's step; after a shortage try once more.

    A step changes nothing before it has all its memory.
    """
    for again in (False, True):
        with Attempt():
            return trainer.optimizer.step()
        trainer.memory.step_failed(again)
    raise AssertionError("the second failure raises")
