"""The learning rate and the groups per update, by the number of updates that a policy has had.

Small batches of others' text, some of it for the third time, make noisy steps. At first that does
not matter: many quick steps learn fastest. Later the noise keeps a policy from becoming better, and
a swarm at a constant rate learns fast and then stands still. So after `training.constant_steps`
updates the learning rate falls and the batch grows, both with the square root of the number of
updates. The noise, which goes with rate / batch, then falls with that number itself. A larger batch
also costs less than the small ones that it replaces.
"""

from __future__ import annotations

from swarm.config.schema import TrainingSection


def learning_rate(settings: TrainingSection, steps: int) -> float:
    """Learning rate of update number `steps` (from 1): linear warm-up, plateau, inverse square
    root."""
    warm = min(1.0, steps / max(1, settings.warmup_steps))
    return settings.learning_rate * warm / _calm(settings, steps)


def groups_per_update(settings: TrainingSection, steps: int) -> float:
    """Groups per update of a round that begins after `steps` updates; 0 means one update of all
    groups."""
    return settings.groups_per_update * _calm(settings, steps)


def _calm(settings: TrainingSection, steps: int) -> float:
    return max(1.0, steps / settings.constant_steps) ** 0.5 if settings.constant_steps else 1.0
