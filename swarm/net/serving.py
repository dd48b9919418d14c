"""Answers peers' requests within bounds on size, number, rate and time, so that none hurts."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

import trio

from protocols.reasons import ProtocolError
from swarm.errors import NetworkError, SwarmdError
from swarm.net.guard import Guard
from swarm.net.network import Handler
from swarm.net.tally import Tally

MAX_RUNNING = 16  # handlers at once, over all peers
MAX_RUNNING_PER_PEER = 4  # handlers at once for one peer, so that slow answers leave room for others
MAX_WAITING_PER_PEER = 16  # requests of one peer that run or wait; more are refused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """One served protocol."""

    handler: Handler
    max_request_bytes: int


class Services:
    """The protocols that a node serves."""

    def __init__(self, tally: Tally, timeout_s: float, guard: Guard) -> None:
        self._tally = tally
        self._timeout_s = timeout_s
        self._guard = guard
        self._services: dict[str, Service] = {}
        self._slots = trio.CapacityLimiter(MAX_RUNNING)
        self._per_peer: Counter[str] = Counter()
        self._peer_slots: dict[str, trio.CapacityLimiter] = {}

    def add(self, protocol: str, handler: Handler, max_request_bytes: int) -> None:
        """Answer requests of `protocol` with `handler` from now on."""
        self._services[protocol] = Service(handler, max_request_bytes)

    def max_request_bytes(self, protocol: str) -> int:
        """Return the most bytes a request of `protocol` may have; 0 if it is not served."""
        service = self._services.get(protocol)
        return service.max_request_bytes if service else 0

    async def answer(self, peer_id: str, protocol: str, request: bytes) -> bytes:
        """Return the handler's answer.

        Raises `NetworkError` for a request that is refused, fails or takes too long.
        """
        service = self._services.get(protocol)
        if service is None or len(request) > service.max_request_bytes or self._per_peer[peer_id] >= MAX_WAITING_PER_PEER:
            self._tally["requests_refused"] += 1
            self._guard.refused(peer_id, "requests")
            raise NetworkError(f"refused a request of {len(request)} bytes for {protocol} from {peer_id}")
        self._per_peer[peer_id] += 1
        quota = self._guard.quota(peer_id)
        slots = self._peer_slots.setdefault(peer_id, trio.CapacityLimiter(MAX_RUNNING_PER_PEER))
        try:
            with trio.fail_after(self._timeout_s):
                # The next request waits for the quota that earlier answers have overdrawn.
                await trio.sleep(quota.requests.take() + quota.answer_bytes.take(0))
                async with slots, self._slots:
                    response = await service.handler(peer_id, request)
                quota.answer_bytes.take(len(response))
        except Exception as error:
            # A handler that fails on a peer's bytes must not end the node.
            self._tally["requests_refused"] += 1
            if not isinstance(error, SwarmdError | ProtocolError | trio.TooSlowError):
                self._tally["faults"] += 1
                logger.warning("the handler of %s failed on a request from %s", protocol, peer_id, exc_info=error)
            raise NetworkError(f"no answer for {protocol} to {peer_id}: {error!r}") from error
        finally:
            self._per_peer[peer_id] -= 1
            if not self._per_peer[peer_id]:
                del self._per_peer[peer_id], self._peer_slots[peer_id]
        self._tally["requests_served"] += 1
        return response
