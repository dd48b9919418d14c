"""Which foreign groups a sampler may choose among: the newest of every signer, so that nobody pushes others out by numbers.

Rows are ranked within their signer first (its newest is its first turn), then the signers' first turns stand before all second
ones. That is fair among signers, and so unfair to the few against a thousand identities: established signers therefore
have most of the places to themselves. 20,000 groups of 1,000 signers take about 0.15 s of CPU in the pool's thread, once a round.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from swarm.pool.store.store import Store

# Of the places, what newcomers may have once there are established signers.
NEWCOMERS_PART = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a sampler may know of a foreign group before it is loaded; `policy_age` counts its signer's updates since."""

    key: int
    signer: bytes
    environment: str
    reward_mean: float
    reward_best: float
    policy_age: int
    received_ms: int


def candidates(
    store: Store,
    *,
    max_uses: int,
    since_ms: int,
    max_policy_age: int,
    rendering: str,
    environments: Sequence[str],
    limit: int,
    old: Collection[bytes] = (),
) -> list[Candidate]:
    """Informative foreign groups trained on fewer than `max_uses` times, in an order that depends on their content only.

    `old` are the established signers: up to `limit` groups are theirs, and a quarter as many of everybody else's; without any
    established signer `limit` are of all.
    """
    marks = ",".join("?" * len(environments))
    rows = store.rows(
        # A bare column beside MAX is of the row that has it (SQLite's own rule): a signer's latest group tells its step,
        # not its highest one, since a node that was killed goes on from an earlier checkpoint.
        f"""
        WITH steps AS (
            SELECT signer, policy_step AS newest, MAX(received_ms), hex(signer) IN (SELECT value FROM json_each(?)) AS known
            FROM groups WHERE own = 0 GROUP BY signer
        ),
        ranked AS (
            SELECT key, groups.signer AS signer, environment, reward_mean, reward_best, MAX(newest - policy_step, 0) AS age,
                groups.received_ms AS received_ms, epoch, item, known, ROW_NUMBER() OVER (
                    PARTITION BY groups.signer ORDER BY groups.received_ms DESC, epoch DESC, item DESC
                ) AS turn
            FROM groups JOIN steps ON groups.signer = steps.signer
            WHERE own = 0 AND informative = 1 AND uses < ? AND groups.received_ms >= ? AND age <= ?
                AND rendering = ? AND environment IN ({marks})
        ),
        placed AS (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY known ORDER BY turn, received_ms DESC, signer, epoch, item) AS place
            FROM ranked
        )
        SELECT key, signer, environment, reward_mean, reward_best, age, received_ms FROM placed
        WHERE place <= CASE known WHEN 1 THEN ? ELSE ? END ORDER BY known DESC, place
        """,  # noqa: S608 - the only parts put together are question marks
        (
            json.dumps([signer.hex().upper() for signer in sorted(old)]), max_uses, since_ms, max_policy_age, rendering,
            *environments,
            limit, limit // NEWCOMERS_PART if old else limit,
        ),
    )  # fmt: skip
    return [Candidate(*row) for row in rows]
