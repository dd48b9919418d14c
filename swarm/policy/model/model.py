"""A Hugging Face causal language model with its tokenizer: loading, saving, text to tokens and
back, and one forward pass.

This file settles everything that differs between models, so that generation and the update see only
token ids and logits: which keyword arguments the forward pass takes, how weights are kept, and with
tokenization.py which tokens a text has.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from swarm.config.schema import PolicySection
from swarm.config.template_arguments import template_arguments
from swarm.errors import HomeError, PolicyError
from swarm.policy.fit.unusable import TEXT_INSIDE, refusal
from swarm.policy.model.adapter import Adapter, AdapterSpec, four_bits
from swarm.policy.model.hub import why_not
from swarm.policy.model.packaged_smollm2 import NAME as SMOLLM2
from swarm.policy.model.packaged_smollm2 import smollm2_folder
from swarm.policy.model.tensor_file import write_tensors
from swarm.policy.model.tokenization import Tokenization
from swarm.records import Prompt

# Where a wrapper's checkpoint has its text model, in older and newer ones.
TEXT_WEIGHTS = {
    r"^model\.language_model\.": "model.",
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head": "lm_head",
}
EMBEDDED = Path(__file__).parent.parent / "embedded"
# Weights on a GPU are copied into main memory by this much at a time as they are saved.
SHARD = "512MB"


class LanguageModel:
    """A causal model on one device, always in evaluation mode: no dropout. `template` are arguments
    of its chat template.

    Raises `PolicyError` if it cannot be loaded.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        revision: str,
        device: torch.device,
        dtype: torch.dtype,
        quantised: bool = False,
        template: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        where = {"revision": revision or None, "trust_remote_code": False}
        weights: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}  # pickles can run code
        weights |= four_bits(device, dtype) if quantised else {}
        try:
            config = AutoConfig.from_pretrained(source, **where)
            if why := refusal(str(source), config.to_dict()):
                raise PolicyError(why)
            self.tokenizer = AutoTokenizer.from_pretrained(source, **where)
            if config.model_type in TEXT_INSIDE:
                weights |= {"config": config.get_text_config(decoder=True), "key_mapping": TEXT_WEIGHTS}
            model, info = AutoModelForCausalLM.from_pretrained(source, **where, **weights)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError) as error:
            raise PolicyError(f"cannot load the model {source}: {why_not(error)}") from None
        if info["missing_keys"]:
            raise PolicyError(f"the model {source} lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}; fetch it again")
        if config.model_type in TEXT_INSIDE:
            model._weight_conversions = None  # it is saved as the text model that it is now
        self.model = (model if quantised else model.to(device)).eval()
        self.device = device
        self.dtype = dtype
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        layers = self.new_cache().layers
        if "past_key_values" not in self._takes or not all(hasattr(layer, "batch_select_indices") for layer in layers):
            raise PolicyError(f"the model {source} keeps no attention cache; choose one with attention layers only")
        # Whether every token sees all before it, by an implementation that takes any mask.
        self.full_attention = model.config._attn_implementation == "sdpa" and all(type(layer) is DynamicLayer for layer in layers)
        self._tokenization = Tokenization(self.tokenizer, _ends(model), model.get_input_embeddings().num_embeddings, template)
        self.stop_ids = self._tokenization.stop_ids
        self.pad_id = self._tokenization.pad_id
        text = model.config.get_text_config(decoder=True)
        lengths = (getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        self.max_length: int = next((length for length in lengths if length), 1 << 30)
        # What is trained: all weights, or those of an adapter.
        self.parameters: list[tuple[str, torch.nn.Parameter]] = sorted(model.named_parameters(), key=lambda item: item[0])
        self.size: int = sum(parameter.numel() for _, parameter in self.parameters)
        self.base_digest = b""  # of the weights that are not trained, once there are any
        self.adapter: Adapter | None = None
        self._recomputed: list[torch.nn.Module] = []

    def adapt(self, recipe: AdapterSpec) -> None:
        """Train an adapter from now on; the base's weights stay as they are."""
        self.base_digest = self.digest()
        self.adapter = Adapter(self.model, recipe)
        self.parameters = [(name, each) for name, each in sorted(self.model.named_parameters()) if each.requires_grad]

    def original(self) -> AbstractContextManager[None]:
        """Inside the block the model is the base, without its adapter."""
        return nullcontext() if self.adapter is None else self.adapter.off()

    def recompute(self) -> None:
        """Turn gradient checkpointing on: passes without a cache keep only each layer's input, and
        recompute the rest for the gradient.

        The gradient is the same for a third more time. Raises `PolicyError` where the model cannot.
        """
        layers = [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not (self.model.supports_gradient_checkpointing and layers):
            raise PolicyError("this model has no gradient checkpointing; set policy.gradient_checkpointing = off")
        # transformers has renamed it and warns of the older name.
        enable = getattr(self.model, "activation_checkpointing_enable", None) or self.model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        self._recomputed = layers

    def _forwards(self, cache: Any) -> None:
        # Layers recompute in training mode, and would then drop the cache. Set on the layers only,
        # so that no dropout is on.
        for layer in self._recomputed:
            layer.training = cache is None and torch.is_grad_enabled()

    def new_cache(self) -> Any:
        """Return an empty key-value cache for this model's layers."""
        return DynamicCache(config=self.model.config)

    def logits(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any, *, last_only: bool = False) -> Tensor:
        """Forward `ids` behind what `cache` holds, and add them to it. Returns logits [B, T, V], or
        [B, 1, V] with `last_only`.

        `ids` and `positions` are [B, T]. `mask` is [B, cached + T] with 0 for padding; or [B, 1, T,
        T], whether a token sees another; or None for no padding.
        """
        self._forwards(cache)
        options: dict[str, Any] = {"logits_to_keep": 1} if last_only and "logits_to_keep" in self._takes else {}
        if "position_ids" in self._takes:
            options["position_ids"] = positions
        output = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, **options)
        logits: Tensor = output.logits
        return logits[:, -1:] if last_only else logits

    def hidden(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any) -> Tensor:
        """Forward like `logits`, but return the hidden states before the head, [B, T, H]."""
        self._forwards(cache)
        options = {"position_ids": positions} if "position_ids" in self._takes else {}
        decoder = self.model.get_decoder()
        states = decoder(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, **options)
        return states.last_hidden_state  # type: ignore[no-any-return]

    def end_by(self, stop: Sequence[str]) -> None:
        """Let answers end by these strings, where there are any, in place of the end of a turn."""
        self._tokenization.end_by(stop)

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the token ids of each prompt: a text as it stands, a conversation through the chat
        template.

        Without a template the turns of a conversation are the lines of one text. Raises
        `PolicyError` where the template refuses a conversation.
        """
        return self._tokenization.encode_prompts(prompts)

    def encode_completions(self, prompts: Sequence[Prompt], texts: Sequence[str], finished: Sequence[bool]) -> list[list[int]]:
        """Return the token ids of completions, each as this policy itself would write it behind its
        prompt, with the end of an assistant's turn behind finished ones.

        Special tokens in a text stay text. A text that this model could never say gets no tokens:
        its vocabulary lacks a character, for one.
        """
        return self._tokenization.encode_completions(prompts, texts, finished)

    def decode_completions(self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the exact text of completions, each given its prompt, without special tokens."""
        return self._tokenization.decode_completions(prompts, rows)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the exact text of each row of token ids by itself, without special tokens."""
        return self._tokenization.decode(rows)

    def digest(self, dtype: torch.dtype | None = None) -> bytes:
        """Return the SHA-256 over name, type, shape and bytes of every weight, by name; tied
        weights count once.

        With an adapter it is over the base's digest and the adapter's weights. With `dtype` it is
        of the weights in that type, but for those that are no floating-point numbers.
        """
        total = hashlib.sha256(self.base_digest)
        for name, parameter in self.parameters:
            weight = parameter.detach()
            weight = weight.to(dtype) if dtype is not None and weight.is_floating_point() else weight
            total.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            total.update(weight.cpu().reshape(-1).view(torch.uint8).numpy().data)
        return total.digest()

    def write_trained(self, path: Path, meta: dict[str, str]) -> None:
        """Write the trained weights and `meta` into a file, atomically.

        Raises `HomeError` when the disk refuses.
        """
        beside = path.with_name(f".{path.name}")
        try:
            write_tensors(beside, dict(self.parameters), meta)
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise HomeError(
                f"cannot hand the weights over in {path}: {error}; free space, or clear policy.generation_device"
            ) from None

    @torch.no_grad()
    def read_trained(self, path: Path) -> dict[str, str]:
        """Load the weights written by `write_trained`; return their metadata."""
        with safe_open(path, "pt") as file:
            for name, weight in self.parameters:
                weight.copy_(file.get_tensor(name))
            meta: dict[str, str] = file.metadata()
            return meta

    def save(self, directory: Path, *, adapter_of: str | None = None) -> None:
        """Write a plain Hugging Face folder, an adapter merged into its base.

        With `adapter_of`, the name of its base, an adapter is written alone, as peft does. Raises
        `OSError` when the disk refuses.
        """
        try:
            if self.adapter is None:
                self.model.save_pretrained(directory, max_shard_size=SHARD)
            elif adapter_of is None:
                self.adapter.merged().save_pretrained(directory, max_shard_size=SHARD)
            else:
                self.adapter.save(directory, adapter_of)
            self.tokenizer.save_pretrained(directory)
        except Exception as error:
            # safetensors and tokenizers wrap an operating system error, the latter in a bare
            # Exception.
            if type(error) in (SafetensorError, Exception):
                raise OSError(str(error)) from error
            raise


def source_of(config: PolicySection) -> str | Path:
    """Return where the configured base model is: a folder, or a name at the hub."""
    if config.model == "embedded":
        return EMBEDDED
    if config.model == SMOLLM2:
        return smollm2_folder()
    folder = Path(config.model).expanduser()
    return folder if folder.is_dir() else config.model


def load_base(config: PolicySection, *, quantised: bool = False) -> LanguageModel:
    """Load the configured base model, `quantised` to 4 bits or not."""
    return load(source_of(config), config, revision=config.revision, quantised=quantised)


def load(source: str | Path, config: PolicySection, *, revision: str = "", quantised: bool = False) -> LanguageModel:
    """Load a model from a folder or the hub, with the configured device and type."""
    device = device_for(config)
    dtype, template = dtype_of(config.dtype, device), template_arguments(config.template_arguments)
    return LanguageModel(source, revision=revision, device=device, dtype=dtype, quantised=quantised, template=template)


def device_for(config: PolicySection) -> torch.device:
    """Return the configured device.

    "auto" is the CPU for the embedded model: it is too small for a GPU, and the same everywhere.
    """
    return device_of("cpu" if (config.device, config.model) == ("auto", "embedded") else config.device)


def device_of(name: str) -> torch.device:
    """Return the device of a setting. Raises `PolicyError` where this machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise PolicyError(
            f"the device {name!r} cannot be used: {error}; set policy.device to auto or cpu, or clear policy.generation_device"
        ) from None


def dtype_of(name: str, device: torch.device, kind: str = "none") -> torch.dtype:
    """Return the type of the weights that the setting `policy.dtype` means on this device.

    A card without bfloat16 keeps a frozen base, that of an adapter by `kind`, in float16.
    """
    if name == "auto":
        narrow = "bfloat16" if device.type == "cuda" and _has_bfloat16(device) else "float32"
        name = "float16" if device.type == "cuda" and narrow == "float32" and kind != "none" else narrow
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise PolicyError(f"policy.dtype = {name!r} is unknown; use auto, float32, bfloat16 or float16")
    return types[name]


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA card computes in bfloat16; older ones emulate it, slowly."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _ends(model: Any) -> list[int | None]:
    """Return the tokens that end a sequence as the model's configuration names them."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    return configured if isinstance(configured, list) else [configured]
