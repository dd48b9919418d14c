"""Decides how a model is trained where the settings say "auto": all weights or an adapter, layers
recomputed or not.

Training all weights learns most per step and needs no choice of a rank, so it comes first. An
adapter is next: the same base, a hundredth of the gradients and moments. The base in 4 bits is
last, since its rounding is felt in every answer. The first that fits is taken, by estimate.py's
arithmetic against the budget of policy.memory, never by a trial.
"""

from __future__ import annotations

from importlib.util import find_spec

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.fit.catalogue import SMOLLM2_SHAPE
from swarm.policy.fit.estimate import KINDS, Shape, estimate, shape_of
from swarm.policy.fit.memory import room
from swarm.policy.fit.unusable import refusal
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.hub import why_not
from swarm.policy.model.model import device_for, dtype_of, source_of
from swarm.policy.model.packaged_smollm2 import NAME as SMOLLM2

# The package that a kind of training, or an engine, needs besides swarmd's own, and the extra that
# installs it.
PACKAGES = {"qlora": ("bitsandbytes", "gpu"), "vllm": ("vllm", "vllm")}
ONLY_ON_CUDA = ("qlora", "vllm")

# Default learning rates, for steps of some 64 answers: usual for all weights; an adapter takes
# more.
RATES = {"none": 1e-6, "lora": 5e-5, "qlora": 5e-5}


def kind_of_training(config: PolicySection) -> str:
    """Return one of `KINDS`: the configured one, or for "auto" the first that fits, else the
    smallest."""
    if config.adapter != "auto":
        return config.adapter
    if config.model == "embedded":
        return "none"
    device = device_for(config)
    four_bits = device.type == "cuda" and find_spec("bitsandbytes") is not None
    kinds = KINDS if four_bits else KINDS[:-1]
    shape, most = model_shape(config), room(device, config.memory)
    needs = {
        kind: estimate(shape, kind, item=dtype_of(config.dtype, device, kind).itemsize, rank=config.lora_rank) for kind in kinds
    }
    return next((kind for kind in kinds if needs[kind].total <= most), kinds[-1])


def obstacle(way: str, device: str) -> str:
    """Say what keeps a kind of training or an engine from working on a type of device here, with
    the remedy; "" if nothing does."""
    if way in ONLY_ON_CUDA and device != "cuda":
        return "needs a CUDA GPU"
    package, extra = PACKAGES.get(way, ("", ""))
    return f"needs {package}: pip install 'swarmd[{extra}]'" if package and find_spec(package) is None else ""


def recomputes(config: PolicySection, recipe: AdapterSpec) -> bool:
    """Whether to recompute layers in the backward pass: as the settings say, or for "auto" where it
    would not fit otherwise."""
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing == "on"
    if config.model == "embedded":
        return False
    device = device_for(config)
    item = dtype_of(config.dtype, device, recipe.kind).itemsize
    plain = estimate(model_shape(config), recipe.kind, item=item, rank=recipe.rank, recompute=False)
    return plain.total > room(device, config.memory)


def model_shape(config: PolicySection) -> Shape:
    """Read the base model's shape from its config.json. Raises `PolicyError`."""
    if config.model == SMOLLM2:
        return SMOLLM2_SHAPE  # its config.json is there only after the package has been unpacked
    source = source_of(config)
    try:
        found = AutoConfig.from_pretrained(source, revision=config.revision or None, trust_remote_code=False).to_dict()
        if why := refusal(config.model, found):
            raise PolicyError(why)
        return shape_of(found)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise PolicyError(f"cannot load the model {source}: {why_not(error)}") from None
    except KeyError as error:
        raise PolicyError(
            f"the shape of {source} is not told by its config.json ({error}); set policy.adapter to none or lora, and "
            "policy.gradient_checkpointing to on or off"
        ) from None
