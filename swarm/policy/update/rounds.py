"""Divides a round's groups among several updates.

An optimizer step moves the weights about equally far whatever the size of its batch: AdamW divides
by the gradient's own size, so a larger batch gives a better direction, not a longer way. A node in
a swarm has several times as many groups as one alone, and would learn little faster from them in
one step. So they make several steps of about `training.groups_per_update` groups each, and later of
more (schedule.py). Every step sees the policy as the step before left it, and own and foreign
groups in about the round's proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from swarm.policy.update.batch import Batch, make_batch
from swarm.policy.update.schedule import groups_per_update
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import UpdateFigures, update
from swarm.records import TrainingGroup


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """Figures of a round: means over the updates that had something to train on, sums, and
    `plausible` per group in order."""

    updates: int
    loss: float
    gradient_norm: float
    clip_fraction: float
    kl: float
    skipped: int
    plausible: tuple[float, ...]
    completions: int
    tokens: int


def train(trainer: Trainer, groups: Sequence[TrainingGroup]) -> RoundFigures:
    """Train on a round's groups, own ones first."""
    settings = trainer.settings
    parts = in_updates(len(groups), groups_per_update(settings, trainer.optimizer.steps))
    plausible = [1.0] * len(groups)
    batches: list[Batch] = []
    figures: list[UpdateFigures] = []
    for part in parts:
        tokens = trainer.memory.micro_batch_tokens()
        batch = make_batch(trainer.policy, [groups[place] for place in part], settings, tokens)
        batches.append(batch)
        figures.append(update(trainer, batch))
        for place, share in zip(part, figures[-1].plausible, strict=True):
            plausible[place] = share
    trainer.memory.most_tokens.passed()
    trained = [each for each, batch in zip(figures, batches, strict=True) if batch.micro_batches] or figures
    return RoundFigures(
        updates=len(parts),
        loss=fmean([each.loss for each in trained]),
        gradient_norm=fmean([each.gradient_norm for each in trained]),
        clip_fraction=fmean([each.clip_fraction for each in trained]),
        kl=fmean([each.kl for each in trained]),
        skipped=sum(each.skipped for each in figures),
        plausible=tuple(plausible),
        completions=sum(batch.completions for batch in batches),
        tokens=sum(batch.tokens for batch in batches),
    )


def in_updates(groups: int, per_update: float) -> list[range]:
    """Return the groups that each update takes: every n-th, so that each has its part of the own
    ones, which come first."""
    updates = max(1, round(groups / per_update)) if per_update else 1
    return [range(first, groups, updates) for first in range(min(updates, max(groups, 1)))]
