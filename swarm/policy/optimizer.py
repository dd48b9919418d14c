"""AdamW (arXiv 1711.05101) with linear warm-up and gradient-norm clipping, whose whole state is named tensors and one count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from swarm.config.schema import TrainingSection
from swarm.errors import PolicyError


class Optimizer:
    """Steps the given weights. Weights below float32 get a float32 copy, in which steps too small for bfloat16 add up."""

    def __init__(self, parameters: Sequence[tuple[str, torch.nn.Parameter]], settings: TrainingSection) -> None:
        self._names = [name for name, _ in parameters]
        self._weights = [parameter for _, parameter in parameters]
        self._copies = any(weight.dtype != torch.float32 for weight in self._weights)
        self._masters = [w.detach().float().requires_grad_() for w in self._weights] if self._copies else list(self._weights)
        self._settings = settings
        self._adamw = torch.optim.AdamW(
            self._masters,
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.steps = 0

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self._weights:
            weight.grad = None

    def step(self) -> float | None:
        """Apply the gradients that backward passes left on the weights; their norm before clipping, or None if it is not finite.

        In the latter case nothing is changed.
        """
        if self._copies:
            for master, weight in zip(self._masters, self._weights, strict=True):
                master.grad = None if weight.grad is None else weight.grad.float()
        limit = self._settings.max_grad_norm or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, limit))
        if not norm < float("inf"):
            return None
        self.steps += 1
        warm = min(1.0, self.steps / max(1, self._settings.warmup_steps))
        self._adamw.param_groups[0]["lr"] = self._settings.learning_rate * warm
        self._adamw.step()
        if self._copies:
            with torch.no_grad():
                for master, weight in zip(self._masters, self._weights, strict=True):
                    weight.copy_(master)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Everything but `steps` and the settings, by weight name; empty before the first step."""
        tensors: dict[str, Tensor] = {}
        for name, master in zip(self._names, self._masters, strict=True):
            for part, value in self._adamw.state.get(master, {}).items():
                tensors[f"{part}:{name}"] = value
            if self._copies:
                tensors[f"master:{name}"] = master.detach()
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Continue where `state` was taken. Raises `PolicyError` when it belongs to other weights."""
        masters = dict(zip(self._names, self._masters, strict=True))
        for key, value in tensors.items():
            part, name = key.split(":", 1)
            master = masters.get(name)
            if master is None or (value.dim() and value.shape != master.shape):
                raise PolicyError(f"the checkpoint's optimizer state does not fit the weight {name}; remove that checkpoint")
            if part != "master":
                self._adamw.state[master][part] = value.to(master.device).clone()
            elif self._copies:
                with torch.no_grad():
                    master.copy_(value)
        self.steps = steps
