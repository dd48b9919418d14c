"""Tiny random models as Hugging Face folders, so that tests need no download and no shipped
weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ALPHABET = " 0123456789abcdefghijklmnopqrstuvwxyz+-*/=?:,.<|>_"
PAD, BOS, EOS, UNK = range(4)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, four special ones."""
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def make_model(architecture: str = "llama", *, seed: int = 0, positions: int = 256, hidden: int = 64, layers: int = 3):
    """A random model; the weights are spread wider than usual so that its distributions are far
    from uniform."""
    common = {
        "vocab_size": 4 + len(ALPHABET),
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
    }
    shape = {
        "hidden_size": hidden,
        "intermediate_size": hidden * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "max_position_embeddings": positions,
    }
    torch.manual_seed(seed)
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, **shape)).eval()
    if architecture == "mistral":
        return MistralForCausalLM(MistralConfig(**common, **shape, sliding_window=None)).eval()
    if architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, **shape)).eval()
    if architecture == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**common, **shape)).eval()
    if architecture == "sliding":
        return MistralForCausalLM(MistralConfig(**common, **shape, sliding_window=7)).eval()
    if architecture == "gemma":
        return Gemma3ForCausalLM(Gemma3TextConfig(**common, **shape, sliding_window=7, query_pre_attn_scalar=16)).eval()
    if architecture == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**common, n_embd=hidden, n_layer=layers, n_head=4, n_positions=positions)).eval()
    raise ValueError(architecture)


def write_model(folder: Path, architecture: str = "llama", **options) -> Path:
    make_model(architecture, **options).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
