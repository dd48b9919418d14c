"""LoRA (arXiv 2106.09685): the base stays frozen, and two thin matrices are trained beside each of
its linear layers.

peft puts the layers into the model in place, so callers go on using the same model. The adapter is
float32 over base weights of any type, so that steps too small for bfloat16 add up. It begins as no
change (B is zero), with the same A on every node. With a base in 4 bits (QLoRA, arXiv 2305.14314)
each layer's weights are dequantised as they are used.

peft is imported where it is used: it takes seconds, and most nodes do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError

WEIGHTS = "adapter_model.safetensors"
INSTALL_4BIT = "pip install 'swarmd[gpu]'"


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What is trained, as a checkpoint records it.

    `kind` is none, lora or qlora; with "none" the rest is unused.
    """

    kind: str
    rank: int
    alpha: float
    targets: str

    @classmethod
    def of(cls, config: PolicySection, kind: str) -> Self:
        """Take the configured rank, alpha and targets."""
        # Alpha scales the adapter like a learning rate; twice the rank is usual.
        return cls(kind, config.lora_rank, 2.0 * config.lora_rank, config.lora_targets)


class Adapter:
    """LoRA layers inside `model`, whose other weights are frozen.

    Raises `PolicyError` where no layer is a target.
    """

    def __init__(self, model: Any, recipe: AdapterSpec) -> None:
        import peft  # not with the module: it takes a second, and most policies have no adapter

        targets: Any = recipe.targets
        if targets != "all-linear":
            targets = [name.strip() for name in targets.split(",")]
        elif any(".experts." in name and weight.dim() == 3 for name, weight in model.named_parameters()):
            targets = _beside_experts(model)
        config = peft.LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=targets, task_type="CAUSAL_LM")
        model.requires_grad_(False)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self._peft = peft.get_peft_model(model, config)
        except ValueError as error:
            raise PolicyError(
                f"policy.lora_targets = {recipe.targets!r} does not suit this model: {error}; use all-linear"
            ) from None
        self._peft.eval()
        self._model = model

    @contextmanager
    def off(self) -> Iterator[None]:
        """Turn the adapter off inside the block: the model is the base."""
        with self._peft.disable_adapter():
            yield

    def save(self, directory: Path, base: str) -> None:
        """Write a peft folder (adapter_config.json, adapter_model.safetensors) that names `base` as
        its base model."""
        self._peft.peft_config["default"].base_model_name_or_path = base
        # Embeddings are never trained; "auto" would ask the hub whether they have been.
        self._peft.save_pretrained(directory, save_embedding_layers=False)
        (directory / "README.md").unlink(missing_ok=True)  # a template with nothing filled in

    def load(self, folder: Path) -> None:
        """Load the weights that `save` wrote.

        Raises `PolicyError` when they belong to another model.
        """
        import peft

        weights = load_file(folder / WEIGHTS)
        ours = peft.get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        if {name: weight.shape for name, weight in weights.items()} != {name: weight.shape for name, weight in ours.items()}:
            raise PolicyError(f"{folder} holds the adapter of another model; remove that checkpoint")
        peft.set_peft_model_state_dict(self._peft, weights)

    def merged_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the plain model's weights by name, in its order and the base's type; one layer's
        sum is made at a time."""
        return self._plain(self._model.named_parameters())

    def merged(self) -> Any:
        """Return a plain model with the adapter added to its weights, in the base's type; unchanged
        weights are shared."""
        state = dict(self._plain(self._model.state_dict().items()))
        described = {k: v for k, v in self._model.config.to_dict().items() if k != "quantization_config"}
        with torch.device("meta"):
            plain = type(self._model)(type(self._model.config).from_dict(described))
        plain.load_state_dict(state, assign=True)
        plain.tie_weights()
        plain.generation_config = self._model.generation_config
        return plain

    def _plain(self, items: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        from peft.tuners.lora import LoraLayer
        from peft.utils.integrations import dequantize_module_weight

        layers: dict[str, Any] = {name: module for name, module in self._model.named_modules() if isinstance(module, LoraLayer)}
        inside = tuple(f"{name}." for name in layers)
        for name, tensor in items:
            layer_name, _, part = name.rpartition(".base_layer.")
            if not name.startswith(inside):
                yield name, tensor.detach()
            elif part == "weight":
                layer = layers[layer_name]
                whole = dequantize_module_weight(layer.get_base_layer()).float()
                yield f"{layer_name}.weight", (whole + layer.get_delta_weight("default").float()).to(self._model.dtype).detach()
            elif part == "bias":
                yield f"{layer_name}.bias", tensor.detach()


def _beside_experts(model: Any) -> list[str]:
    """Return the linear layers that get an adapter where all experts share one matrix: attention's.

    peft takes the names of experts' layers for parts of that matrix, which it could not merge.
    """
    experts = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    head = model.get_output_embeddings()
    return [name for name in linear if not name.endswith(experts) and model.get_submodule(name) is not head]


def four_bits(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return transformers' options to load a base in 4 bits onto `device` and to compute in
    `dtype`.

    Raises `PolicyError` where that cannot be done.
    """
    if device.type != "cuda":
        raise PolicyError(
            f"policy.adapter = qlora keeps the base in 4 bits, which bitsandbytes does on a CUDA GPU, and the policy runs on "
            f"{device}; set policy.adapter = lora, or policy.device = cuda"
        )
    try:
        import bitsandbytes  # noqa: F401 - transformers would only say that it is missing
    except ImportError as error:
        raise PolicyError(f"policy.adapter = qlora needs bitsandbytes ({error}); install it with: {INSTALL_4BIT}") from None
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}
