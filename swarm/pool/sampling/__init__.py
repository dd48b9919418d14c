"""Which groups to train on: one file per sampler, chosen by `sampling.sampler` in node.toml."""

from __future__ import annotations

from swarm.pool.sampling import by_rollout, uniform, useful
from swarm.pool.sampling.drawing import Sampler

SAMPLERS: dict[str, Sampler] = {"rollouts": by_rollout.ROLLOUTS, "uniform": uniform.UNIFORM, "useful": useful.USEFUL}
