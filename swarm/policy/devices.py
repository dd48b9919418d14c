"""What only torch and the model hub's client can tell of this machine, for `swarmd doctor`: `python -m swarm.policy.devices`.

It reads a `policy` section as JSON and writes one JSON object, in a process of its own: a driver that hangs or a broken
library costs the doctor one finding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.estimate import estimate
from swarm.policy.fitting import kind_of_training, model_shape
from swarm.policy.hub import why_not
from swarm.policy.model import device_of, dtype_of, source_of

ASKED_WITHIN_S = 8.0
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def torch_facts() -> dict[str, Any]:
    """Version, CUDA version (None for a build without), architectures it has code for, and the GPUs that it sees."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list() if torch.version.cuda and count else [],
        "devices": [torch.cuda.get_device_name(index) for index in range(count)],
        "mps": torch.backends.mps.is_available(),
    }


def model_facts(config: PolicySection) -> dict[str, Any]:
    """Where the base model is (`here`, or else `download` bytes from the hub), and what its training takes (`kind`, `needs`)."""
    try:
        source = source_of(config)
        facts = {"here": True} if isinstance(source, Path) else _at_hub(source, config.revision)
        device = device_of(config.device)
        kind = kind_of_training(config)
        item = dtype_of(config.dtype, device).itemsize
        needs = estimate(model_shape(config), kind, item=item, rank=config.lora_rank).total
        return {**facts, "device": device.type, "kind": kind, "needs": needs}
    except PolicyError as error:
        return {"error": str(error)}


def _at_hub(name: str, revision: str) -> dict[str, Any]:
    cached = [try_to_load_from_cache(name, file, revision=revision or None) for file in WEIGHTS]
    if any(isinstance(path, str) for path in cached):
        return {"here": True}
    try:
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True, timeout=ASKED_WITHIN_S)
    except Exception as error:  # noqa: BLE001 - among others its HTTP library's own errors, whichever library it is
        raise PolicyError(f"the model {name} is not on this machine, and the hub does not give it: {why_not(error)}") from None
    sizes = [file.size or 0 for file in info.siblings or () if file.rfilename.endswith(".safetensors")]
    if not sizes:
        raise PolicyError(f"the model {name} has no weights as safetensors, and pickled ones can run code; choose another")
    return {"here": False, "download": sum(sizes)}


if __name__ == "__main__":
    section = PolicySection(**json.load(sys.stdin))
    print(json.dumps({"torch": torch_facts(), "model": model_facts(section)}))
