"""An adapter added to its base's weights while completions are sampled.

A decoding step of a model with LoRA beside every layer runs 170 operations a layer, and one without
runs 100; a GPU that decodes is bound by their number. So the adapter is added to the weights for a
round's sampling, in place, and taken out afterwards. Subtracting it again would leave roundings
behind. So the base is copied back from main memory, where one copy is kept, and is the same to the
last bit.

Weights in 4 bits cannot be added to without a loss; experts that share one matrix, and a base of
more than a quarter of the machine's memory, are left as they are too. The adapter is then computed
beside the weights, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swarm.policy.model.model import LanguageModel

SHARE_OF_MACHINE = 4


class Merging:
    """The layers of a policy's adapter, and copies of their base weights once they were needed."""

    def __init__(self, language_model: LanguageModel, machine_bytes: int) -> None:
        self._adapter = language_model.adapter
        self._layers = [] if self._adapter is None else adapted(language_model.model)
        size = sum(_weight(layer).numel() * _weight(layer).element_size() for layer in self._layers)
        if size > machine_bytes // SHARE_OF_MACHINE:
            self._layers = []
        self._copies: list[Tensor] = []

    @property
    def merges(self) -> bool:
        """Whether there is an adapter that is merged."""
        return bool(self._layers)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Inside the block the model's weights include the adapter, where they can."""
        if self._adapter is None or not self._layers:
            yield
            return
        if not self._copies:
            pinned = _weight(self._layers[0]).device.type == "cuda"
            self._copies = [_copied(_weight(layer), pinned=pinned) for layer in self._layers]
        try:
            with torch.no_grad():
                for layer in self._layers:
                    weight = _weight(layer)
                    weight.copy_(weight.float() + layer.get_delta_weight("default").float())
            with self._adapter.off():
                yield
        finally:
            with torch.no_grad():
                for layer, copy in zip(self._layers, self._copies, strict=True):
                    _weight(layer).copy_(copy)


def adapted(model: nn.Module) -> list[Any]:
    """Return the layers with an adapter; none unless all of them can be merged exactly."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    plain = all(isinstance(getattr(layer.get_base_layer(), "weight", None), nn.Parameter) for layer in layers)
    return layers if plain and all(_weight(layer).is_floating_point() for layer in layers) else []


def _weight(layer: Any) -> Tensor:
    weight: Tensor = layer.get_base_layer().weight
    return weight


def _copied(weight: Tensor, *, pinned: bool) -> Tensor:
    copy = torch.empty(weight.shape, dtype=weight.dtype, pin_memory=pinned)
    return copy.copy_(weight.detach())
