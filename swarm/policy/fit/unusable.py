"""Architectures that no policy can be made of, told before anything is fetched: by a config.json,
or by the name of a model at the hub.

A policy continues many answers of one prompt from its keys and values. A model that keeps a running
state instead (Mamba, linear attention, short convolutions) cannot be continued so; nor is there an
answer to train in an encoder. Of models that see or hear, those are used whose text model stands
alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.errors import PolicyError

# By transformers' names of types and layers.
STATEFUL = frozenset({
    "bailing_hybrid", "bamba", "blt", "deepseek_v4", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear",
    "lfm2", "lfm2_moe", "lfm3", "mamba", "mamba2", "minimax", "nemotron_h", "olmo_hybrid", "openai-gpt", "qwen3_5", "qwen3_5_moe",
    "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "qwen4_exp", "qwen4_exp_text", "recurrent_gemma", "reformer", "rwkv", "xlm",
    "xlnet", "xlstm", "zamba", "zamba2",
})  # fmt: skip
_STATES = frozenset({"conv", "linear_attention", "hybrid", "hybrid_sliding", "mamba", "recurrent"})
# Wrappers of a text model and a vision tower of which only the text model is loaded.
TEXT_INSIDE = frozenset({"gemma3"})
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")

_STATE = "keeps a running state in place of an attention cache"
_SEES = "sees or hears, and has no text model that stands alone"
_ENCODES = "is an encoder and a decoder, or an encoder only"
# Names at the hub: what is wrong, and a model of the same makers that works.
_NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-vl\b|-vl-|vision|llava|pixtral|paligemma|smolvlm|idefics|internvl|omni|florence"), _SEES),
    (
        re.compile(
            r"qwen3\.5|qwen3-next|mamba|rwkv|jamba|zamba|bamba|recurrentgemma|lfm[23]|nemotron-h|granite-4\.\d-h|kimi-linear|"
            r"falcon-h1|xlstm|olmo-hybrid|hymba"
        ),
        _STATE,
    ),
    (re.compile(r"\b(flan-)?t5\b|\b(m|co)?bart\b|\bbert\b|roberta|whisper|pegasus"), _ENCODES),
)
_INSTEAD = (("qwen", "Qwen/Qwen3-0.6B"), ("gemma", "google/gemma-3-1b-it"), ("llama", "meta-llama/Llama-3.2-1B-Instruct"))
# An owner and a name, of letters that the hub allows; some old models have no owner.
_HUB_NAME = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
# What `swarmd models` says of them all.
REFUSED = (
    f"Qwen3.5, Qwen3-Next, Mamba, RWKV, LFM2 and other hybrids: each {_STATE}",
    f"Qwen2.5-VL, Qwen3-VL, LLaVA and the like: each {_SEES}",
    f"T5, BART, BERT and the like: each {_ENCODES}",
)


def refusal(name: str, described: Mapping[str, Any]) -> str:
    """Say in one sentence why no policy can be made of the model `name` with this config.json, and
    what to take instead; "" if nothing speaks against it."""
    kind = str(described.get("model_type", ""))
    text = described.get("text_config") or {}
    layers = {*(described.get("layer_types") or ()), *(text.get("layer_types") or ())}
    architectures = described.get("architectures") or ()
    why = ""
    if kind in STATEFUL or text.get("model_type") in STATEFUL or layers & _STATES:
        why = _STATE
    elif described.get("is_encoder_decoder") or (architectures and not any(each.endswith(_CAUSAL) for each in architectures)):
        why = _ENCODES
    elif kind not in TEXT_INSIDE and ("vision_config" in described or "audio_config" in described):
        why = _SEES
    return _sentence(name, why)


def refusal_by_name(name: str) -> str:
    """Say the same of a model at the hub from its name alone, which may be silent."""
    lower = name.lower()
    return _sentence(name, next((why for pattern, why in _NAMES if pattern.search(lower)), ""))


def refuse_unusable(model: str) -> None:
    """Raise `PolicyError` for a folder or a hub name that no policy can be made of; read nothing
    but a folder's config.json."""
    folder = Path(model).expanduser()
    if folder.is_file():
        raise PolicyError(f"{model} is a file; name the folder that holds it and a config.json")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise PolicyError(f"the folder {model} holds no config.json; name the folder of a Hugging Face model")
    if not folder.is_dir() and _HUB_NAME.fullmatch(model) is None:
        raise PolicyError(f"there is no folder {model}; name one, or a model of the hub such as Qwen/Qwen3-0.6B")
    try:
        why = refusal(model, json.loads((folder / "config.json").read_bytes())) if folder.is_dir() else refusal_by_name(model)
    except (OSError, ValueError, AttributeError):  # the start says what is wrong with it
        return
    if why:
        raise PolicyError(why)


def _sentence(name: str, why: str) -> str:
    instead = next((model for makers, model in _INSTEAD if makers in name.lower()), "Qwen/Qwen2.5-0.5B-Instruct")
    return f"{name} {why}, so no policy can be made of it; take {instead}, or another that `swarmd models` lists" if why else ""
