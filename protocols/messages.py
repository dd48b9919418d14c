"""The records that travel inside an envelope's body. Text only: never token ids, weights, gradients or pickles."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from protocols import fields
from protocols.codec import decode, encode
from protocols.limits import (
    HASH_BYTES,
    MAX_BODY_BYTES,
    MAX_COMPLETIONS,
    MAX_GROUPS,
    MAX_INTEGER,
    MAX_REWARD,
    MAX_TEXT_BYTES,
)
from protocols.reasons import ProtocolError, Reason
from protocols.recipe import Recipe


class Kind(IntEnum):
    """What an envelope's body is."""

    SHARE = 1
    ANNOUNCE = 2
    PROOF = 3


@dataclass(frozen=True, slots=True)
class PolicyTag:
    """Which policy produced a completion: model name, SHA-256 of its weights (32 bytes), optimizer steps since the base model."""

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


@dataclass(frozen=True, slots=True)
class Proof:
    """Two envelopes, as they travelled, that their signer gave one sequence number (`protocols.proof`); ascending bytes."""

    one: bytes
    other: bytes


Body = Share | Announce | Proof


def kind_of(body: Body) -> Kind:
    """The kind under which a body travels."""
    match body:
        case Share():
            return Kind.SHARE
        case Announce():
            return Kind.ANNOUNCE
        case Proof():
            return Kind.PROOF


def pack_body(body: Body) -> bytes:
    """The canonical bytes of a body. Raises ProtocolError for what a peer would refuse."""
    if isinstance(body, Share):
        groups = [_group_array(group) for group in body.groups]
        packed = encode([body.round, body.epoch, body.first_index, body.count, groups])
    elif isinstance(body, Announce):
        packed = encode([body.body_hash, body.body_bytes])
    else:
        packed = encode([body.one, body.other])
    unpack_body(kind_of(body), packed)  # nothing is published that we would refuse ourselves
    return packed


def unpack_body(kind: int, data: bytes) -> Body:
    """The body that the bytes spell. `check_share` and `check_proof` tell whether its signer may say so.

    Raises ProtocolError: "kind", "too-large", "malformed", "not-canonical", "schema", checked in this order.
    """
    if kind == Kind.SHARE:
        return _share(decode(data, MAX_BODY_BYTES))
    if kind == Kind.ANNOUNCE:
        return _announce(decode(data, MAX_BODY_BYTES))
    if kind == Kind.PROOF:
        return _proof(decode(data, MAX_BODY_BYTES))
    raise ProtocolError(Reason.KIND, f"body kind {kind} is not known to this version")


def check_share(share: Share, signer: bytes) -> None:
    """In this version a node shares only what it proposed. Raises ProtocolError ("proposer")."""
    for group in share.groups:
        if group.recipe.proposer != signer:
            raise ProtocolError(Reason.PROPOSER, f"task {group.recipe.index} was proposed by another key than the signer's")


def _group_array(group: RolloutGroup) -> list[Any]:
    policy = group.policy
    return [
        group.recipe.to_array(),
        group.rendering,
        [policy.model, policy.digest, policy.step],
        # Adding 0.0 turns integers into floats and takes the sign off a zero.
        [[answer.text, answer.finished, answer.tokens, answer.logprob + 0.0] for answer in group.completions],
        [reward + 0.0 for reward in group.rewards],
    ]


def _announce(value: Any) -> Announce:
    body_hash, body_bytes = fields.array(value, "announce", 2, 2)
    return Announce(
        fields.binary(body_hash, "announce.body_hash", HASH_BYTES),
        fields.integer(body_bytes, "announce.body_bytes", 1, MAX_BODY_BYTES),
    )


def _proof(value: Any) -> Proof:
    one, other = fields.array(value, "proof", 2, 2)
    if type(one) is not bytes or type(other) is not bytes or not one < other:
        raise fields.schema_error("a proof is two envelopes in ascending order of their bytes")
    return Proof(one, other)


def _share(value: Any) -> Share:
    round_, epoch, first_index, count, groups = fields.array(value, "share", 5, 5)
    fields.integer(first_index, "share.first_index")
    share = Share(
        fields.integer(round_, "share.round"),
        fields.integer(epoch, "share.epoch"),
        first_index,
        fields.integer(count, "share.count", 0, MAX_INTEGER - first_index),
        tuple(_group(group) for group in fields.array(groups, "share.groups", 0, MAX_GROUPS)),
    )
    least = first_index
    for group in share.groups:
        if group.recipe.epoch != epoch:
            raise fields.schema_error(f"a group of epoch {group.recipe.epoch} in a share of epoch {epoch}")
        if not least <= group.recipe.index < first_index + count:
            raise fields.schema_error(f"task index {group.recipe.index} is out of order or outside the share's own range")
        least = group.recipe.index + 1
    return share


def _group(value: Any) -> RolloutGroup:
    recipe, rendering, policy, completions, rewards = fields.array(value, "group", 5, 5)
    group = RolloutGroup(
        Recipe.from_array(recipe),
        fields.name(rendering, "group.rendering", fields.RENDERING),
        _policy(policy),
        tuple(_completion(item) for item in fields.array(completions, "group.completions", 1, MAX_COMPLETIONS)),
        tuple(
            fields.number(reward, "reward", -MAX_REWARD, MAX_REWARD)
            for reward in fields.array(rewards, "group.rewards", 1, MAX_COMPLETIONS)
        ),
    )
    if len(group.completions) != len(group.rewards):
        raise fields.schema_error(f"{len(group.completions)} completions and {len(group.rewards)} rewards in one group")
    return group


def _policy(value: Any) -> PolicyTag:
    model, digest, step = fields.array(value, "policy", 3, 3)
    return PolicyTag(
        fields.name(model, "policy.model", fields.MODEL),
        fields.binary(digest, "policy.digest", HASH_BYTES),
        fields.integer(step, "policy.step"),
    )


def _completion(value: Any) -> Completion:
    text, finished, tokens, logprob = fields.array(value, "completion", 4, 4)
    return Completion(
        fields.text(text, "completion.text", MAX_TEXT_BYTES),
        fields.boolean(finished, "completion.finished"),
        fields.integer(tokens, "completion.tokens"),
        fields.number(logprob, "completion.logprob", -sys.float_info.max, 0.0),
    )
