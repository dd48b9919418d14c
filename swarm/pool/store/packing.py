"""Groups as bytes in the store: MessagePack of plain values.

They stay on this machine, so they carry token ids; the wire has its own form.
"""

from __future__ import annotations

import msgpack

from protocols.messages import Completion, PolicyTag
from protocols.recipe import Recipe
from swarm.records import ScoredGroup, Task


def pack_group(group: ScoredGroup) -> bytes:
    """A group as bytes."""
    task = group.task
    packed: bytes = msgpack.packb(
        [
            task.recipe.to_array(),
            [task.seed, dict(task.prompts), task.answer],
            group.rendering,
            group.policy.to_array(),
            [completion.to_array() for completion in group.completions],
            group.rewards,
            [group.signer, group.envelope, group.received_ms],
            group.token_ids,
        ]
    )
    return packed


def unpack_group(data: bytes) -> ScoredGroup:
    """The group that `pack_group` made these bytes of."""
    recipe, task, rendering, policy, completions, rewards, origin, token_ids = msgpack.unpackb(data)
    environment, version, parameters, epoch, proposer, index = recipe
    pairs = tuple((name, value) for name, value in parameters)
    seed, prompts, answer = task
    signer, envelope, received_ms = origin
    return ScoredGroup(
        task=Task(Recipe(environment, version, pairs, epoch, proposer, index), seed, prompts, answer),
        rendering=rendering,
        policy=PolicyTag(*policy),
        completions=tuple(Completion(*each) for each in completions),
        rewards=tuple(rewards),
        signer=signer,
        envelope=envelope,
        received_ms=received_ms,
        token_ids=None if token_ids is None else tuple(tuple(each) for each in token_ids),
    )
