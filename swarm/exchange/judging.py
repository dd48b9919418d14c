"""What the node thinks of its peers' groups, told to the network: a peer's id is made of the key that it signs with."""

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
    """Every few seconds tell the network of each connected peer's standing: less for points, nothing for who is silenced.

    Only what was held against a peer counts here. Credit does not: a mesh in which the established prefer each other would
    leave newcomers among themselves.
    """
    while True:
        now_ms = clock.now_ms()
        for peer in network.peers():
            if peer.connected:
                signer = public_key(peer.peer_id)
                if standing.silenced(signer, now_ms):
                    network.judge(peer.peer_id, 0.0, SILENCED)
                else:
                    # A convicted signer too: it is to hear why nobody listens, and may have lost no more than its disk.
                    network.judge(peer.peer_id, math.exp2(-standing.points(signer, now_ms)))
        await trio.sleep(EVERY_S)
