"""Passes on the proofs of equivocation held here, so that everybody knows the signers."""

from __future__ import annotations

import logging
from random import Random

import trio

from protocols.messages import Proof
from protocols.reasons import ProtocolError
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.exchange.own_log import OwnLog
from swarm.net.network import Network
from swarm.pool.pool import Pool
from swarm.pool.store import proof_table

logger = logging.getLogger(__name__)

# All who hear both envelopes of an equivocation find the proof at about the same time. Each waits a
# random while before it publishes; the first envelope silences the others, as in scalable reliable
# multicast (Floyd et al., 1995).
PROOF_WAIT_S = (2.0, 12.0)
# A bound on proofs in the own log: it is kept for good, and anybody who makes keys can make proofs.
PROOF_BYTES_PER_S = 2048


async def publish_proofs(context: Context, pool: Pool, log: OwnLog, network: Network) -> None:
    """Put each proof that no log holds yet into the own log, and publish it, until cancelled."""
    random = Random(f"proofs/{context.seed}")
    while True:
        await trio.sleep(random.uniform(*PROOF_WAIT_S))
        if await pool.run(lambda store: proof_table.against(store, context.key)):
            log.fork()
        proof = await pool.run(proof_table.not_carried)
        if proof is not None and not log.silent:
            await publish_proof(pool, log, network, proof)
            await trio.sleep((len(proof.one) + len(proof.other)) / PROOF_BYTES_PER_S)


async def publish_proof(pool: Pool, log: OwnLog, network: Network, proof: Proof) -> None:
    """Sign one proof into the own log, unless that is silent, and publish it."""
    envelope, carrier = None, proof_table.CANNOT_TRAVEL
    async with log.one:
        if log.silent:
            return
        try:
            envelope = await log.append_other(proof)
            carrier = envelope.id
        except ProtocolError as error:
            # Two proofs under one number do not fit into a third; each node that saw both acts on
            # its own.
            logger.warning("a proof of equivocation cannot be passed on: %s", error)
    await pool.run(lambda store: proof_table.carried(store, proof, carrier))
    if envelope is not None:
        try:
            await network.publish(envelope.to_bytes())
        except NetworkError as error:
            logger.warning("a proof of equivocation was not published; peers will find it in this node's log: %s", error)
