"""Checks the network: ports, bootstrap peers, and the clock against peers' messages."""

from __future__ import annotations

import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from statistics import median
from time import time

import trio

from protocols.envelope import open_envelope
from protocols.manifest import Manifest, topic, topic_of
from protocols.reasons import ProtocolError
from swarm.clock import WallClock
from swarm.config.schema import Config
from swarm.doctor.finding import Finding, fail, ok, skipped, warn
from swarm.errors import NetworkError
from swarm.net.libp2p import open_libp2p
from swarm.net.network import Subscription, Verdict
from swarm.pool.admission.epochs import CLOCK_SKEW_MS

DIALLED_WITHIN_S = 8.0
LISTENS_S = 8.0  # for messages of peers, after one was reached
MESSAGES = 3  # enough to judge the clock by
KEEP_TRYING = "check that it runs, and both firewalls; the node keeps trying, and learns alone meanwhile"
ASK_AGAIN = "ask whoever invited you for another address, and join again"


def ports(config: Config, *, running: bool) -> Iterator[Finding]:
    """Judge whether the ports to listen on are free, or the daemon's own."""
    for address in config.network.listen:
        _, kind, host, protocol, port, *_ = [*address.split("/"), "", "", "", "", ""]
        if protocol != "tcp" or not port.isdigit() or kind not in ("ip4", "ip6"):
            yield fail("port", f"{address} is no address to listen on", "write network.listen like /ip4/0.0.0.0/tcp/4711")
        elif running:
            yield ok("port", f"the daemon listens on {address}; `swarmd status` shows the addresses it tells peers")
        elif (error := _bind(kind, host, int(port))) is not None:
            yield fail("port", f"cannot listen on {address}: {error}", "stop what uses it, or change network.listen")
        else:
            yield ok("port", f"{address} is free")


def _bind(kind: str, host: str, port: int) -> str | None:
    with socket.socket(socket.AF_INET6 if kind == "ip6" else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.strerror or str(error)
    return None


async def peers_and_clock(config: Config, manifest: Manifest | None) -> list[Finding]:
    """Dial the bootstrap peers under a made-up identity, and read the times of their messages."""
    if not config.swarm.bootstrap:
        found = ok("bootstrap", "none are named: peers are found on the local network, in the address book, or join this node")
        return [found, await _web_clock(config, manifest)]
    heard: list[int] = []
    enough = trio.Event()

    def hear(data: bytes) -> Verdict:
        with suppress(ProtocolError):
            if manifest is not None:
                heard.append(WallClock().now_ms() - open_envelope(data, manifest.id).time_ms)
        if len(heard) >= MESSAGES:
            enough.set()
        return Verdict.IGNORE

    settings = replace(
        config.network, listen=("/ip4/127.0.0.1/tcp/0",), announce=(), mdns=False, request_timeout_s=DIALLED_WITHIN_S
    )
    name = topic(manifest) if manifest else topic_of(config.swarm.manifest)
    findings: list[Finding] = []
    listening: Subscription[bytes] = Subscription(name, hear, lambda message: 0)
    async with open_libp2p(secrets.token_bytes(32), listening, clock=WallClock(), config=settings) as network:

        async def dial(address: str) -> None:
            try:
                await network.dial(address)
                findings.append(ok("bootstrap", f"{address} answers"))
            except NetworkError as error:
                findings.append(warn("bootstrap", str(error), KEEP_TRYING))

        async with trio.open_nursery() as nursery:
            for address in config.swarm.bootstrap:
                nursery.start_soon(dial, address)
        if all(finding.fix for finding in findings):
            if manifest is None:
                findings.append(fail("manifest", "it is still to be fetched, and no bootstrap peer answers", ASK_AGAIN))
        elif manifest is not None:
            with trio.move_on_after(LISTENS_S):
                await enough.wait()
    return [*findings, clock_finding(heard) if heard else await _web_clock(config, manifest)]


async def _web_clock(config: Config, manifest: Manifest | None) -> Finding:
    return await trio.to_thread.run_sync(web_clock, config, manifest)


def clock_finding(ahead_ms: Sequence[int]) -> Finding:
    """Judge this clock by the age (ms) of fresh messages: beyond `CLOCK_SKEW_MS` it is wrong."""
    ahead = median(ahead_ms) / 1000
    if abs(ahead) * 1000 <= CLOCK_SKEW_MS:
        return ok("clock", f"agrees with the others' within {max(abs(ahead), 1):.0f} s")
    where = "ahead of" if ahead > 0 else "behind"
    text = f"{abs(ahead):.0f} s {where} the others'"
    return fail("clock", text, "set it by NTP, as with timedatectl set-ntp true: tasks and messages go by the time")


def web_clock(config: Config, manifest: Manifest | None) -> Finding:
    """Judge the clock by a beacon server of the settings, if the swarm uses such servers."""
    if manifest is None or not manifest.drand or not config.swarm.beacon_urls:
        return skipped("clock", "nobody to compare it with: no peer has sent anything, and this swarm asks no server")
    url = config.swarm.beacon_urls[0]
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "swarmd"})  # noqa: S310 - http or https only
    try:
        with urllib.request.urlopen(request, timeout=DIALLED_WITHIN_S) as response:  # noqa: S310 - as above
            date = response.headers["Date"]
    except urllib.error.HTTPError as error:
        date = error.headers["Date"]
    except OSError as error:
        return skipped("clock", f"{url} does not answer: {error}")
    try:
        return clock_finding([int((time() - parsedate_to_datetime(date).timestamp()) * 1000)])
    except (TypeError, ValueError):
        return skipped("clock", f"{url} does not tell the time")
