"""What every update of a policy works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm.config.schema import TrainingSection
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.update.loss_scale import LossScale
from swarm.policy.update.optimizer import Optimizer


@dataclass(frozen=True, slots=True)
class Trainer:
    """A policy, its optimizer and how they are trained.

    `reference` is the frozen base model, needed where `settings.beta` > 0. `temperature` is the one
    that completions are sampled at.
    """

    policy: LanguageModel
    optimizer: Optimizer
    settings: TrainingSection
    memory: Memory
    reference: LanguageModel | None = None
    temperature: float = 1.0
    loss_scale: LossScale = field(default_factory=LossScale)
