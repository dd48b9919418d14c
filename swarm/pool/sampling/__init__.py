"""Which groups to train on: one file per sampler, by the names that `sampling.sampler` allows."""

from __future__ import annotations

from importlib import import_module

from swarm.config.training_sections import SamplingSection
from swarm.pool.sampling.drawing import Sampler

_NAMES = SamplingSection.__dataclass_fields__["sampler"].metadata["allowed"].choices

SAMPLERS: dict[str, Sampler] = {name: import_module(f"{__name__}.{name}").SAMPLER for name in _NAMES}
