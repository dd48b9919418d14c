"""The figures of one simulated node, taken when its time is over."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.envelope import open_envelope, share_in
from protocols.peer_id import peer_id, public_key
from swarm.events import RoundFinished
from swarm.learner.loop import tasks_per_round
from swarm.node.node import Node
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup
from swarm.roles.held_out_accuracy import Examined
from swarm.sim.attacks import ATTACKS
from swarm.sim.weather import Stay

# Own rollouts of this many rounds, the first and the last of a node's stay, tell what its policy
# says by itself.
WINDOW_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Own training completions of some rounds: their number, tokens, and those with a pattern."""

    completions: int
    tokens: int
    patterned: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Regard:
    """A node's view of a signer: whether it is heard and established; credit in minutes."""

    heeded: bool
    established: bool
    credit: float


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One node's stay. Before it and after it the node answered all held-out tasks.

    `written` are the envelopes of its log (id → groups), and `held` the ids of the foreign ones
    that it has. `admitted` counts groups by signer, `refused_from` refusals by signer and reason;
    `refused` also counts refusals without a signer to blame. `rollbacks` counts returns to a
    checkpoint. `regards` are of every signer of an admitted or refused group.
    """

    stay: Stay
    last: bool
    peer_id: str
    rounds: tuple[RoundFinished, ...]
    before: Examined
    after: Examined
    early: Rollouts
    late: Rollouts
    shared: int
    refused: Mapping[str, int]
    refused_from: Mapping[tuple[str, str], int]
    rollbacks: int
    admitted: Mapping[str, int]
    regards: Mapping[str, Regard]
    written: Mapping[bytes, int]
    held: frozenset[bytes]
    payload_bytes: int
    wire_bytes: int
    weights: bytes
    log: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """The events of a node's rounds, refusals and returns to a checkpoint, heard from outside."""

    rounds: Mapping[int, RoundFinished]
    refused_from: Mapping[tuple[str, str], int]
    rollbacks: int


async def result_of(
    node: Node,
    stay: Stay,
    heard: Heard,
    before: Examined,
    *,
    last: bool,
) -> NodeResult:
    """Measure a node that has done its rounds and is still open; `after` is `before` for now."""
    network = node.exchange.uplink.network
    assert network is not None  # noqa: S101 - the run would have failed before
    traffic, admission = network.statistics(), node.exchange.admission.statistics()
    own = await node.pool.run(lambda store: store.groups(limit=2**31, signer=node.context.identity.public_key))
    completed = [group for _, _, group in reversed(own)]
    window = min(WINDOW_ROUNDS, max(1, stay.rounds // 2)) * tasks_per_round(node.context.config)
    written = await written_by(node)
    admitted = await node.pool.run(_admitted)
    signers = sorted({*admitted, *(signer for signer, _ in heard.refused_from if signer)})
    return NodeResult(
        stay=stay,
        last=last,
        peer_id=node.context.identity.peer_id,
        rounds=tuple(heard.rounds[number] for number in sorted(heard.rounds)),
        before=before,
        after=before,
        early=_rollouts(completed[:window]),
        late=_rollouts(completed[-window:]),
        shared=sum(written.values()),
        refused=admission.refused,
        refused_from=dict(heard.refused_from),
        rollbacks=heard.rollbacks,
        admitted=admitted,
        regards={signer: _regard(node, signer) for signer in signers},
        written=written,
        held=await held_by(node),
        payload_bytes=traffic.payload_bytes_received,
        wire_bytes=traffic.wire_bytes_sent,
        weights=node.learner.policy.tag.digest,
        log=hashlib.sha256(b"".join(written)).digest(),
    )


async def written_by(node: Node) -> dict[bytes, int]:
    """Return the ids of a node's own log in order, and how many groups each envelope carries."""
    entries = await node.pool.run(lambda store: list(store.own_log()))
    written = {}
    for entry in entries:
        envelope = open_envelope(entry.envelope, node.context.manifest.id)
        share = share_in(envelope, entry.body)
        written[entry.id] = 0 if share is None else len(share.groups)
    return written


async def held_by(node: Node) -> frozenset[bytes]:
    """Return the ids of the foreign envelopes that a node holds."""
    rows = await node.pool.run(lambda store: store.rows("SELECT id FROM envelopes WHERE own = 0"))
    return frozenset(bytes(row[0]) for row in rows)


def _regard(node: Node, signer: str) -> Regard:
    standing, key, now_ms = node.exchange.admission.standing, public_key(signer), node.context.now_ms()
    return Regard(standing.good(key, now_ms), standing.established(key, now_ms), standing.credit(key, now_ms))


def _admitted(store: Store) -> dict[str, int]:
    rows = store.rows("SELECT signer, COUNT(*) FROM groups WHERE own = 0 GROUP BY signer ORDER BY signer")
    return {peer_id(bytes(signer)): count for signer, count in rows}


def _rollouts(groups: Sequence[ScoredGroup]) -> Rollouts:
    completions = [completion for group in groups for completion in group.completions]
    patterned = {
        name: sum(attack.pattern(each.text, group.task.answer) for group in groups for each in group.completions)
        for name, attack in ATTACKS.items()
        if attack.pattern is not None
    }
    return Rollouts(len(completions), sum(completion.tokens for completion in completions), patterned)


def digest_of(results: Sequence[NodeResult]) -> str:
    """Return the SHA-256 over every node's final weights and own log, in order."""
    whole = hashlib.sha256(b"swarmd sim digest\0")
    for result in results:
        whole.update(result.weights + result.log)
    return whole.hexdigest()


def zero_advantage_share(rounds: Sequence[RoundFinished]) -> float | None:
    """Return the share of proposed groups whose rewards were all equal; None without any group."""
    proposed = sum(each.proposed for each in rounds)
    return 1 - sum(each.informative for each in rounds) / proposed if proposed else None


def total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts by name."""
    return dict(sorted(sum((Counter(each) for each in counts), Counter[str]()).items()))
