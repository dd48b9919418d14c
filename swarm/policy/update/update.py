"""The policy update on one screen: group advantages in, one optimizer step per pass out.

It differs from plain GRPO (arXiv 2402.03300, equation 3):

- The batch mixes own and foreign groups. Foreign text has no log-probabilities under this policy,
  so the old ones are this policy's own as the update begins, for own text too: the ratio is exactly
  1 in the first pass, and no second model is kept.
- Clip-higher (DAPO, arXiv 2503.14476): the upper clip may be wider than the lower one.
- `loss_type` "dapo" averages over all tokens of the batch, so a long answer's tokens weigh as much
  as a short one's; "grpo" averages within each completion first.
- `scale_rewards` "none" does not divide the advantage by the group's standard deviation (Dr. GRPO,
  arXiv 2503.20783).
- A weight per completion multiplies its advantage. The KL penalty to the frozen base model is off
  by default; it is the k3 estimator times the ratio, whose gradient is that of the reverse KL
  (DeepSeek-V3.2, arXiv 2512.02556; TRL's default).
- The end-of-sequence token is trained like any other. Sequences that would add nothing to the
  gradient are never forwarded.
- Only plausible tokens of foreign text are trained on (plausibility.py). The others are taken out
  of the average as well, or else whoever sends strange text would make everybody's step smaller.
- No dropout. A step whose loss or gradient is not finite is left out and counted, never applied.
- Where memory runs out, the gradient is begun anew in smaller parts (accumulation.py); the step is
  the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.config.schema import TrainingSection
from swarm.policy.model.model import LanguageModel
from swarm.policy.model.prefix import completion_logprobs
from swarm.policy.update.accumulation import First, Part, in_smaller_parts, step
from swarm.policy.update.batch import Batch, MicroBatch
from swarm.policy.update.layout import packed_logprobs
from swarm.policy.update.plausibility import plausible
from swarm.policy.update.trainer import Trainer

# Below this part of the loss nothing but rounding is left to train on.
LEAST_PART = 1e-6


@dataclass(frozen=True, slots=True)
class UpdateFigures:
    """Means over the steps that were applied (0 without any), and the number of those left out.

    `plausible` is the share of each group's tokens that plausibility.py let through: 1 for a group
    without tokens, 0 where all its completions were left out unread.
    """

    loss: float
    gradient_norm: float
    clip_fraction: float
    kl: float
    skipped: int
    plausible: tuple[float, ...]


def update(trainer: Trainer, batch: Batch) -> UpdateFigures:
    """Make `training.num_iterations` optimizer steps on `batch`."""
    settings, temperature = trainer.settings, trainer.temperature
    parts = [Part(micro) for micro in batch.micro_batches]
    applied: list[tuple[float, float, float, float]] = []
    passes = settings.num_iterations if parts else 0

    def backward(part: Part) -> Tensor:
        """Add a part's gradient to that on the weights; return its loss, clipped tokens and KL,
        [3]."""
        micro = part.micro
        logprobs = micro_batch_logprobs(trainer.policy, micro, temperature)  # [B, T]
        if part.first is None:
            old = logprobs.detach()
            base = _reference_logprobs(trainer.reference, micro, temperature) if settings.beta > 0 else old
            part.first = First(old, base, plausible(old, micro.mask, micro.least))
        first = part.first
        loss, clipped, kl = token_losses(logprobs, first.old, first.base, micro.advantages, settings)  # each [B, T]
        total = (loss * micro.scale * first.trained).sum()
        (total * trainer.loss_scale.value).backward()  # type: ignore[no-untyped-call]
        return torch.stack([total.detach(), (clipped * micro.mask).sum(), (kl * micro.mask).sum()]).float().cpu()

    for _ in range(passes):
        parts, sums = in_smaller_parts(trainer, parts, backward)
        trainer.loss_scale.undo(weight for _, weight in trainer.policy.parameters)
        total_loss, clipped_tokens, kl_sum = sums.tolist()
        total_loss *= _undiluted(trainer, parts)
        norm = step(trainer) if sums.isfinite().all() else None
        trainer.loss_scale.stepped(finite=norm is not None)
        if norm is not None:
            applied.append((total_loss, norm, clipped_tokens / batch.tokens, kl_sum / batch.tokens))
    trainer.optimizer.clear()
    loss, norm, clip_fraction, kl = [sum(column) / len(applied) for column in zip(*applied, strict=True)] or [0.0] * 4
    return UpdateFigures(loss, norm, clip_fraction, kl, passes - len(applied), _plausible_shares(batch, parts))


def token_losses(
    logprobs: Tensor, old: Tensor, base: Tensor, advantages: Tensor, settings: TrainingSection
) -> tuple[Tensor, Tensor, Tensor]:
    """Return per token [B, T]: loss, whether the clip stopped the gradient, and KL to the base
    (nats).

    The log-probabilities are [B, T], the advantages [B, 1].
    """
    ratio = (logprobs - old).exp()
    clipped_ratio = ratio.clamp(1 - settings.epsilon, 1 + settings.epsilon_high)
    loss = -torch.min(ratio * advantages, clipped_ratio * advantages)
    stopped = torch.where(advantages > 0, ratio > 1 + settings.epsilon_high, (ratio < 1 - settings.epsilon) & (advantages < 0))
    if settings.beta == 0:
        return loss, stopped, torch.zeros_like(loss)
    difference = base - logprobs
    kl = ratio * (difference.exp() - difference - 1)  # k3: http://joschu.net/blog/kl-approx.html
    return loss + settings.beta * kl, stopped, kl.detach()


def micro_batch_logprobs(language_model: LanguageModel, micro: MicroBatch, temperature: float) -> Tensor:
    """Return the log-probability (nats) of every completion token [B, T], in the cheaper layout;
    both give the same numbers."""
    if micro.packing is not None:
        return packed_logprobs(language_model, micro.packing, micro.ids, micro.mask, temperature)
    return completion_logprobs(language_model, micro.prompts, micro.owners, micro.ids, micro.mask, temperature)


def _undiluted(trainer: Trainer, parts: list[Part]) -> float:
    """Divide the gradients by the part of the loss that is trained on, which is known only after
    the first pass; return the factor."""
    left_out = sum(float((part.micro.scale * (1 - part.first.trained)).sum()) for part in parts if part.first is not None)
    if not 0 < left_out < 1 - LEAST_PART:
        return 1.0
    for _, weight in trainer.policy.parameters:
        if weight.grad is not None:
            weight.grad.mul_(1 / (1 - left_out))
    return 1 / (1 - left_out)


def _plausible_shares(batch: Batch, parts: list[Part]) -> tuple[float, ...]:
    counts = torch.tensor([[0.0] * len(batch.unread), batch.unread])  # tokens let through, all tokens
    for part in parts:
        if part.first is not None:
            kept = torch.stack([part.first.trained.sum(1), part.micro.mask.sum(1)])
            counts.index_add_(1, torch.tensor(part.micro.groups), kept.float().cpu())
    return tuple((counts[0] / counts[1]).nan_to_num(nan=1.0).tolist())


def _reference_logprobs(reference: LanguageModel | None, micro: MicroBatch, temperature: float) -> Tensor:
    if reference is None:
        raise ValueError("beta > 0 needs the reference model")
    with torch.no_grad(), reference.original():
        return micro_batch_logprobs(reference, micro, temperature)
