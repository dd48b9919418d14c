"""Tells `swarmd doctor` what only torch and the model hub's client know: `python -m
swarm.policy.fit.devices`.

It reads the sections `policy` and `generation` as JSON and writes one JSON object. It is a process
of its own, so that a driver that hangs or a broken library costs the doctor one finding. It loads
no model: the bytes of memory are arithmetic.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE

from swarm.config.schema import GenerationSection, PolicySection
from swarm.errors import PolicyError
from swarm.policy.fit.estimate import KINDS, Estimate, Shape, estimate
from swarm.policy.fit.fitting import kind_of_training, model_shape, obstacle
from swarm.policy.fit.memory import machine_bytes, room
from swarm.policy.fit.unusable import refusal, refusal_by_name
from swarm.policy.model import packaged_smollm2 as smollm2
from swarm.policy.model.hub import why_not
from swarm.policy.model.model import device_for, device_of, dtype_of, source_of

ASKED_WITHIN_S = 8.0
# Bytes in a checkpoint per trained weight: its float32 value and AdamW's two moments.
KEPT_BYTES = 12
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def torch_facts() -> dict[str, Any]:
    """Return torch's version, its CUDA version (None without), the architectures it is built for,
    and the GPUs it sees."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list() if torch.version.cuda and count else [],
        "devices": [torch.cuda.get_device_name(index) for index in range(count)],
        "mps": torch.backends.mps.is_available(),
    }


def model_facts(config: PolicySection, generation: GenerationSection) -> dict[str, Any]:
    """Return what training the base model takes here, in bytes, or {"error": words} where it cannot
    be.

    here, download, cache   whether the model is here; what the first start writes, and where
    device, kind, needs     where and how it is trained (one of `KINDS`), and what that takes
    places                  per device: what policy and generation need there, the `room` that
                            policy.memory gives them now, and the `most` that they could ever have
    fits                    other ways of training that fit: kind -> what to install, or ""
    obstacles               what keeps the configured kind or engine from working
    checkpoint              one checkpoint
    """
    try:
        whereabouts = _whereabouts(config)
        device, kind = device_for(config), kind_of_training(config)
        second = device_of(config.generation_device) if config.generation_device else device
        shape, vllm = model_shape(config), generation.engine == "vllm"
        items = {each: dtype_of(config.dtype, device, each).itemsize for each in KINDS}
    except PolicyError as error:
        return {"error": str(error)}
    ways = {each: estimate(shape, each, item=items[each], rank=config.lora_rank) for each in KINDS}
    needs = {str(device): ways[kind].total}
    needs[str(second)] = needs.get(str(second), 0) + _generating(
        ways[kind], apart=bool(config.generation_device), whole=shape.weights * items[kind] if vllm else 0
    )
    places = [_place(torch.device(name), each, config.memory) for name, each in needs.items()]
    blocked = {each: obstacle(each, device.type) for each in KINDS}
    wanted = [f"policy.adapter = {kind} {blocked[kind]}"] if blocked[kind] else []
    if vllm and (why := obstacle("vllm", second.type)):
        wanted.append(f"generation.engine = vllm {why}")
    others = [each for each in KINDS if each != kind and ways[each].total <= places[0]["room"]]
    return {
        **whereabouts,
        "device": device.type,
        "kind": kind,
        "needs": ways[kind].total,
        "places": places,
        "fits": {each: blocked[each] for each in others if device.type == "cuda" or each != "qlora"},
        "obstacles": wanted,
        "checkpoint": KEPT_BYTES * _trained(shape, kind, config.lora_rank),
    }


def _trained(shape: Shape, kind: str, rank: int) -> int:
    return shape.weights if kind == "none" else shape.adapter(rank)


def _generating(training: Estimate, *, apart: bool, whole: int) -> int:
    """Return the bytes that generation takes beside training: a process of its own, and vLLM's
    `whole` copy of the weights."""
    own = training.weights + training.working + training.process if apart else 0
    return own + whole


def _place(device: torch.device, needs: int, share: float) -> dict[str, Any]:
    cuda = device.type == "cuda"
    most = torch.cuda.mem_get_info(device)[1] if cuda else machine_bytes()
    return {"device": str(device), "needs": needs, "room": room(device, share), "most": most}


def _whereabouts(config: PolicySection) -> dict[str, Any]:
    """Say where the weights are, without making or fetching any."""
    if config.model == smollm2.NAME:
        if not smollm2.is_installed():
            raise PolicyError(f"policy.model = {smollm2.NAME} needs packages; install them with: {smollm2.INSTALL}")
        more = 0 if smollm2.is_unpacked() else smollm2.UNPACKED_BYTES
        return {"here": True, "download": more, "cache": str(smollm2.cache_folder())}
    source = source_of(config)
    if not isinstance(source, Path) and (why := refusal_by_name(config.model)):
        raise PolicyError(why)
    if isinstance(source, Path):
        return {"here": True, "download": 0, "cache": str(source)}
    return {**_at_hub(source, config.revision), "cache": HF_HUB_CACHE}


def _at_hub(name: str, revision: str) -> dict[str, Any]:
    cached = [try_to_load_from_cache(name, file, revision=revision or None) for file in WEIGHTS]
    if any(isinstance(path, str) for path in cached):
        return {"here": True, "download": 0}
    try:
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True, timeout=ASKED_WITHIN_S)
    except Exception as error:  # noqa: BLE001 - among others its HTTP library's own errors, whichever library it is
        raise PolicyError(f"the model {name} is not on this machine, and the hub does not give it: {why_not(error)}") from None
    if why := refusal(name, info.config or {}):
        raise PolicyError(why)
    sizes = [file.size or 0 for file in info.siblings or () if file.rfilename.endswith(".safetensors")]
    if not sizes:
        raise PolicyError(f"the model {name} has no weights as safetensors, and pickled ones can run code; choose another")
    return {"here": False, "download": sum(sizes)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    facts = model_facts(PolicySection(**asked["policy"]), GenerationSection(**asked["generation"]))
    print(json.dumps({"torch": torch_facts(), "model": facts}))
