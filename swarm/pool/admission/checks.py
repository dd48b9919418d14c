"""The rules for one group that the manifest alone decides: admission applies them, audit repeats
them."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.manifest import Manifest, permits
from protocols.messages import RolloutGroup
from protocols.reasons import Reason

REWARD_TOLERANCE = 1e-6


def forbidden(rules: Manifest, group: RolloutGroup) -> Reason | None:
    """Return why the manifest refuses a group, or None."""
    reason = permits(rules, group.recipe)
    if reason is not None:
        return reason
    if not rules.min_group_size <= len(group.completions) <= rules.max_group_size:
        return Reason.GROUP_SIZE
    if group.rendering not in rules.renderings:
        return Reason.RENDERING
    for completion in group.completions:
        if len(completion.text) > rules.max_completion_chars or completion.tokens > rules.max_completion_tokens:
            return Reason.COMPLETION_LENGTH
    return None


def agree(claimed: Sequence[float], ours: Sequence[float]) -> bool:
    """Return whether claimed rewards are those of our verifier."""
    return len(claimed) == len(ours) and all(
        abs(claim - reward) <= REWARD_TOLERANCE for claim, reward in zip(claimed, ours, strict=True)
    )
