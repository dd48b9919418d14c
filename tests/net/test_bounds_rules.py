"""The bounds as rules, without a network: lists, subnets, the gate, buckets, queues."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from net_shapes import CONFIG, seed
from trio.testing import MockClock

from protocols.peer_id import peer_id
from swarm.clock import WallClock
from swarm.errors import ConfigError
from swarm.net import guard as guard_module
from swarm.net.access import Access, is_local, parse_address, subnet
from swarm.net.guard import Guard
from swarm.net.libp2p import gate as gate_module
from swarm.net.libp2p.gate import MAX_PER_ADDRESS, MAX_PER_SUBNET, Gate, surplus
from swarm.net.quota import Flow, PeerQuota, Quotas
from swarm.net.tally import Tally

ONE, TWO = (peer_id(Ed25519PrivateKey.from_private_bytes(seed(index)).public_key().public_bytes_raw()) for index in (0, 1))
addresses = st.ip_addresses()


# Lists


@pytest.mark.parametrize(
    ("allow", "deny", "peer", "address", "permitted"),
    [
        ((), (), ONE, "8.8.8.9", True),
        ((), (ONE,), ONE, "8.8.8.9", False),
        ((), (TWO,), ONE, "8.8.8.9", True),
        ((), ("8.8.8.0/24",), ONE, "8.8.8.9", False),
        ((), ("8.8.8.0/24",), ONE, "8.8.9.9", True),
        ((), ("8.8.8.9",), ONE, "8.8.8.9", False),
        ((), ("2606:4700::/32",), ONE, "2606:4700:1::7", False),
        ((), ("8.8.8.0/24",), ONE, "::ffff:8.8.8.9", False),
        ((ONE,), (), ONE, "8.8.8.9", True),
        ((TWO,), (), ONE, "8.8.8.9", False),
        (("8.8.8.0/24",), (), ONE, "8.8.8.9", True),
        (("9.9.9.0/24",), (), ONE, "8.8.8.9", False),
        (("9.9.9.0/24", ONE), (), ONE, "8.8.8.9", True),
        (("8.8.8.0/24",), (ONE,), ONE, "8.8.8.9", False),
        (("8.8.8.0/24",), (), ONE, "", False),
    ],
)
def test_who_is_permitted(allow: tuple[str, ...], deny: tuple[str, ...], peer: str, address: str, permitted: bool) -> None:
    assert Access.parse(allow, deny).permits(peer, parse_address(address)) is permitted


@pytest.mark.parametrize("entry", ["", "12D3KooW", "8.8.8.0/33", "example.org", "8.8.8.9:4711", "/ip4/8.8.8.9"])
def test_an_entry_that_is_neither_peer_nor_range_is_an_error_that_names_it(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.deny"):
        Access.parse((), (entry,))


@given(addresses, st.booleans(), st.booleans())
def test_a_stranger_is_let_as_far_as_the_handshake_if_any_peer_id_could_be_permitted(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, listed: bool, by_id: bool
) -> None:
    entries = ((str(address),) if listed else ("1.1.1.77",)) + ((ONE,) if by_id else ())
    ip = parse_address(str(address))
    assert ip is not None
    for access in (Access.parse(entries, ()), Access.parse((), entries)):
        possible = any(access.permits(peer, ip) for peer in (ONE, TWO))
        assert access.may_permit(ip) or not possible


# Neighbourhoods


@given(addresses, addresses)
def test_a_neighbourhood_is_what_the_leading_bits_say(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address, two: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    first, second = parse_address(str(one)), parse_address(str(two))
    assert first is not None
    assert second is not None
    assert first in subnet(first)
    if first.version == second.version:
        shift = 8 if first.version == 4 else 72
        assert (subnet(first) == subnet(second)) == (int(first) >> shift == int(second) >> shift)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or str(address)


# The gate


@dataclass(frozen=True)
class Seen:
    """A connection as the gate sees it."""

    address: str
    inbound: bool = True
    established: bool = True
    opened_s: float = 0.0


async def _gate(**settings: int | tuple[str, ...]) -> Gate:
    config = replace(CONFIG, **settings)  # type: ignore[arg-type]
    return Gate(config, Guard(config, Tally(), WallClock()))


async def test_one_public_address_or_neighbourhood_has_few_connections(autojump_clock: MockClock) -> None:
    gate = await _gate()
    here = [*[Seen("8.8.8.9")] * (MAX_PER_ADDRESS - 1), Seen("8.8.8.9", inbound=False)]
    more = [Seen("8.8.8.8")] * (MAX_PER_SUBNET - MAX_PER_ADDRESS)
    assert "8.8.8.9" in (gate.refusal("8.8.8.9", here) or "")
    assert gate.refusal("8.8.8.8", here) is None
    assert "8.8.8.0/24" in (gate.refusal("8.8.8.7", [*here, *more]) or "")
    assert gate.refusal("8.8.9.7", [*here, *more]) is None
    assert "too many connections from 2606:4700::/56" in (
        gate.refusal("2606:4700::4", [Seen(f"2606:4700::{each + 9:x}") for each in range(MAX_PER_SUBNET)]) or ""
    )


@pytest.mark.parametrize("local", ["127.0.0.1", "192.168.1.5", "10.0.0.3", "::1", "fe80::1%eth0", "fd00::2"])
async def test_local_addresses_have_no_such_limits(local: str, autojump_clock: MockClock) -> None:
    gate = await _gate()
    assert gate.refusal(local, [Seen(local)] * 20) is None


async def test_some_connections_are_kept_for_those_this_node_dials(autojump_clock: MockClock) -> None:
    gate = await _gate(max_connections=10)
    assert gate.refusal("127.0.0.1", [Seen("127.0.0.1")] * 7) is None
    assert "no room" in (gate.refusal("127.0.0.1", [Seen("127.0.0.1")] * 8) or "")
    assert gate.refusal("127.0.0.1", [*[Seen("127.0.0.1")] * 7, Seen("127.0.0.1", inbound=False)]) is None


async def test_who_knocks_too_often_is_not_opened_to_and_the_memory_of_it_is_bounded(autojump_clock: MockClock) -> None:
    gate = await _gate()
    answers = [gate.refusal("8.8.8.9", []) for _ in range(200)]
    assert answers.count(None) == gate_module.KNOCKS_BURST
    for number in range(2 * gate_module.MAX_NEIGHBOURHOODS):
        gate.refusal(f"100.{number // 256}.{number % 256}.1", [])
    assert len(gate._knocks) == gate_module.MAX_NEIGHBOURHOODS


@given(st.lists(st.tuples(st.sampled_from(["8.8.8.1", "8.8.8.2", "9.9.9.1", "1.1.1.1"]), st.booleans()), max_size=80))
def test_of_too_many_half_open_the_oldest_of_the_largest_crowd_goes(arrivals: list[tuple[str, bool]]) -> None:
    held: list[Seen] = []
    for number, (address, established) in enumerate(arrivals):
        held.append(Seen(address, established=established, opened_s=number))
        half_open = [each for each in held if not each.established]
        areas = Counter(str(subnet(ipaddress.ip_address(each.address))) for each in half_open)
        victim = surplus(held)
        assert (victim is None) == (len(half_open) <= gate_module.MAX_HALF_OPEN)
        if victim is not None:
            area = str(subnet(ipaddress.ip_address(victim.address)))
            assert areas[area] == max(areas.values())
            assert victim.opened_s <= min(
                each.opened_s for each in half_open if str(subnet(ipaddress.ip_address(each.address))) == area
            )
            held.remove(victim)


# Quotas


async def test_nobody_is_made_a_flooder_by_being_flooded(autojump_clock: MockClock) -> None:
    """What a node forwards, of all its peers together, never overdraws the bucket of who receives
    it."""
    rate = 100.0
    sender, receiver = Quotas(rate, 4e6), PeerQuota(rate, 4e6)
    forwarded, began = 0, trio.current_time()
    while trio.current_time() - began < 60:
        for number in range(20):
            if sender.may_forward(str(number), 100):
                forwarded += 1
                assert receiver.flows[Flow.MESSAGES].take() == 0
        await trio.sleep(0.01)
    assert forwarded > 60 * rate / 2


async def test_a_fresh_identity_has_no_fresh_allowance_in_its_neighbourhood(autojump_clock: MockClock) -> None:
    guard = Guard(replace(CONFIG, peer_messages_per_s=10.0), Tally(), WallClock())
    read, began = Counter[str](), trio.current_time()
    for address in ("8.8.8.1", "127.0.0.1"):
        for number in range(20):
            peer = f"{address} {number}"
            guard.quotas.met(peer, address)
            for _ in range(50):
                await guard.pace(peer, Flow.MESSAGES)
        read[address] = int(trio.current_time() - began)
        began = trio.current_time()
    # A thousand messages at ten per second, but for the first fifty; on this machine each of the
    # twenty has its own fifty.
    assert read["8.8.8.1"] == pytest.approx(95, abs=2)
    assert read["127.0.0.1"] == 0
    # Its neighbours' excess makes nobody a flooder.
    assert guard.listed() == ()


async def test_quotas_survive_reconnecting_and_are_bounded(autojump_clock: MockClock) -> None:
    quotas = Quotas(10.0, 1e6)
    quotas.of(ONE).flows[Flow.MESSAGES].take(50)
    assert quotas.of(ONE).flows[Flow.MESSAGES].take() > 0
    for number in range(5000):
        quotas.of(str(number))
    assert len(quotas._peers) <= 1024


# Cutting off


async def test_who_is_cut_off_is_listed_until_its_time_is_over(autojump_clock: MockClock) -> None:
    guard = Guard(CONFIG, Tally(), WallClock())
    left: list[str] = []
    guard.leave = left.append
    guard.quota(ONE).address = "8.8.8.9"
    guard.judge(ONE, 0.0, "standing")
    guard.cut_off(ONE, "again")
    assert left == [ONE]
    [cut] = guard.listed()
    assert (cut.peer_id, cut.address, cut.reason) == (ONE, "8.8.8.9", "standing")
    assert guard.refusal(ONE) == "cut off: standing"
    await trio.sleep(guard_module.CUT_OFF_S + 1)
    assert guard.listed() == ()
    assert guard.refusal(ONE) is None
    for number in range(1000):
        guard.cut_off(str(number), "flood")
    assert len(guard.listed()) == guard_module.MAX_CUT_OFF


def test_what_is_local_and_what_is_not() -> None:
    local = [address for text in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fe80::1") if (address := parse_address(text))]
    public = [address for text in ("8.8.8.8", "2606:4700::1111") if (address := parse_address(text))]
    assert all(map(is_local, local))
    assert not any(map(is_local, public))
