"""Lists what could be `policy.model` on this machine: models that come with swarmd, models that are
here, and well-known ones.

For each it gives the memory that training takes, and the first way of training that fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from swarm.config.schema import PolicySection
from swarm.policy.fit.catalogue import EMBEDDED_LICENCE, KNOWN
from swarm.policy.fit.estimate import KINDS, Shape, estimate, shape_of
from swarm.policy.fit.fitting import obstacle
from swarm.policy.fit.memory import room
from swarm.policy.fit.unusable import refusal
from swarm.policy.model.model import EMBEDDED, device_for, dtype_of
from swarm.policy.model.packaged_smollm2 import NAME as SMOLLM2
from swarm.policy.model.packaged_smollm2 import is_installed


@dataclass(frozen=True, slots=True)
class Choice:
    """A model. `where`: here (nothing to fetch), hub, or consent (the hub, once its owner is
    asked).

    `needs` are bytes per way of training: none (all weights), lora, qlora. `fits` is the first of
    these that fits, or None; `why_not` says what the others lack. A model of which no policy can be
    made has 0 parameters, and the reason in `why_not`.
    """

    model: str
    where: str
    licence: str
    parameters: int
    needs: Mapping[str, int]
    fits: str | None
    why_not: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """The choices for a device, on which the policy may use `memory` bytes and keeps weights as
    `dtype`."""

    device: str
    dtype: str
    memory: int
    choices: tuple[Choice, ...]


def list_models(config: PolicySection, folders: Sequence[Path] = (), cache: Path | None = None) -> Listing:
    """Look at this machine, its hub `cache` and `folders`.

    Raises `PolicyError` when the configured device is missing.
    """
    device = device_for(config)
    dtype = dtype_of(config.dtype, device)
    memory = room(device, config.memory)

    def choice(model: str, where: str, licence: str, shape: Shape | str) -> Choice:
        if isinstance(shape, str):
            return Choice(model, where, licence, 0, dict.fromkeys(KINDS, 0), None, dict.fromkeys(KINDS, shape))
        items = {kind: dtype_of(config.dtype, device, kind).itemsize for kind in KINDS}
        needs = {kind: estimate(shape, kind, item=items[kind], rank=config.lora_rank).total for kind in KINDS}
        small = {kind: "too little memory" if needs[kind] > memory else "" for kind in KINDS}
        why_not = {kind: reason for kind in KINDS if (reason := obstacle(kind, device.type) or small[kind])}
        fits = next((kind for kind in KINDS if kind not in why_not), None)
        return Choice(model, where, licence, shape.weights, needs, fits, why_not)

    cached = dict(_cached(cache or Path(HF_HUB_CACHE)))
    choices = [choice("embedded", "here", EMBEDDED_LICENCE, _read(EMBEDDED))]
    choices += [choice(SMOLLM2, "here" if is_installed() else "package", KNOWN[0].licence, KNOWN[0].shape)]
    choices += [choice(str(folder), "here", "-", shape) for folder, shape in _folders([*folders, Path(config.model)])]
    choices += [choice(name, "here", "-", shape) for name, shape in cached.items() if name not in {each.name for each in KNOWN}]
    for known in KNOWN:
        where = "here" if known.name in cached else "consent" if known.gated else "hub"
        choices.append(choice(known.name, where, known.licence, known.shape))
    return Listing(str(device), str(dtype).removeprefix("torch."), memory, tuple(choices))


def _folders(paths: Sequence[Path]) -> Iterator[tuple[Path, Shape | str]]:
    for path in dict.fromkeys(each.expanduser() for each in paths):
        if (path / "config.json").is_file() and (shape := _described(path, str(path))):
            yield path, shape


def _cached(cache: Path) -> Iterator[tuple[str, Shape | str]]:
    """Yield the causal models in the hub's cache whose weights have been fetched."""
    for folder in sorted(cache.glob("models--*--*")):
        for snapshot in sorted(folder.glob("snapshots/*")):
            name = folder.name.removeprefix("models--").replace("--", "/")
            if any(snapshot.glob("*.safetensors")) and (shape := _described(snapshot, name)):
                yield name, shape
                break


def _read(folder: Path) -> Shape:
    return shape_of(json.loads((folder / "config.json").read_bytes()))


def _described(folder: Path, name: str) -> Shape | str:
    """Read the shape from a model folder's config.json, or why no policy can be made of it; "" if
    it is unreadable or no language model's."""
    try:
        described = json.loads((folder / "config.json").read_bytes())
        return refusal(name, described) or shape_of(described)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
