"""Swarms with drand: one node has the web, the others take its signed rounds and verify them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import trio
from drand_shapes import as_json, web, with_drand
from node_shapes import EMBEDDED, START_MS, Medium, checked_log, finished, on_virtual_time

from protocols.drand import drand_beacon, round_of_epoch, verify_round
from protocols.manifest import epoch_of, topic
from protocols.vectors.beacon_cases import TEST_CHAIN, sign_round
from swarm.beacon.sources import BEACON_PROTOCOL
from swarm.events import Event
from swarm.net.network import deaf
from swarm.node.status import status

RULES = with_drand(EMBEDDED)
FIRST = epoch_of(RULES, START_MS)


def value_of(epoch: int) -> bytes:
    round = round_of_epoch(TEST_CHAIN, RULES.epoch_seconds, epoch)
    return drand_beacon(RULES.id, epoch, verify_round(TEST_CHAIN, round, sign_round(round)))


def test_one_node_has_the_web_and_all_learn_from_each_other(tmp_path: Path) -> None:
    events: list[list[Event]] = [[], [], []]

    async def live(medium: Medium, index: int, **settings: object) -> None:
        async with medium.node(
            index, events[index], RULES, node_rounds=7, node_min_round_s=25, tasks_share_uninformative=True, **settings
        ) as node:
            while node.exchange.beacon.problem():
                await trio.sleep(0.1)
            await node.learn()
            known = node.exchange.beacon.statistics()
            assert known.invalid == 0
            if index == 0:
                assert known.from_web >= 3
                assert known.from_peers == 0
            else:
                assert known.from_web == 0
                assert known.from_peers >= 3
            log = await checked_log(node)
            assert len({share.epoch for _, share in log}) >= 3
            assert node.exchange.admission.statistics().refused == {}
            assert node.learner.totals["groups_trained_foreign"] > 0
            assert (await status(node))["beacon"]["kind"] == "drand"
            for epoch, round, signature in await node.pool.run(
                lambda store: store.rows("SELECT epoch, round, signature FROM beacons")
            ):
                assert drand_beacon(RULES.id, epoch, verify_round(TEST_CHAIN, round, signature)) == value_of(epoch)
            await trio.sleep(30)

    async def main(medium: Medium) -> None:
        with web() as server:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: live(medium, 0, swarm_beacon_urls=server.url))
                nursery.start_soon(lambda: live(medium, 1, swarm_beacon_urls=""))
                nursery.start_soon(lambda: live(medium, 2, swarm_beacon_urls=""))
            assert len(server.asked) == len(set(server.asked)), "each round is asked for once"

    on_virtual_time(tmp_path, main)
    for mine in events:
        assert [event.round for event in finished(mine)] == list(range(7))
        assert all(event.proposed == 2 for event in finished(mine)), "no round without tasks, also not when an epoch begins"


def test_a_late_round_stops_nobody(tmp_path: Path) -> None:
    """The second epoch's round is on the web half a minute late: until then both go on in the first
    epoch."""
    events: list[list[Event]] = [[], []]
    epoch_seconds = 120
    rules = with_drand(EMBEDDED, epoch_seconds)
    first = epoch_of(rules, START_MS)
    late_round = round_of_epoch(TEST_CHAIN, epoch_seconds, first + 1)
    late = {"published": False}

    def answer(round: int) -> bytes | None:
        return as_json(round) if round < late_round or late["published"] else None

    async def live(medium: Medium, index: int, url: str) -> None:
        settings = {"node_rounds": 10, "node_min_round_s": 20, "tasks_share_uninformative": True, "swarm_beacon_urls": url}
        async with medium.node(index, events[index], rules, **settings) as node:
            await trio.sleep(5)
            await node.learn()
            await trio.sleep(20)
            assert node.exchange.admission.statistics().refused == {}
            epochs = [share.epoch for _, share in await checked_log(node)]
            assert epochs == sorted(epochs)
            assert set(epochs) == {first, first + 1}
            assert epochs.count(first) > 6, "the epoch before went on"

    async def main(medium: Medium) -> None:
        with web(answer) as server:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(live, medium, 0, server.url)
                nursery.start_soon(live, medium, 1, "")
                await trio.sleep(150)
                late["published"] = True

    on_virtual_time(tmp_path, main)
    for mine in events:
        assert all(event.proposed == 2 for event in finished(mine))


def test_without_any_beacon_a_node_says_so_and_proposes_nothing(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, RULES, node_rounds=5, swarm_beacon_urls="") as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.learn)
                await trio.sleep(3.5)
                told = await status(node)
            assert told["state"].startswith("waiting: drand's round")
            for part in ("swarm.beacon_urls", "0 connected", "clock"):
                assert part in told["beacon"]["problem"]
            assert told["beacon"]["epoch"] is None
            assert await checked_log(node) == []

    on_virtual_time(tmp_path, main)
    assert [event.proposed for event in finished(events)] == [0] * 5


def test_a_restart_without_web_or_peers_goes_on_with_what_it_had(tmp_path: Path) -> None:
    async def main(medium: Medium) -> None:
        with web() as server:
            async with medium.node(0, None, RULES, node_rounds=2, swarm_beacon_urls=server.url) as node:
                await trio.sleep(3)
                await node.learn()
        events: list[Event] = []
        async with medium.node(0, events, RULES, node_rounds=4, swarm_beacon_urls="") as node:
            assert node.exchange.beacon.value(FIRST) == value_of(FIRST)
            assert node.exchange.beacon.statistics().from_store == 2
            await node.learn()
            assert [event.proposed for event in finished(events)] == [2, 2]
            await checked_log(node)

    on_virtual_time(tmp_path, main)


def test_peers_that_give_wrong_rounds_are_outvoted_by_one_that_does_not(tmp_path: Path) -> None:
    async def lie(peer: str, request: bytes) -> bytes:
        return sign_round(int.from_bytes(request) + 1)

    async def main(medium: Medium) -> None:
        with web() as server:
            async with AsyncExitStack() as stack:
                for number in range(6):
                    key = bytes([100 + number]) * 32
                    join = medium.network.join(key, deaf(topic(RULES)), clock=medium.clock)
                    liar = await stack.enter_async_context(join)
                    liar.serve(BEACON_PROTOCOL, lie, max_request_bytes=8)
                await stack.enter_async_context(medium.node(0, None, RULES, swarm_beacon_urls=server.url))
                node = await stack.enter_async_context(medium.node(1, None, RULES, swarm_beacon_urls=""))
                await trio.sleep(50)
                assert node.exchange.beacon.value(FIRST) == value_of(FIRST)
                assert node.exchange.beacon.statistics().invalid <= 6
                await trio.sleep(60)
                assert node.exchange.beacon.value(FIRST + 1) == value_of(FIRST + 1)
                assert node.exchange.beacon.statistics().invalid <= 6, "none is verified twice"

    on_virtual_time(tmp_path, main)
