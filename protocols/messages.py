"""The records that travel inside an envelope's body. Text only: never token ids, weights, gradients or pickles."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PolicyTag:
    """Which policy produced a completion: model name, SHA-256 of its weights (32 bytes), optimizer steps taken since the base model."""

    model: str
    digest: bytes
    step: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer, exactly as decoded.

    `finished` is true when the policy ended by itself (end of sequence) and false at the length cap. `tokens` counts the
    sampled tokens, end of sequence included. `logprob` is the sum of their log-probabilities (nats) under the sampling policy.
    """

    text: str
    finished: bool
    tokens: int
    logprob: float


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """One task with all completions of one solver; it stays whole everywhere, since advantages mean something only inside it.

    `rendering` names how the solver saw the task ("prose" or "compact"). `rewards` is a claim by the signer, kept for
    audit and never used.
    """

    recipe: Recipe
    rendering: str
    policy: PolicyTag
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What one node publishes in one round.

    The signer proposed the indices `first_index .. first_index + count - 1` of `epoch` since its previous share; `groups`
    are those among them worth publishing. Consecutive shares of one epoch join without a gap.
    """

    round: int
    epoch: int
    first_index: int
    count: int
    groups: tuple[RolloutGroup, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Stands for a body too large to gossip: its SHA-256 (32 bytes) and its size in bytes; it is pulled by those who want it."""

    body_hash: bytes
    body_bytes: int
