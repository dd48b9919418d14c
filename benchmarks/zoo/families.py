"""Tiny models of every family of architectures: random, of two layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from benchmarks.zoo.animals import characters

_SIZES: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_MHA = {"num_key_value_heads": 4}
_MOE = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128},
    "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "max_position_embeddings": 128},
    "opt": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 32,
        "max_position_embeddings": 128,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128},
}  # fmt: skip
_MORE: Mapping[str, Mapping[str, Any]] = {
    "mistral": {"sliding_window": 7},
    "gemma2": {"sliding_window": 7, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 7, "query_pre_attn_scalar": 8},
    "phi": _MHA,
    "gpt_neox": _MHA,
    "exaone4": {"sliding_window": 7, "sliding_window_pattern": 2},
    "gpt_oss": {"sliding_window": 7, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, **_MOE},
    "qwen2_moe": {"num_experts": 4, "shared_expert_intermediate_size": 16, **_MOE},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}
_TEXT = {**_SIZES, "sliding_window": 7, "query_pre_attn_scalar": 8}
_VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip

FAMILIES = (
    "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "gemma3", "phi", "phi3", "smollm3", "gpt_neox",
    "gpt2", "olmo", "olmo2", "olmo3", "cohere", "cohere2", "granite", "stablelm", "starcoder2", "falcon", "helium", "exaone4",
    "ernie4_5", "hunyuan_v1_dense", "gpt_oss", "qwen3_moe", "qwen2_moe", "mixtral", "olmoe", "mpt", "xglm", "opt", "bloom",
    "gpt_bigcode",
)  # fmt: skip
# Those that are refused before anything is fetched, as their config.json names them.
REFUSED: Mapping[str, Mapping[str, Any]] = {
    "Qwen3.5": {"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"], "vision_config": {}},
    "Qwen3-Next": {"model_type": "qwen3_next", "architectures": ["Qwen3NextForCausalLM"]},
    "Qwen2.5-VL": {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": {}},
    "LFM2": {
        "model_type": "lfm2", "architectures": ["Lfm2ForCausalLM"], "num_hidden_layers": 2,
        "layer_types": ["conv", "full_attention"],
    },
    "Mamba": {"model_type": "mamba", "architectures": ["MambaForCausalLM"]},
    "T5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
    "BERT": {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
}  # fmt: skip


def write_family(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Write a random model of `family` with a tokenizer of characters."""
    tokenizer = characters()
    sizes = _OWN.get(family, {**_SIZES, **_MORE.get(family, {})})
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    common = {"vocab_size": len(tokenizer), "initializer_range": 0.1, **ends}
    if family == "gemma3":  # the wrapper of a text model and a vision tower
        text = {**_TEXT, **common}
        sizes, common = {"text_config": text, "vision_config": _VISION, "mm_tokens_per_image": 4}, dict(ends)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**sizes, **common)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
