"""Tells the network how this node rates its peers. A peer's id is made of its signing key, so its
groups decide."""

from __future__ import annotations

import math

import trio

from protocols.peer_id import public_key
from swarm.clock import Clock
from swarm.net.network import Network
from swarm.pool.standing.peer_scores import PeerScores

EVERY_S = 5.0
SILENCED = "standing: too many failed checks of what it signed"


async def judge_peers(standing: PeerScores, clock: Clock, network: Network) -> None:
    """Report each connected peer's score to the network every `EVERY_S` seconds, until cancelled.

    Points lower it; a silenced signer gets 0. Credit does not raise it: a mesh in which established
    peers prefer each other would leave newcomers among themselves.
    """
    while True:
        now_ms = clock.now_ms()
        for peer in network.peers():
            if peer.connected:
                signer = public_key(peer.peer_id)
                if standing.silenced(signer, now_ms):
                    network.judge(peer.peer_id, 0.0, SILENCED)
                else:
                    # A convicted signer too: it must hear why, and may only have lost its disk.
                    network.judge(peer.peer_id, math.exp2(-standing.points(signer, now_ms)))
        await trio.sleep(EVERY_S)
