"""The node's beacon: one part looks for rounds; all others get an answer at once or wait within
bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from drand_shapes import with_drand
from swarm_shapes import RULES as TOY
from swarm_shapes import Peer, context_of
from trio.testing import MockClock

from protocols.drand import drand_beacon, round_of_epoch, verify_round
from protocols.manifest import epoch_of
from protocols.vectors.beacon_cases import TEST_CHAIN, sign_round
from swarm.beacon import beacon
from swarm.beacon.beacon import DrandBeacon, LocalBeacon
from swarm.clock import VirtualClock
from swarm.config.schema import Config, PoolSection, SwarmSection
from swarm.errors import NetworkError
from swarm.net.network import PeerRecord
from swarm.pool.pool import Pool
from swarm.pool.store import beacon_table

RULES = with_drand(TOY, epoch_seconds=600)
EPOCH = 2_945_500
START_MS = EPOCH * 600_000  # an epoch begins, and a round of the chain is published
ALICE = Peer(1)
NO_WEB = Config(swarm=SwarmSection(beacon_urls=()))


def round_of(epoch: int) -> int:
    return round_of_epoch(TEST_CHAIN, 600, epoch)


def value_of(epoch: int) -> bytes:
    return drand_beacon(RULES.id, epoch, verify_round(TEST_CHAIN, round_of(epoch), sign_round(round_of(epoch))))


class Relay:
    """A network with one peer, which has the rounds up to a moment; `asked` are (seconds since the
    start, round)."""

    peer_id = "me"

    def __init__(self) -> None:
        self.known: dict[int, bytes] = {}
        self.asked: list[tuple[float, int]] = []

    def peers(self) -> tuple[PeerRecord, ...]:
        return (PeerRecord("relay", (), connected_since_ms=0),)

    async def request(self, peer: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        await trio.sleep(0.05)
        self.asked.append((trio.current_time(), int.from_bytes(data)))
        if int.from_bytes(data) not in self.known:
            raise NetworkError(f"{peer} has not got it")
        return self.known[int.from_bytes(data)]

    def learn(self, epoch: int) -> None:
        self.known[round_of(epoch)] = sign_round(round_of(epoch))


class Bench:
    """A beacon over a real store, on virtual time."""

    def __init__(self, pool: Pool, clock: VirtualClock) -> None:
        self.pool = pool
        self.clock = clock
        self.relay = Relay()

    def beacon(self) -> DrandBeacon:
        context = context_of(ALICE.private_key, self.clock, RULES, NO_WEB)
        return DrandBeacon(context, self.pool, lambda: self.relay)  # type: ignore[arg-type, return-value]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DrandBeacon]:
        async with trio.open_nursery() as nursery:
            one = self.beacon()
            nursery.start_soon(one.run)
            yield one
            nursery.cancel_scope.cancel()


def on_bench(path: Path, test: Callable[[Bench], Awaitable[None]]) -> None:
    mock = MockClock()
    clock = VirtualClock(mock, START_MS)

    async def main() -> None:
        async with Pool(path / "pool.sqlite", PoolSection(), clock) as pool:
            await test(Bench(pool, clock))

    trio.run(main, clock=mock)


def test_the_round_of_each_epoch_is_fetched_once_and_kept(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for epoch in range(EPOCH - 1, EPOCH + 4):
            bench.relay.learn(epoch)
        async with bench.running() as one:
            await trio.sleep(1800)
            assert [one.value(epoch) for epoch in range(EPOCH - 1, EPOCH + 3)] == [
                value_of(epoch) for epoch in range(EPOCH - 1, EPOCH + 3)
            ]
            assert one.value(EPOCH - 2) is None
            assert sorted(round for _, round in bench.relay.asked) == [round_of(epoch) for epoch in range(EPOCH - 1, EPOCH + 3)]
            rows = await bench.pool.run(lambda store: store.rows("SELECT epoch, round FROM beacons ORDER BY epoch"))
            assert rows == [(epoch, round_of(epoch)) for epoch in range(EPOCH - 1, EPOCH + 3)]
            assert one.statistics() == beacon.BeaconStatistics("drand", EPOCH + 2, round_of(EPOCH + 2), from_peers=4)

    on_bench(tmp_path, test)


def test_a_late_round_is_looked_for_patiently_and_taken_when_it_comes(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        async with bench.running() as one:
            await trio.sleep(200)
            assert one.value(EPOCH) is None
            assert "round" in one.problem()
            assert "swarm.beacon_urls" in one.problem()
            assert "relay has not got it" in one.problem()
            assert 10 < len(bench.relay.asked) < 40, "two rounds, with pauses that grow"
            bench.relay.learn(EPOCH)
            await trio.sleep(beacon.LONGEST_PAUSE_S + 5)
            assert one.value(EPOCH) == value_of(EPOCH)
            assert one.problem() == ""

    on_bench(tmp_path, test)


def test_the_epoch_before_is_good_enough_for_half_an_epoch(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.relay.learn(EPOCH - 1)
        async with bench.running() as one:
            await trio.sleep(250)
            assert one.problem() == ""
            await trio.sleep(100)
            assert one.problem() != ""

    on_bench(tmp_path, test)


def test_a_restart_takes_the_rounds_from_the_store_and_verifies_them(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for epoch, of in ((EPOCH - 1, EPOCH - 1), (EPOCH, EPOCH - 1), (EPOCH - 7, EPOCH - 7)):
            row = (epoch, round_of(epoch), sign_round(round_of(of)))
            await bench.pool.run(lambda store, row=row: beacon_table.keep(store, *row))  # type: ignore[misc]
        one = bench.beacon()
        await one.restore()
        assert one.value(EPOCH - 1) == value_of(EPOCH - 1)
        assert one.value(EPOCH) is None, "what is damaged is not believed"
        assert (one.statistics().from_store, one.statistics().invalid) == (1, 1)
        bench.relay.learn(EPOCH)
        async with bench.running():
            await trio.sleep(5)
        again = bench.beacon()
        await again.restore()
        assert again.value(EPOCH) == value_of(EPOCH), "it was replaced"
        assert again.statistics().invalid == 0

    on_bench(tmp_path, test)


def test_a_share_of_an_unknown_epoch_makes_this_node_ask_its_signer(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        async with bench.running() as one:
            await trio.sleep(100)
            bench.relay.learn(EPOCH)
            begun = trio.current_time()
            await one.seek(EPOCH, "relay", ALICE.key)
            assert one.value(EPOCH) == value_of(EPOCH)
            assert trio.current_time() - begun < 2.5

    on_bench(tmp_path, test)


def test_a_clock_that_is_behind_takes_the_next_epoch_from_who_has_it(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for epoch in (EPOCH - 1, EPOCH, EPOCH + 1):
            bench.relay.learn(epoch)
        async with bench.running() as one:
            await trio.sleep(570)
            assert one.value(EPOCH + 1) is None
            await one.seek(EPOCH + 1, "relay", ALICE.key)
            assert one.value(EPOCH + 1) == value_of(EPOCH + 1)
            await trio.sleep(1200)

    on_bench(tmp_path, test)


@pytest.mark.parametrize("epoch", [0, EPOCH - 2, EPOCH + 1, EPOCH + 1000, 2**53 - 1])
def test_an_epoch_that_is_not_now_is_not_sought(tmp_path: Path, epoch: int) -> None:
    async def test(bench: Bench) -> None:
        async with bench.running() as one:
            await trio.sleep(1)
            begun = trio.current_time()
            assert not one.lacks(epoch)
            await one.seek(epoch, "relay", ALICE.key)
            assert trio.current_time() == begun
            await trio.sleep(20)
            assert {round for _, round in bench.relay.asked} <= {round_of(EPOCH), round_of(EPOCH - 1)}

    on_bench(tmp_path, test)


def test_who_waits_is_bounded_in_time_and_number_and_does_not_set_the_pace(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        ended: list[float] = []

        async def wait(one: DrandBeacon, signer: bytes) -> None:
            await one.seek(EPOCH, "relay", signer)
            ended.append(trio.current_time())

        async with bench.running() as one, trio.open_nursery() as nursery:
            await trio.sleep(60)
            for _ in range(beacon.MAX_WAITING_PER_SIGNER + 3):
                nursery.start_soon(wait, one, bytes(32))
            for number in range(100):
                nursery.start_soon(wait, one, number.to_bytes(32, "little") if number else bytes([255] * 32))
            await trio.sleep(0.5)
            assert len(ended) == 103 + beacon.MAX_WAITING_PER_SIGNER - beacon.MAX_WAITING
            asked = len(bench.relay.asked)
            await trio.sleep(beacon.WAIT_S)
            assert len(ended) == 103 + beacon.MAX_WAITING_PER_SIGNER
            assert len(bench.relay.asked) - asked <= 2 * beacon.WAIT_S / beacon.FIRST_PAUSE_S
            assert not one._waiting
            assert max(map(len, one._holders.values())) <= beacon.HOLDERS_KEPT

    on_bench(tmp_path, test)


def test_rounds_are_served_from_memory_and_store_and_no_others(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        old = EPOCH - 50
        await bench.pool.run(lambda store: beacon_table.keep(store, old, round_of(old), sign_round(round_of(old))))
        bench.relay.learn(EPOCH)
        async with bench.running() as one:
            await trio.sleep(5)
            for epoch in (EPOCH, old):
                assert await one.answer("peer", round_of(epoch).to_bytes(8)) == sign_round(round_of(epoch))
            for request in (b"", bytes(7), bytes(9), bytes(8), b"\xff" * 8, round_of(EPOCH + 1).to_bytes(8), (2**63).to_bytes(8)):
                with pytest.raises(NetworkError):
                    await one.answer("peer", request)

    on_bench(tmp_path, test)


def test_short_epochs_and_their_many_rounds(tmp_path: Path) -> None:
    short = replace(RULES, epoch_seconds=5)

    async def test(bench: Bench) -> None:
        context = context_of(ALICE.private_key, bench.clock, short, NO_WEB)
        one = DrandBeacon(context, bench.pool, lambda: bench.relay)  # type: ignore[arg-type, return-value]
        first = epoch_of(short, START_MS)
        for epoch in range(first - 1, first + 200):
            round = round_of_epoch(TEST_CHAIN, 5, epoch)
            bench.relay.known[round] = sign_round(round)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            await trio.sleep(804)
            assert one.value(first + 160) is not None
            assert one.problem() == ""
            assert len(one._values) == len(one._signatures) == beacon.EPOCHS_KEPT
            nursery.cancel_scope.cancel()

    on_bench(tmp_path, test)


async def test_a_local_beacon_is_always_known() -> None:
    one: Any = LocalBeacon(TOY)
    assert len(one.value(5)) == 32
    assert not one.lacks(5)
    await one.seek(5, "peer", ALICE.key)
    assert (one.problem(), one.statistics().kind) == ("", "local")
