"""The swarm's rules for one group, as far as the manifest alone decides: what admission refuses, and the audit looks at again."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.manifest import Manifest, permits
from protocols.messages import RolloutGroup
from protocols.reasons import Reason

REWARD_TOLERANCE = 1e-6


def forbidden(rules: Manifest, group: RolloutGroup) -> Reason | None:
    """Why the manifest refuses a group, or None."""
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
    """Whether claimed rewards are those of our verifier."""
    return len(claimed) == len(ours) and all(
        abs(claim - reward) <= REWARD_TOLERANCE for claim, reward in zip(claimed, ours, strict=True)
    )
