"""A fair order of signers' rows: the first are drawn, and kept when there is no room for all.

Rows are ranked within their signer first: its newest row takes its first turn. Then the first turns
of all signers stand before their second ones, so that nobody gains a place by numbers. That is fair
among signers, and unfair to the few against a thousand identities. Established signers are
therefore ranked apart, and newcomers get a quarter of the places as soon as anybody is established.

With `SUM(bytes)` in the place of `ROW_NUMBER()` the same holds for bytes instead of rows.
"""

from __future__ import annotations

import json
from collections.abc import Collection

# One in this many places is for newcomers, once there are established signers.
NEWCOMERS_PART = 4


def ranking(rows: str, measure: str, newest: str) -> str:
    """The beginning of a statement: its table `placed` is the query `rows` with their ranks.

    `rows` is a query with a column `signer`, `newest` the terms that order it from its newest row
    on. Adds the columns `known` (1 for established signers), `turn` (the row's rank within its
    signer) and `place` (its rank among established signers, or among newcomers), both counted by
    `measure`.
    """
    return f"""
        WITH ranked AS (
            SELECT *, hex(signer) IN (SELECT value FROM json_each(:established)) AS known,
                {measure} OVER (PARTITION BY signer ORDER BY {newest}) AS turn
            FROM ({rows})
        ),
        placed AS (SELECT *, {measure} OVER (PARTITION BY known ORDER BY turn, {newest}) AS place FROM ranked)
        """  # noqa: S608 - the parts are constants of this room, no value is put in


def values_of(places: int, established: Collection[bytes]) -> dict[str, object]:
    """Values for a statement with `ranking`: `places` in all, and the newcomers' part of them."""
    return {
        "established": json.dumps([signer.hex().upper() for signer in sorted(established)]),
        "places": places,
        "newcomers": places // NEWCOMERS_PART if established else places,
    }
