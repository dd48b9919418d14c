"""The frozen records between the stages of a node (see ARCHITECTURE.md, "The one path")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.messages import Completion, PolicyTag
from protocols.reasons import Reason
from protocols.recipe import Recipe


class Turn(NamedTuple):
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


Conversation = tuple[Turn, ...]
# A policy continues a text as it stands, or a conversation.
Prompt = str | Conversation


def as_text(prompt: Prompt) -> str:
    """Return a prompt as one text, in which the turns of a conversation are lines."""
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)


@dataclass(frozen=True, slots=True)
class Task:
    """scorer → policy: a recipe and the task it rebuilds to.

    `prompts` maps renderings ("prose", "compact", …) to texts. `solutions` maps renderings to a
    right completion; only the node that built the task knows them.
    """

    recipe: Recipe
    seed: int
    prompts: Mapping[str, str] = field(hash=False)
    answer: str
    solutions: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """policy → solver: one completion of the own policy, with the exact tokens sampled.

    The end of sequence is among them.
    """

    completion: Completion
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SolvedGroup:
    """solver → evaluator: one task with all G samples of the own policy."""

    task: Task
    rendering: str
    policy: PolicyTag
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """evaluator or admission → pool → sampler: a group with its rewards.

    The rewards are from this node's own verifier, never the sender's. `signer` is the solver's
    public key (32 bytes); `envelope` the id (32 bytes) of the envelope that carried it, empty for
    an own group that was not published; `received_ms` this node's clock at admission (ms since
    1970). `token_ids` are kept for own groups only: foreign text is re-encoded under the own
    policy.
    """

    task: Task
    rendering: str
    policy: PolicyTag
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...]
    signer: bytes
    envelope: bytes
    received_ms: int
    token_ids: tuple[tuple[int, ...], ...] | None = None

    @property
    def reward_mean(self) -> float:
        """Mean reward of the completions, the group's pass rate where rewards are 0 or 1."""
        return sum(self.rewards) / len(self.rewards)

    @property
    def informative(self) -> bool:
        """Whether the rewards differ. Equal ones have zero advantage and teach nothing."""
        return min(self.rewards) != max(self.rewards)


@dataclass(frozen=True, slots=True)
class Refusal:
    """admission → pool: one refused message, or its group of the task `item`.

    `envelope` is the id, empty for bytes that did not open; `evidence` the message, if it proves
    something.
    """

    signer: bytes
    reason: Reason
    envelope: bytes = b""
    item: int | None = None
    evidence: bytes | None = None


@dataclass(frozen=True, slots=True)
class TrainingGroup:
    """sampler → policy: one group to train on.

    `weights` (one per completion, 0 leaves it out) multiply the advantages. Tokens that the policy
    gives less than `min_probability` are left out, and completions with many such tokens; 0 trains
    on all. Completions of more than `max_tokens` by the policy's own tokenizer are left out; 0
    takes any length.
    """

    prompt: Prompt
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...]
    weights: tuple[float, ...]
    foreign: bool
    token_ids: tuple[tuple[int, ...], ...] | None = None
    min_probability: float = 0.0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TrainReport:
    """policy → loop: the figures of a round's `updates`.

    Norms and losses are means over the steps; `tokens` were trained on. `skipped` counts steps that
    were not applied, because their loss or gradient was not finite. `plausible` is per group the
    share of its tokens that passed `min_probability`; 1 for a group without anything to train on,
    and 0 where no completion could be read or all were too long.
    `out_of_memory` counts how often the device ran out of memory and the work was done again in
    smaller parts.
    """

    tag: PolicyTag
    loss: float
    gradient_norm: float
    clip_fraction: float
    kl: float
    completions: int
    tokens: int
    seconds: float
    updates: int = 1
    skipped: int = 0
    plausible: tuple[float, ...] = ()
    out_of_memory: int = 0
