"""The group advantage: how much better a completion did than the others of its group (GRPO, arXiv
2402.03300, section 4.1.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

# TRL's guard against division by zero; kept equal so that figures can be compared.
EPSILON = 1e-4


def group_advantages(rewards: Sequence[float], scale_rewards: str) -> list[float]:
    """Return one group's rewards minus their mean; "group" divides by their sample standard
    deviation, "none" does not (Dr. GRPO).

    A group whose rewards are all equal, or of one completion, has advantage 0 throughout.
    """
    if len(rewards) < 2 or min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = sum(rewards) / len(rewards)
    deviations = [reward - mean for reward in rewards]
    if scale_rewards == "none":
        return deviations
    spread = math.sqrt(sum(d * d for d in deviations) / (len(rewards) - 1))
    return [deviation / (spread + EPSILON) for deviation in deviations]
