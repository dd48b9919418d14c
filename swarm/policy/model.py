"""A Hugging Face causal language model with its tokenizer: loading, saving, text to tokens and back, and one forward pass.

Everything that differs between models is settled here, so that generation and the update see only token ids and logits:
which keyword arguments the forward pass takes, which tokens end a sequence, whether prompts are wrapped in a chat template.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError

EMBEDDED = Path(__file__).parent / "embedded"


class LanguageModel:
    """A causal model on one device, in evaluation mode: no dropout, in training too. `PolicyError` if it cannot be loaded."""

    def __init__(self, source: str | Path, *, revision: str, device: torch.device, dtype: torch.dtype) -> None:
        where = {"revision": revision or None, "trust_remote_code": False}
        weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}  # pickled weights can run code
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, **where)
            model, info = AutoModelForCausalLM.from_pretrained(source, **where, **weights)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise PolicyError(
                f"cannot load the model {source}: {error}; policy.model must be `embedded`, a model folder or a hub name"
            ) from None
        if info["missing_keys"]:
            raise PolicyError(f"the model {source} lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}; fetch it again")
        self.model = model.to(device).eval()
        self.device = device
        self.dtype = dtype
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        layers = self.new_cache().layers
        if "past_key_values" not in self._takes or not all(hasattr(layer, "batch_select_indices") for layer in layers):
            raise PolicyError(f"the model {source} keeps no attention cache; choose one with attention layers only")
        # Every token sees all before it, by an implementation that takes any mask.
        self.full_attention = model.config._attn_implementation == "sdpa" and all(type(layer) is DynamicLayer for layer in layers)
        self.stop_ids = _stop_ids(model, self.tokenizer)
        self.pad_id: int = self.stop_ids[0] if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        self.max_length: int = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", 1 << 30)
        self.parameters: list[tuple[str, torch.nn.Parameter]] = sorted(model.named_parameters(), key=lambda item: item[0])
        self.size: int = sum(parameter.numel() for _, parameter in self.parameters)

    def new_cache(self) -> Any:
        """An empty key-value cache with this model's layers."""
        return DynamicCache(config=self.model.config)

    def logits(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Any, *, last_only: bool = False) -> Tensor:
        """One forward pass behind what `cache` holds (and then holds too): logits [B, T, V], or [B, 1, V] with `last_only`.

        `ids` and `positions` are [B, T]; `mask` is [B, cached + T] with 0 for padding, or None without any, or says for every
        token whether it sees every other, [B, 1, T, T].
        """
        options: dict[str, Any] = {"logits_to_keep": 1} if last_only and "logits_to_keep" in self._takes else {}
        if "position_ids" in self._takes:
            options["position_ids"] = positions
        output = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, **options)
        logits: Tensor = output.logits
        return logits[:, -1:] if last_only else logits

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt: one user message if the model has a chat template, else with the tokenizer's own prefix."""
        if not prompts:
            return []
        if self.tokenizer.chat_template:
            messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
            texts = [self.tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in messages]
            rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        else:
            rows = self.tokenizer(list(prompts), split_special_tokens=True)["input_ids"]
            # A tokenizer that closes every text would end the answer before it began.
            rows = [row[:-1] if row and row[-1] in self.stop_ids else row for row in rows]
        # A model must be given something to continue; a prompt without any token is its start (or end) of text.
        start = self.pad_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        return [row or [start] for row in rows]

    def encode_completions(self, texts: Sequence[str], finished: Sequence[bool]) -> list[list[int]]:
        """Token ids of completions known as text, end of sequence added to finished ones. Special tokens in a text stay text.

        A text with characters that the vocabulary lacks gets no tokens at all: this model could never say it.
        """
        if not texts:
            return []
        rows = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        unknown = self.tokenizer.unk_token_id
        return [
            [] if unknown in row else [*row, self.stop_ids[0]] if end else row for row, end in zip(rows, finished, strict=True)
        ]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The exact text of each row of token ids, special tokens left out."""
        texts: list[str] = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return texts

    def digest(self) -> bytes:
        """SHA-256 over name, type, shape and bytes of every weight in the order of their names; tied weights count once."""
        total = hashlib.sha256()
        for name, parameter in self.parameters:
            total.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
            total.update(parameter.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return total.digest()

    def save(self, directory: Path) -> None:
        """Write a plain Hugging Face folder. Raises OSError when the disk refuses."""
        try:
            self.model.save_pretrained(directory)
            self.tokenizer.save_pretrained(directory)
        except Exception as error:
            # What safetensors and tokenizers make of an operating system error: the latter a bare Exception.
            if type(error) in (SafetensorError, Exception):
                raise OSError(str(error)) from error
            raise


def load_base(config: PolicySection) -> LanguageModel:
    """The base model that the configuration names."""
    folder = EMBEDDED if config.model == "embedded" else Path(config.model).expanduser()
    return load(folder if folder.is_dir() else config.model, config, revision=config.revision)


def load(source: str | Path, config: PolicySection, *, revision: str = "") -> LanguageModel:
    """A model from a folder or the hub, on the configured device and in the configured type."""
    device = _device(config.device)
    return LanguageModel(source, revision=revision, device=device, dtype=_dtype(config.dtype, device))


def public_name(config: PolicySection) -> str:
    """How the model is called in front of peers: a local folder by its last name only, since paths name people."""
    folder = Path(config.model).expanduser()
    return folder.resolve().name if folder.is_dir() else config.model


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise PolicyError(f"policy.device = {name!r} cannot be used here: {error}; set it to auto or cpu") from None


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in types:
        raise PolicyError(f"policy.dtype = {name!r} is unknown; use auto, float32 or bfloat16")
    return types[name]


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a sequence, the tokenizer's own end of sequence first."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    more = configured if isinstance(configured, list) else [configured]
    ids = [token for token in [tokenizer.eos_token_id, *more] if token is not None]
    if not ids:
        raise PolicyError("the model names no end-of-sequence token; add eos_token to its tokenizer_config.json")
    return tuple(dict.fromkeys(ids))
