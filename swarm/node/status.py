"""What a running node says of itself when its operator asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from protocols.invite import Invite
from protocols.limits import MAX_ADDRESSES
from protocols.peer_id import peer_id, public_key
from swarm.errors import NetworkError
from swarm.learner.guest import local
from swarm.net.network import PeerRecord
from swarm.node.node import Node
from swarm.pool.store import proofs

# Of the signers that are no peers, those with the most credit or points.
SIGNERS_SHOWN = 100


async def status(node: Node) -> dict[str, Any]:
    """The fields of `swarmd status --json`."""
    tag, network = node.policy.tag, node.network
    admission = node.admission.statistics()
    refused = Counter(await node.pool.run(lambda store: store.refusals())) + Counter(admission.screened)
    pool = await node.pool.run(lambda store: store.statistics())
    now_ms = node.clock.now_ms()
    return {
        "peer_id": node.identity.peer_id,
        "addresses": list(network.addresses()) if network else [],
        "swarm_id": node.manifest.swarm_id,
        "swarm_name": node.manifest.name,
        "state": node.activity.state,
        "paused": pause_of(node),
        "round": node.round,
        "peers": node.connected_peers,
        "reward_mean": node.reward_mean,
        "groups_proposed": node.totals["groups_proposed"],
        "groups_informative": node.totals["groups_informative"],
        "groups_shared": node.totals["groups_shared"],
        "groups_trained_own": node.totals["groups_trained_own"],
        "groups_trained_foreign": node.totals["groups_trained_foreign"],
        "generated_tokens": node.totals["generated_tokens"],
        "pass_rates": node.proposer.curriculum.pass_rates(),
        "proposing": node.proposer.curriculum.proposing(),
        "refused": dict(sorted(refused.items())),
        "policy": {
            "model": tag.model,
            "step": tag.step,
            "digest": tag.digest.hex(),
            "pid": node.policy.pid,
            "out_of_memory": node.policy.statistics().out_of_memory,
        },
        "pool": asdict(pool),
        "network": asdict(network.statistics()) if network else None,
        "admission": asdict(admission),
        "beacon": asdict(node.beacon.statistics()),
        "not_sharing": node.log.silent,
        "log_sync": asdict(node.sync.statistics()),
        "equivocators": len(await node.pool.run(proofs.equivocators)),
        "standing": asdict(node.admission.standing.statistics(now_ms)),
        "freshness": asdict(node.freshness.statistics()),
        "guest": asdict(node.guest.statistics()),
        "time": node.activity.statistics(),
        "uptime_s": round((now_ms - node.started_ms) / 1000, 1),
    }


def pause_of(node: Node) -> dict[str, Any] | None:
    """Why the node computes nothing, until when, and whether that has begun: a round that runs is finished first."""
    pause = node.guest.reason()
    if pause is None:
        return None
    until = None if pause.until_ms is None else local(pause.until_ms)
    return {"why": pause.why, "until": until, "in_effect": node.guest.paused}


def peers(node: Node) -> list[dict[str, Any]]:
    """The fields of `swarmd peers --json`, connected peers first, last those known only by what they signed."""
    if node.network is None:
        return []
    now_ms = node.clock.now_ms()
    cut_off = {cut.peer_id: cut for cut in node.network.cut_off()}
    known = node.network.peers()
    standing = node.admission.standing
    heard_of = {*cut_off, *map(peer_id, standing.notable(SIGNERS_SHOWN, now_ms))}
    strangers = [PeerRecord(name, ()) for name in heard_of - {peer.peer_id for peer in known}]
    return [
        {
            "peer_id": peer.peer_id,
            "connected": peer.connected,
            "connected_s": None if peer.connected_since_ms is None else round((now_ms - peer.connected_since_ms) / 1000, 1),
            "direction": None if peer.inbound is None else ("inbound" if peer.inbound else "outbound"),
            "addresses": list(peer.addresses),
            "standing": asdict(standing.describe(public_key(peer.peer_id), now_ms)),
            "cut_off": asdict(cut_off[peer.peer_id]) if peer.peer_id in cut_off else None,
        }
        for peer in (*known, *sorted(strangers, key=lambda peer: peer.peer_id))
    ]


def invite(node: Node) -> dict[str, Any]:
    """An invite to this node's swarm, through this node. Raises `NetworkError` while it cannot be reached."""
    addresses = node.network.addresses()[:MAX_ADDRESSES] if node.network else ()
    if not addresses:
        raise NetworkError("the node has no address to be invited to yet; ask again in a moment")
    return {
        "invite": Invite(node.manifest.id, tuple(addresses)).to_string(),
        "swarm_id": node.manifest.swarm_id,
        "addresses": list(addresses),
    }
