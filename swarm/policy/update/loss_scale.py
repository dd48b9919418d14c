"""Keeps the gradients of a float16 model in the range of that type.

Below 6e-8 float16 is 0, and the loss of one token among thousands has gradients as small. So the
loss is multiplied before the backward pass, and the gradients of the adapter, which are float32,
are divided after it (arXiv 1710.03740). Where the product was too large for float16, no gradient is
finite: the step is left out, and the next ones are scaled by half. bfloat16 and float32 need none
of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

FIRST, LARGEST = 2.0**12, 2.0**16
GROWS_AFTER = 100  # steps


class LossScale:
    """`value` multiplies the loss; 1 but for float16."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.value = FIRST if dtype == torch.float16 else 1.0
        self._finite = 0

    def undo(self, weights: Iterable[Tensor]) -> None:
        """Divide the gradients of `weights` by the scale."""
        if self.value != 1:
            for weight in weights:
                if weight.grad is not None:
                    weight.grad.div_(self.value)

    def stepped(self, *, finite: bool) -> None:
        """Take note of whether a step's gradients were finite."""
        if self.value == 1:
            return
        self._finite = self._finite + 1 if finite else 0
        if not finite:
            self.value = max(2.0, self.value / 2)
        elif self._finite % GROWS_AFTER == 0:
            self.value = min(LARGEST, 2 * self.value)
