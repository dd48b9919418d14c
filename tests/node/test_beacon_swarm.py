"""Swarms with drand: one node has the web, the others take its signed rounds and verify them."""

from __future__ import annotations

from pathlib import Path

import trio
from drand_shapes import web, with_drand
from node_shapes import EMBEDDED, START_MS, Medium, checked_log, finished, on_virtual_time

from protocols.beacon import drand_beacon, round_of_epoch, verify_round
from protocols.manifest import epoch_of
from protocols.vector_beacons import TEST_CHAIN, sign_round
from swarm.events import Event
from swarm.node.learning import keep_learning
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
            index, events[index], RULES, node_rounds=8, node_min_round_s=20, tasks_share_uninformative=True, **settings
        ) as node:
            while node.beacon.problem():
                await trio.sleep(0.1)
            await keep_learning(node)
            known = node.beacon.statistics()
            assert known.invalid == 0
            if index == 0:
                assert known.from_web >= 3
                assert known.from_peers == 0
            else:
                assert known.from_web == 0
                assert known.from_peers >= 3
            log = await checked_log(node)
            assert len({share.epoch for _, share in log}) >= 3
            assert node.admission.statistics().refused == {}
            assert node.totals["groups_trained_foreign"] > 0
            assert (await status(node))["beacon"]["kind"] == "drand"
            for epoch, round, signature in await node.pool.run(lambda store: store.rows("SELECT epoch, round, signature FROM beacons")):
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
        assert [event.round for event in finished(mine)] == list(range(8))
        assert all(event.proposed == 2 for event in finished(mine)), "no round without tasks, also not when an epoch begins"
