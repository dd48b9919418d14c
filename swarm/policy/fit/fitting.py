"""How a model is trained here where the settings leave it open: all of it, or an adapter; with layers recomputed or not.

Training all weights learns most per step and needs no choice of a rank, so it is taken as long as it fits. An adapter is
next: the same base, a hundredth of the gradients and moments. The base in 4 bits is last, since its rounding is felt in
every answer. What fits is estimate.py's arithmetic against the budget that policy.memory gives, never a trial.
"""

from __future__ import annotations

from importlib.util import find_spec

from transformers import AutoConfig

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.fit.catalogue import SMOLLM2_SHAPE
from swarm.policy.fit.estimate import KINDS, Shape, estimate, shape_of
from swarm.policy.fit.memory import budget
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.hub import why_not
from swarm.policy.model.model import device_for, dtype_of, source_of
from swarm.policy.model.packaged_smollm2 import NAME as SMOLLM2

# The package that a kind of training, or an engine, needs besides swarmd's own, and the extra that installs it.
PACKAGES = {"qlora": ("bitsandbytes", "gpu"), "vllm": ("vllm", "vllm")}
ONLY_ON_CUDA = ("qlora", "vllm")

# Of AdamW, where the settings leave it open: usual for reinforcement learning of language models, an adapter ten times the whole.
RATES = {"none": 1e-6, "lora": 1e-5, "qlora": 1e-5}


def kind_of_training(config: PolicySection) -> str:
    """One of `KINDS`: the configured one, or for "auto" the first that fits; if none does, the smallest, which may run out."""
    if config.adapter != "auto":
        return config.adapter
    if config.model == "embedded":
        return "none"
    device = device_for(config)
    four_bits = device.type == "cuda" and find_spec("bitsandbytes") is not None
    kinds = KINDS if four_bits else KINDS[:-1]
    shape, room = model_shape(config), budget(device, config.memory)
    item = dtype_of(config.dtype, device).itemsize
    return next((kind for kind in kinds if estimate(shape, kind, item=item, rank=config.lora_rank).total <= room), kinds[-1])


def obstacle(way: str, device: str) -> str:
    """What keeps a kind of training, or an engine, from working on a type of device here, with the remedy; or nothing."""
    if way in ONLY_ON_CUDA and device != "cuda":
        return "needs a CUDA GPU"
    package, extra = PACKAGES.get(way, ("", ""))
    return f"needs {package}: pip install 'swarmd[{extra}]'" if package and find_spec(package) is None else ""


def recomputes(config: PolicySection, recipe: AdapterSpec) -> bool:
    """Whether layers are forwarded again in the backward pass: where the settings say so, or for "auto" it would not fit else."""
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing == "on"
    if config.model == "embedded":
        return False
    device = device_for(config)
    item = dtype_of(config.dtype, device).itemsize
    plain = estimate(model_shape(config), recipe.kind, item=item, rank=recipe.rank, recompute=False)
    return plain.total > budget(device, config.memory)


def model_shape(config: PolicySection) -> Shape:
    """The base model's shape, by its config.json. Raises `PolicyError`."""
    if config.model == SMOLLM2:
        return SMOLLM2_SHAPE  # its config.json is there only after the package has been unpacked
    source = source_of(config)
    try:
        found = AutoConfig.from_pretrained(source, revision=config.revision or None, trust_remote_code=False)
        return shape_of(found.to_dict())
    except (OSError, ValueError) as error:
        raise PolicyError(f"cannot load the model {source}: {why_not(error)}") from None
    except KeyError as error:
        raise PolicyError(
            f"the shape of {source} is not told by its config.json ({error}); set policy.adapter to none or lora, and "
            "policy.gradient_checkpointing to on or off"
        ) from None
