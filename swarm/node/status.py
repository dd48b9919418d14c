"""A running node's answers to its operator: status, peers and invite."""

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
from swarm.pool.store import proof_table

# Most signers listed that are no peers: the ones with the most credit or points.
SIGNERS_SHOWN = 100


async def status(node: Node) -> dict[str, Any]:
    """Return the fields of `swarmd status --json`."""
    context, learner, exchange = node.context, node.learner, node.exchange
    tag, network = learner.policy.tag, exchange.uplink.network
    admission = exchange.admission.statistics()
    refused = Counter(await node.pool.run(lambda store: store.refusals())) + Counter(admission.screened)
    pool = await node.pool.run(lambda store: store.statistics())
    now_ms, curriculum = context.now_ms(), learner.roles.proposer.curriculum
    return {
        "peer_id": context.identity.peer_id,
        "addresses": list(exchange.uplink.addresses()),
        "swarm_id": context.manifest.swarm_id,
        "swarm_name": context.manifest.name,
        "state": learner.activity.state,
        "paused": pause_of(node),
        "round": learner.round,
        "peers": exchange.connected(),
        "reward_mean": learner.reward_mean,
        "cut_share": learner.cut.share,
        "groups_proposed": learner.totals["groups_proposed"],
        "tasks_passed_over": learner.totals["tasks_passed_over"],
        "groups_informative": learner.totals["groups_informative"],
        "groups_shared": learner.totals["groups_shared"],
        "groups_trained_own": learner.totals["groups_trained_own"],
        "groups_trained_foreign": learner.totals["groups_trained_foreign"],
        "generated_tokens": learner.totals["generated_tokens"],
        "pass_rates": curriculum.pass_rates(),
        "proposing": curriculum.proposing(),
        "refused": dict(sorted(refused.items())),
        "policy": {
            "model": tag.model,
            "step": tag.step,
            "digest": tag.digest.hex(),
            "pid": learner.policy.pid,
            "out_of_memory": learner.policy.statistics().out_of_memory,
        },
        "pool": asdict(pool),
        "network": asdict(network.statistics()) if network else None,
        "admission": asdict(admission),
        "beacon": asdict(exchange.beacon.statistics()),
        "not_sharing": exchange.log.silent,
        "log_sync": asdict(exchange.sync.statistics()),
        "equivocators": len(await node.pool.run(proof_table.equivocators)),
        "standing": asdict(exchange.admission.standing.statistics(now_ms)),
        "freshness": asdict(learner.freshness.statistics()),
        "guest": asdict(learner.guest.statistics()),
        "time": learner.activity.statistics(),
        "uptime_s": round((now_ms - node.started_ms) / 1000, 1),
    }


def pause_of(node: Node) -> dict[str, Any] | None:
    """Return why the node pauses, until when, and whether it has begun; None if it does not.

    A round under way is finished first.
    """
    pause = node.learner.guest.reason()
    if pause is None:
        return None
    until = None if pause.until_ms is None else local(pause.until_ms)
    return {"why": pause.why, "until": until, "in_effect": node.learner.guest.paused}


def peers(node: Node) -> list[dict[str, Any]]:
    """Return the fields of `swarmd peers --json`: connected peers first, mere signers last."""
    network = node.exchange.uplink.network
    if network is None:
        return []
    now_ms = node.context.now_ms()
    cut_off = {cut.peer_id: cut for cut in network.cut_off()}
    known = network.peers()
    standing = node.exchange.admission.standing
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
    """Return an invite to this node's swarm, through this node. Raises `NetworkError` while it has
    no address."""
    addresses = node.exchange.uplink.addresses()[:MAX_ADDRESSES]
    if not addresses:
        raise NetworkError("the node has no address to be invited to yet; ask again in a moment")
    return {
        "invite": Invite(node.context.manifest.id, addresses).to_string(),
        "swarm_id": node.context.manifest.swarm_id,
        "addresses": list(addresses),
    }
