"""The bodies that an envelope may carry. Text only: never token ids, weights, gradients or pickles.

A kind of body is one class, which packs and reads itself, and one line of `BODIES`. `to_array`
gives the array of the wire, `from_array` reads a decoded one and raises ProtocolError ("schema").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from protocols import fields
from protocols.codec import decode, encode
from protocols.limits import (
    HASH_BYTES,
    MAX_BODY_BYTES,
    MAX_COMPLETIONS,
    MAX_ENVELOPE_BYTES,
    MAX_GROUPS,
    MAX_INLINE_BODY_BYTES,
    MAX_INTEGER,
    MAX_REWARD,
    MAX_TEXT_BYTES,
)
from protocols.reasons import ProtocolError, Reason
from protocols.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PolicyTag:
    """Which policy produced a completion.

    `digest` is the SHA-256 of its weights (32 bytes), `step` its optimizer steps since the base
    model.
    """

    model: str
    digest: bytes
    step: int

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [self.model, self.digest, self.step]

    @classmethod
    def from_array(cls, value: Any) -> PolicyTag:
        """From a decoded array. Raises ProtocolError ("schema")."""
        model, digest, step = fields.array(value, "policy", 3, 3)
        return cls(
            fields.name(model, "policy.model", fields.MODEL),
            fields.binary(digest, "policy.digest", HASH_BYTES),
            fields.integer(step, "policy.step"),
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer, exactly as decoded.

    `finished` is True when the policy ended by itself (end of sequence) and False at the length
    cap. `tokens` counts the sampled tokens, end of sequence included. `logprob` is the sum of their
    log-probabilities (nats) under the sampling policy.
    """

    text: str
    finished: bool
    tokens: int
    logprob: float

    def to_array(self) -> list[Any]:
        """As it stands on the wire, in the store and between processes.

        `Completion(*array)` reads it unchecked, for arrays of our own.
        """
        # Adding 0.0 turns integers into floats and takes the sign off a zero.
        return [self.text, self.finished, self.tokens, self.logprob + 0.0]

    @classmethod
    def from_array(cls, value: Any) -> Completion:
        """From a decoded array of a peer. Raises ProtocolError ("schema")."""
        text, finished, tokens, logprob = fields.array(value, "completion", 4, 4)
        return cls(
            fields.text(text, "completion.text", MAX_TEXT_BYTES),
            fields.boolean(finished, "completion.finished"),
            fields.integer(tokens, "completion.tokens"),
            fields.number(logprob, "completion.logprob", -sys.float_info.max, 0.0),
        )


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """One task with all completions of one solver, which stay together for their advantages.

    `rendering` names how the solver saw the task ("prose" or "compact"). `rewards` is a claim by
    the signer, kept for audit and never used.
    """

    recipe: Recipe
    rendering: str
    policy: PolicyTag
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...]

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [
            self.recipe.to_array(),
            self.rendering,
            self.policy.to_array(),
            [completion.to_array() for completion in self.completions],
            [reward + 0.0 for reward in self.rewards],
        ]

    @classmethod
    def from_array(cls, value: Any) -> RolloutGroup:
        """From a decoded array. Raises ProtocolError ("schema")."""
        recipe, rendering, policy, completions, rewards = fields.array(value, "group", 5, 5)
        group = cls(
            Recipe.from_array(recipe),
            fields.name(rendering, "group.rendering", fields.RENDERING),
            PolicyTag.from_array(policy),
            tuple(map(Completion.from_array, fields.array(completions, "group.completions", 1, MAX_COMPLETIONS))),
            tuple(
                fields.number(reward, "reward", -MAX_REWARD, MAX_REWARD)
                for reward in fields.array(rewards, "group.rewards", 1, MAX_COMPLETIONS)
            ),
        )
        if len(group.completions) != len(group.rewards):
            raise fields.schema_error(f"{len(group.completions)} completions and {len(group.rewards)} rewards in one group")
        return group


@dataclass(frozen=True, slots=True)
class Share:
    """What one node publishes in one round.

    The signer proposed the indices `first_index .. first_index + count - 1` of `epoch` since its
    previous share; `groups` are those of them worth publishing. Consecutive shares of one epoch
    join without a gap.
    """

    round: int
    epoch: int
    first_index: int
    count: int
    groups: tuple[RolloutGroup, ...]

    max_inline_bytes: ClassVar[int] = MAX_INLINE_BODY_BYTES

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [self.round, self.epoch, self.first_index, self.count, [group.to_array() for group in self.groups]]

    @classmethod
    def from_array(cls, value: Any) -> Share:
        """From a decoded array. Raises ProtocolError ("schema")."""
        round_, epoch, first_index, count, groups = fields.array(value, "share", 5, 5)
        fields.integer(first_index, "share.first_index")
        share = cls(
            fields.integer(round_, "share.round"),
            fields.integer(epoch, "share.epoch"),
            first_index,
            fields.integer(count, "share.count", 0, MAX_INTEGER - first_index),
            tuple(map(RolloutGroup.from_array, fields.array(groups, "share.groups", 0, MAX_GROUPS))),
        )
        least = first_index
        for group in share.groups:
            if group.recipe.epoch != epoch:
                raise fields.schema_error(f"a group of epoch {group.recipe.epoch} in a share of epoch {epoch}")
            if not least <= group.recipe.index < first_index + count:
                raise fields.schema_error(f"task index {group.recipe.index} is out of order or outside the share's own range")
            least = group.recipe.index + 1
        return share


@dataclass(frozen=True, slots=True)
class Announce:
    """Stands for the body of a share that is too large to gossip, and is pulled by who wants it.

    Gives that body's SHA-256 (32 bytes) and size in bytes.
    """

    body_hash: bytes
    body_bytes: int

    max_inline_bytes: ClassVar[int] = MAX_INLINE_BODY_BYTES

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [self.body_hash, self.body_bytes]

    @classmethod
    def from_array(cls, value: Any) -> Announce:
        """From a decoded array. Raises ProtocolError ("schema")."""
        body_hash, body_bytes = fields.array(value, "announce", 2, 2)
        return cls(
            fields.binary(body_hash, "announce.body_hash", HASH_BYTES),
            fields.integer(body_bytes, "announce.body_bytes", 1, MAX_BODY_BYTES),
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """Two envelopes to which their signer gave one sequence number (`protocols.proof`).

    `one` is the smaller in the order of their bytes.
    """

    one: bytes
    other: bytes

    max_inline_bytes: ClassVar[int] = MAX_ENVELOPE_BYTES

    def to_array(self) -> list[Any]:
        """As it stands on the wire."""
        return [self.one, self.other]

    @classmethod
    def from_array(cls, value: Any) -> Proof:
        """From a decoded array. Raises ProtocolError ("schema")."""
        one, other = fields.array(value, "proof", 2, 2)
        if type(one) is not bytes or type(other) is not bytes or not one < other:
            raise fields.schema_error("a proof is two envelopes in ascending order of their bytes")
        return cls(one, other)


class Kind(IntEnum):
    """What an envelope's body is."""

    SHARE = 1
    ANNOUNCE = 2
    PROOF = 3


Body = Share | Announce | Proof

# A body of a kind takes at most its class's `max_inline_bytes` in an envelope.
BODIES: Mapping[int, type[Body]] = {Kind.SHARE: Share, Kind.ANNOUNCE: Announce, Kind.PROOF: Proof}


def kind_of(body: Body) -> Kind:
    """The kind under which a body travels."""
    return next(kind for kind in Kind if BODIES[kind] is type(body))


def pack_body(body: Body) -> bytes:
    """The canonical bytes of a body. Raises ProtocolError for what a peer would refuse."""
    packed = encode(body.to_array())
    unpack_body(kind_of(body), packed)  # nothing is published that we would refuse ourselves
    return packed


def unpack_body(kind: int, data: bytes) -> Body:
    """The body that the bytes spell.

    `check_share` and `check_proof` tell whether its signer may say so.

    Raises ProtocolError: "kind", "too-large", "malformed", "not-canonical", "schema", checked in
    this order.
    """
    if kind not in BODIES:
        raise ProtocolError(Reason.KIND, f"body kind {kind} is not known to this version")
    return BODIES[kind].from_array(decode(data, MAX_BODY_BYTES))


def unpack_share(data: bytes) -> Share:
    """The share that the bytes spell, such as an announced one. Raises as `unpack_body` does."""
    return Share.from_array(decode(data, MAX_BODY_BYTES))


def check_share(share: Share, signer: bytes) -> None:
    """In this version a node shares only what it proposed. Raises ProtocolError ("proposer")."""
    for group in share.groups:
        if group.recipe.proposer != signer:
            raise ProtocolError(Reason.PROPOSER, f"task {group.recipe.index} was proposed by another key than the signer's")
