"""Estimates the bytes of memory that training a model takes, from its shape, before it is loaded.

    weights    each weight in its type; in 4 bits 0.55 bytes (with the scales), embeddings left out
    training   12 bytes for each trained weight: gradient, AdamW's two moments, and the other half
               of a bfloat16 weight; in an adapter 16, since its own weights are float32
    working    the larger of two: one forward and backward pass over `PASS_TOKENS` tokens with
               gradient checkpointing, and the head's gradient as it is added up; keys and values
               of `ROWS` completions of `ROW_TOKENS` tokens with their prompts. More memory only
               makes it faster, as policy.memory allows.
    process    the libraries and, on a GPU, its context

It assumes a decoder of equal layers with gated or plain feed-forward blocks, attention that never
writes out its table of scores, and logits made in slices. It should be within a quarter of measured
peaks; it knows no fragments and no second program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 2**30
KINDS = ("none", "lora", "qlora")
TRAINED_BYTES = 12
ADAPTER_BYTES = 16
FOUR_BITS = 0.55
PASS_TOKENS = 2048
ROWS, ROW_TOKENS = 8, 1024
SLICE = 256  # tokens whose logits are made at once, with the largest vocabularies
PROCESS = 0.6 * GIB
# Feed-forward blocks of two matrices; all others have a gate, which makes three.
UNGATED = frozenset({
    "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt", "opt", "phi", "starcoder2", "xglm",
})  # fmt: skip
# Models that tie their embeddings where config.json does not say.
TIED = frozenset({"bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "mpt", "opt", "xglm"})


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder.

    `inner` is the feed-forward width over all experts; `queries` and `cached` are the widths of all
    query heads and of all key (and value) heads.
    """

    layers: int
    hidden: int
    inner: int
    queries: int
    cached: int
    vocabulary: int
    tied: bool
    gated: bool

    @property
    def embeddings(self) -> int:
        """Weights of the input and output embeddings."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def matrices(self) -> int:
        """Weights of the linear layers."""
        attention = self.hidden * (2 * self.queries + 2 * self.cached)
        return self.layers * (attention + self.hidden * self.inner * (3 if self.gated else 2))

    @property
    def weights(self) -> int:
        """All weights, but for biases and norms."""
        return self.embeddings + self.matrices

    def adapter(self, rank: int) -> int:
        """Return the weights of LoRA matrices of this rank beside every linear layer; experts that
        share one matrix have none."""
        attention = 4 * self.hidden + 2 * self.queries + 2 * self.cached
        return self.layers * rank * (attention + (3 if self.gated else 2) * (self.hidden + self.inner))

    def pass_bytes(self, item: int, *, recompute: bool, adapter: bool = False) -> int:
        """Bytes that a training pass keeps for each token, with values of `item` bytes.

        With `recompute` (gradient checkpointing) each layer keeps its input, and one layer at a
        time everything. An `adapter` keeps a float32 copy of every linear layer's input, where the
        frozen layer keeps none.
        """
        layer = (16 * self.hidden + 4 * self.inner) * item
        if adapter:
            apart = self.queries + self.inner  # inputs of one linear layer; all others are shared
            layer += (4 * self.hidden + (self.hidden if self.gated else 0) + apart) * 4 - (2 * self.hidden + apart) * item
        return layer + self.layers * self.hidden * item if recompute else layer * self.layers

    def head_bytes(self, item: int) -> int:
        """Bytes of the head's gradient while it is added up in float32, beside the one that is
        kept."""
        return self.vocabulary * self.hidden * (4 + item)

    def scored_bytes(self, item: int) -> int:
        """Bytes of one token in a pass without a gradient."""
        return self.cache_bytes(item) + (16 * self.hidden + 4 * self.inner) * item

    def cache_bytes(self, item: int) -> int:
        """Bytes of one token's keys and values."""
        return 2 * self.layers * self.cached * item


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of memory, by purpose."""

    weights: int
    training: int
    working: int
    process: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.training + self.working + self.process


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Read the shape from a model's config.json. Raises `KeyError` with the key that it lacks."""
    text = {**config, **(config.get("text_config") or {})}
    hidden = int(_first(text, "hidden_size", "n_embd", "d_model"))
    heads = int(_first(text, "num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads"))
    head = int(text.get("head_dim") or hidden // heads)
    names = ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim")
    inner = next((text[name] for name in names if text.get(name)), text.get("expansion_ratio", 4) * hidden)
    inner = max(inner) if isinstance(inner, list | tuple) else inner  # of layers of unequal width the widest
    experts = text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts") or 1
    return Shape(
        layers=int(_first(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers")),
        hidden=hidden,
        inner=int(inner) * int(experts),
        queries=heads * head,
        cached=int(text.get("num_key_value_heads") or heads) * head,
        vocabulary=int(_first(text, "vocab_size")),
        tied=bool(text.get("tie_word_embeddings", text.get("model_type") in TIED)),
        gated=text.get("model_type") not in UNGATED,
    )


def estimate(shape: Shape, kind: str, *, item: int, rank: int, recompute: bool = True) -> Estimate:
    """Estimate training in one of `KINDS` with weights of `item` bytes."""
    count = shape.weights
    kept = shape.embeddings * item + (count - shape.embeddings) * (FOUR_BITS if kind == "qlora" else item)
    trained = count * TRAINED_BYTES if kind == "none" else shape.adapter(rank) * ADAPTER_BYTES
    passes = PASS_TOKENS * shape.pass_bytes(item, recompute=recompute, adapter=kind != "none") + 3 * SLICE * shape.vocabulary * 4
    passes += shape.head_bytes(item) if kind == "none" else 0
    cache = ROWS * ROW_TOKENS * shape.cache_bytes(item)
    return Estimate(int(kept), int(trained), max(passes, cache), int(PROCESS))


def _first(config: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if config.get(name) is not None:
            return config[name]
    raise KeyError(f"config.json has no {names[0]}")
