"""AdamW (arXiv 1711.05101) with gradient-norm clipping, whose whole state is named tensors and one
count.

A bfloat16 weight would lose every step that is too small for it. So the other half of its float32
value is kept beside it, in 16 bits. The step changes the whole value; the model computes with its
rounding to bfloat16. That is exact, and costs two bytes where a float32 copy costs four. It goes
slice by slice, so no copy of all weights or gradients ever exists: 14 bytes per weight with
gradient and moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from swarm.config.schema import TrainingSection
from swarm.errors import PolicyError
from swarm.policy.update.schedule import learning_rate

# Weights stepped at once where they are narrow: 64 MiB of float32.
SLICE = 1 << 24
EPSILON = 1e-8
# The part of the state that holds the other halves of bfloat16 weights.
REST = "rest"
# Decay of the means of the gradient and of its square; 0.95 forgets faster than the usual 0.999 and
# suits a moving target.
BETAS = (0.9, 0.95)


class Optimizer:
    """Steps the given weights, float32 or bfloat16."""

    def __init__(self, parameters: Sequence[tuple[str, torch.nn.Parameter]], settings: TrainingSection) -> None:
        self._names = [name for name, _ in parameters]
        self._weights = [parameter for _, parameter in parameters]
        self._narrow = any(weight.dtype != torch.float32 for weight in self._weights)
        self._settings = settings
        self._adamw = torch.optim.AdamW(
            self._weights,
            lr=settings.learning_rate,
            betas=BETAS,
            weight_decay=settings.weight_decay,
            eps=EPSILON,
            fused=True,
        )
        self.steps = 0

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self._weights:
            weight.grad = None

    def step(self) -> float | None:
        """Apply the gradients on the weights; return their norm before clipping, or None if it is
        not finite.

        Nothing changes then, nor when memory runs out: all that a step needs is allocated before it
        begins.
        """
        self._make_state()
        limit = self._settings.max_grad_norm or float("inf")
        norm = self._norm() if self._narrow else float(torch.nn.utils.clip_grad_norm_(self._weights, limit))
        if not norm < float("inf"):
            return None
        self.steps += 1
        rate = learning_rate(self._settings, self.steps)
        if self._narrow:
            scale = min(1.0, limit / (norm + 1e-6))
            for weight in self._weights:
                if weight.grad is not None:
                    self._step_narrow(weight, weight.grad, scale, rate)
        else:
            self._adamw.param_groups[0]["lr"] = rate
            self._adamw.step()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return the state without `steps` and the settings, by weight name; empty before the first
        step."""
        return {
            f"{part}:{name}": value
            for name, weight in zip(self._names, self._weights, strict=True)
            for part, value in self._adamw.state.get(weight, {}).items()
        }

    def restore(self, tensors: Iterable[tuple[str, Tensor]], steps: int) -> None:
        """Continue from what `state` returned, of weights of the same type or another one.

        A float32 weight that was bfloat16 takes up its other half; a bfloat16 weight that was
        float32 has lost it in rounding, and begins without. Raises `PolicyError` when the state
        belongs to other weights.
        """
        weights = dict(zip(self._names, self._weights, strict=True))
        for key, value in tensors:
            part, name = key.split(":", 1)
            weight = weights.get(name)
            if weight is None or (value.dim() and value.shape != weight.shape):
                raise PolicyError(f"the checkpoint's optimizer state does not fit the weight {name}; remove that checkpoint")
            if part == REST and weight.dtype == torch.float32:
                with torch.no_grad():
                    weight.copy_(joined(weight.to(torch.bfloat16), value.to(weight.device)))
            else:
                self._adamw.state[weight][part] = value.to(weight.device, copy=True)
        for weight in self._weights:
            state = self._adamw.state.get(weight)
            if state and weight.dtype != torch.float32 and REST not in state:
                state[REST] = torch.zeros_like(weight, dtype=torch.int16)
        self.steps = steps

    def _make_state(self) -> None:
        """Allocate AdamW's moments and the halves of narrow weights; for each weight all of it or
        nothing."""
        for weight in self._weights:
            if weight.grad is not None and not self._adamw.state.get(weight):
                state = {
                    "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                    "exp_avg": torch.zeros_like(weight, dtype=torch.float32),
                    "exp_avg_sq": torch.zeros_like(weight, dtype=torch.float32),
                }
                if weight.dtype != torch.float32:
                    state[REST] = torch.zeros_like(weight, dtype=torch.int16)
                self._adamw.state[weight] = state
        if self._narrow:  # the memory of the slices, which the allocator then keeps for them
            largest = min(SLICE, max(weight.numel() for weight in self._weights))
            torch.empty(5 * largest, dtype=torch.float32, device=self._weights[0].device)

    def _norm(self) -> float:
        norms = [torch.linalg.vector_norm(w.grad, dtype=torch.float32) for w in self._weights if w.grad is not None]
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    @torch.no_grad()
    def _step_narrow(self, weight: Tensor, gradient: Tensor, scale: float, rate: float) -> None:
        state = self._adamw.state[weight]
        parts = [each.view(-1) for each in (weight, gradient.contiguous(), state["exp_avg"], state["exp_avg_sq"])]
        rest = state[REST].view(-1) if REST in state else None
        for start in range(0, weight.numel(), SLICE):
            here = slice(start, start + SLICE)
            narrow, slope, mean, square = (each[here] for each in parts)
            wide = narrow if rest is None else joined(narrow, rest[here])
            adamw(
                [wide],
                [slope.float().mul_(scale)],
                [mean],
                [square],
                [],
                [state["step"].clone()],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rate,
                weight_decay=self._settings.weight_decay,
                eps=EPSILON,
                maximize=False,
            )
            if rest is not None:
                split(wide, narrow, rest[here])
        state["step"] += 1


def joined(narrow: Tensor, rest: Tensor) -> Tensor:
    """Join bfloat16 roundings and int16 remainders into the float32 values."""
    return (narrow.view(torch.int16).int() << 16).add_(rest).view(torch.float32)


def split(wide: Tensor, narrow: Tensor, rest: Tensor) -> None:
    """Write float32 values as bfloat16 roundings and int16 remainders; `joined` gives them back
    exactly."""
    bits = wide.view(torch.int32)
    high = (bits + 0x8000) >> 16
    narrow.view(torch.int16).copy_(high)
    rest.copy_(bits - (high << 16))
