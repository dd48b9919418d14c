"""Whole nodes, with real policies and verifiers, on an in-memory network and a virtual clock."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from drand_shapes import with_drand
from node_shapes import EMBEDDED, Medium, checked_log, finished, on_virtual_time
from swarm_shapes import Peer

from protocols import messages
from protocols.manifest import EnvironmentRule, topic
from protocols.messages import Announce, Kind
from swarm.errors import ConfigError, HomeError, NetworkError
from swarm.events import Checkpointed, Event, NodeStarted, NodeStopped, PartRestarted, Refused
from swarm.exchange import own_log
from swarm.exchange.answering import MANIFEST_PROTOCOL
from swarm.exchange.uplink import BODY_PROTOCOL
from swarm.net.network import deaf
from swarm.node.status import status
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.sampling import SAMPLERS
from swarm.roles.curriculum import HALF_LIFE


def test_nodes_learn_from_each_other_and_a_late_one_joins_in(tmp_path: Path) -> None:
    events: list[list[Event]] = [[], [], []]
    trained: dict[int, Counter[str]] = {}

    async def live(medium: Medium, index: int, wait: trio.Event | None = None) -> None:
        if wait is not None:
            await wait.wait()
        async with medium.node(index, events[index], node_rounds=5, node_min_round_s=5) as node:
            base = node.learner.policy.tag.digest
            await node.learn()
            assert node.learner.policy.tag.digest != base
            assert len(await checked_log(node)) > 0
            sources = sum((Counter(event.trained_from) for event in finished(events[index])), Counter())
            own = sum(event.proposed * 2 ** ((event.round - 4) / HALF_LIFE) for event in finished(events[index]))
            counted = sum(groups for *_, groups in node.learner.roles.proposer.curriculum.state())
            assert own * 1.001 < counted <= 2 * own, "its curriculum heard of others, who count less than itself"
            trained[index] = sources
            assert node.context.identity.peer_id not in sources
            assert node.learner.totals["groups_trained_foreign"] == sources.total() > 0
            held = await node.pool.run(lambda store: store.statistics())
            assert held.foreign_groups_trained <= sources.total() <= SAMPLERS["useful"].max_uses * held.foreign_groups_trained
            assert node.exchange.admission.statistics().refused == {}
            await trio.sleep(60)

    async def main(medium: Medium) -> None:
        late = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, medium, 0)
            nursery.start_soon(live, medium, 1)
            nursery.start_soon(live, medium, 2, late)
            while len(finished(events[0])) != 2:
                await trio.sleep(1)
            late.set()

    on_virtual_time(tmp_path, main)
    assert len(trained) == 3
    for mine in events:
        assert isinstance(mine[0], NodeStarted)
        assert isinstance(mine[-1], NodeStopped)
        assert [event.round for event in finished(mine)] == [0, 1, 2, 3, 4]
        assert not any(isinstance(event, PartRestarted | Refused) for event in mine)
        assert all(0 <= event.reward_mean <= 1 and event.proposed == 2 for event in finished(mine))
    assert events[0][0].peer_id in trained[2] or events[1][0].peer_id in trained[2]


def test_a_node_alone_keeps_learning_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first: list[Event] = []
    second: list[Event] = []
    before: dict[str, Any] = {}

    async def main(medium: Medium) -> None:
        async with medium.node(0, first, node_rounds=3) as node:
            await node.learn()
            before.update(node.learner.state(), digest=node.learner.policy.tag.digest, log=len(await checked_log(node)))
            assert node.learner.totals["groups_trained_own"] > 0
            assert node.learner.totals["groups_trained_foreign"] == 0
            assert node.exchange.connected() == 0
        async with medium.node(0, second, node_rounds=5) as node:
            assert node.learner.state() == {name: before[name] for name in ("round", "curriculum", "best", "totals", "canary")}
            assert node.learner.policy.tag.digest == before["digest"]
            assert node.learner.round == 3
            await node.learn()
            assert node.learner.totals["groups_trained_own"] > before["totals"]["groups_trained_own"]
            log = await checked_log(node)
            assert len(log) > before["log"]
            assert [share.round for _, share in log] == sorted({share.round for _, share in log})

    on_virtual_time(tmp_path, main)
    assert [event.round for event in finished(first)] == [0, 1, 2]
    assert [event.round for event in finished(second)] == [3, 4]
    assert isinstance(first[-2], Checkpointed)


def test_a_node_cut_off_goes_on_from_its_checkpoint_and_its_log(tmp_path: Path) -> None:
    settings = {"checkpoint_every_rounds": 2, "tasks_share_uninformative": True}

    async def main(medium: Medium) -> None:
        scope = trio.CancelScope()

        class Cutting(list[Event]):
            def append(self, event: Event) -> None:
                super().append(event)
                if finished(self) and finished(self)[-1].round == 2:
                    scope.cancel()

        with scope:
            async with medium.node(0, Cutting(), **settings) as node:
                await node.learn()
        assert scope.cancelled_caught
        events: list[Event] = []
        async with medium.node(0, events, node_rounds=4, **settings) as node:
            assert node.learner.round == 2, "one round is lost, not more"
            assert len(await checked_log(node)) == 3, "what was published is not"
            await node.learn()
            assert [share.round for _, share in await checked_log(node)] == [0, 1, 2, 2, 3]

    on_virtual_time(tmp_path, main)


def test_a_policy_killed_in_training_comes_back_from_the_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    killed: list[int] = []
    train = Policy.train

    async def shot(policy: Policy, groups: Any) -> Any:
        if len(finished(events)) == 3 and not killed:
            assert policy.pid is not None
            killed.append(policy.pid)
            os.kill(policy.pid, signal.SIGKILL)
        return await train(policy, groups)

    monkeypatch.setattr(Policy, "train", shot)

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, node_rounds=5, checkpoint_every_rounds=2, tasks_per_round=6) as node:
            await node.learn()
            assert node.learner.round == 5
            assert node.learner.policy.statistics().restarts == 1
            assert node.learner.policy.pid != killed[0]
            log = await checked_log(node)
            indices = [group.recipe.index for _, share in log for group in share.groups]
            assert len(indices) == len(set(indices)), "no task is proposed twice"

    on_virtual_time(tmp_path, main)
    assert [event.round for event in finished(events)] == [0, 1, 2, 2, 3, 4]
    restarted = [event for event in events if isinstance(event, PartRestarted)]
    assert [(event.part, event.error.partition(":")[0]) for event in restarted] == [("learning", "ChildDied")]


def test_a_policy_killed_in_the_last_save_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    save = Policy.save

    async def shot(policy: Policy, directory: Path, state: Any) -> None:
        if state["round"] == 2 and not any(isinstance(event, PartRestarted) for event in events):
            assert policy.pid is not None
            os.kill(policy.pid, signal.SIGKILL)
        await save(policy, directory, state)

    monkeypatch.setattr(Policy, "save", shot)

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, node_rounds=2) as node:
            await node.learn()
            newest = checkpoint.newest(node.context.home.checkpoints)
            assert newest is not None
            assert checkpoint.node_state(newest)["round"] == 2

    on_virtual_time(tmp_path, main)
    assert sum(isinstance(event, PartRestarted) for event in events) == 1


def test_large_shares_are_announced_and_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_log, "MAX_INLINE_BODY_BYTES", 10)
    settings = {"node_rounds": 4, "node_min_round_s": 5, "tasks_share_uninformative": True}

    async def main(medium: Medium) -> None:
        async with medium.node(0, **settings) as one, medium.node(1, **settings) as other:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.learn)
                nursery.start_soon(other.learn)
            await trio.sleep(5)
            for node, peer in ((one, other), (other, one)):
                assert node.learner.totals["groups_trained_foreign"] > 0
                assert [len(share.groups) for _, share in await checked_log(node)] == [2, 2, 2, 2]
                assert all(envelope.kind == Kind.ANNOUNCE for envelope, _ in await checked_log(node))
                assert (node.exchange.admission.statistics().received, node.exchange.admission.statistics().refused) == (8, {})
                assert node.exchange.uplink.network is not None
                assert node.exchange.uplink.network.statistics().requests == 4 + 1 + node.exchange.sync.statistics().turns, (
                    "bodies, own head, sync"
                )
                entry = await node.pool.run(lambda store: store.newest_own())
                assert entry is not None
                assert entry.body_hash is not None
                # Whoever pulled a body serves it on.
                body = await node.exchange.uplink.network.request(
                    peer.context.identity.peer_id, BODY_PROTOCOL, entry.body_hash, 2**20
                )
                assert body == entry.body

    on_virtual_time(tmp_path, main)


def test_strangers_bytes_and_requests_change_nothing(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        async with (
            medium.node(0, events, node_rounds=3, node_min_round_s=30) as node,
            medium.network.join(bytes([77]) * 32, deaf(topic(EMBEDDED)), clock=medium.clock) as stranger,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(node.learn)
            peer = Peer(77, rules=EMBEDDED, now_ms=medium.clock.now_ms())
            epoch = medium.clock.now_ms() // 3_600_000
            await stranger.publish(b"\xc1" * 500)  # a byte that MessagePack never uses
            await stranger.publish(peer.sign_anything(99, b"newer"))
            await stranger.publish(peer.publish(peer.group(0, "a", "b", "c", "d", epoch=epoch), epoch=epoch))
            await stranger.publish(peer.seal(Announce(bytes(32), 1000)).to_bytes())
            with pytest.raises(NetworkError):
                await stranger.request(node.context.identity.peer_id, MANIFEST_PROTOCOL, bytes(32), 65536)
            with pytest.raises(NetworkError):
                await stranger.request(node.context.identity.peer_id, BODY_PROTOCOL, bytes(32), 65536)
            with pytest.raises(NetworkError):
                await stranger.request(node.context.identity.peer_id, BODY_PROTOCOL, bytes(33), 65536)
            text = await stranger.request(node.context.identity.peer_id, MANIFEST_PROTOCOL, EMBEDDED.id, 65536)
            assert text == EMBEDDED.to_toml().encode()
            await trio.sleep(80)
            refused = (await status(node))["refused"]
            assert refused == {"body-unavailable": 1, "kind": 1, "malformed": 1, "unknown-environment": 1}
            assert node.exchange.uplink.network is not None
            assert (
                node.exchange.uplink.network.statistics().rejected,
                node.exchange.uplink.network.statistics().ignored,
            ) == (1, 1)

    on_virtual_time(tmp_path, main)
    assert len(finished(events)) == 3
    assert Counter(event.reason for event in events if isinstance(event, Refused)) == {
        "unknown-environment": 1,
        "body-unavailable": 1,
    }


def test_a_used_up_epoch_and_texts_that_peers_would_refuse(tmp_path: Path) -> None:
    """Nothing is published that would be held against the node; without tasks it rests, and goes on
    in the next epoch."""
    events: list[Event] = []
    rules = replace(EMBEDDED, tasks_per_epoch=3, max_completion_chars=1, epoch_seconds=60)

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, rules=rules, tasks_share_uninformative=True, tasks_choices=1) as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.learn)
                await trio.sleep(20)
                assert node.learner.activity.state.startswith("waiting: this epoch's task indices are used up")
                await trio.sleep(50)
                node.learner.stop()
            shared = [group for _, share in await checked_log(node) for group in share.groups]
            assert all(len(completion.text) <= 1 for group in shared for completion in group.completions)
            assert len(shared) < (await node.pool.run(lambda store: store.statistics())).own_groups == 6

    on_virtual_time(tmp_path, main)
    proposed = [event.proposed for event in finished(events)]
    assert proposed[:3] == [2, 1, 0]
    assert sum(proposed) == 6, "three tasks in each of two epochs"


def test_what_does_not_fit_into_one_share_is_left_out_and_its_indices_are_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_BODY_BYTES", 400)  # of one group
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, tasks_share_uninformative=True, tasks_choices=1, node_rounds=3) as node:
            await node.learn()
            log = await checked_log(node)
            assert [(share.count, len(share.groups)) for _, share in log] == [(2, 1)] * 3
            assert node.learner.totals["groups_shared"] == 3
            assert (await node.pool.run(lambda store: store.statistics())).own_groups == 6, "nor are the others lost"

    on_virtual_time(tmp_path, main)
    assert not [event for event in events if isinstance(event, PartRestarted)]


def test_a_resting_node_stops_at_once(tmp_path: Path) -> None:
    async def main(medium: Medium) -> None:
        async with medium.node(0, node_min_round_s=86400) as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.learn)
                await trio.sleep(100)
                assert node.learner.activity.state == "waiting: node.min_round_s"
                node.learner.stop()
            assert trio.current_time() < 200
            newest = checkpoint.newest(node.context.home.checkpoints)
            assert newest is not None
            assert checkpoint.node_state(newest)["round"] == node.learner.round == 1

    on_virtual_time(tmp_path, main)


def test_a_save_ends_the_rest_of_a_node(tmp_path: Path) -> None:
    async def main(medium: Medium) -> None:
        async with medium.node(0, node_min_round_s=86400) as node, trio.open_nursery() as nursery:
            nursery.start_soon(node.learn)
            await trio.sleep(100)
            assert node.learner.activity.state == "waiting: node.min_round_s"
            await node.learner.save_after_round()
            assert trio.current_time() < 1000
            newest = checkpoint.newest(node.context.home.checkpoints)
            assert newest is not None
            assert checkpoint.node_state(newest)["round"] == node.learner.round
            await trio.sleep(100)
            assert node.learner.activity.state == "waiting: node.min_round_s", "it rests again"
            node.learner.stop()

    on_virtual_time(tmp_path, main)


@pytest.mark.parametrize(
    ("settings", "rules", "message"),
    [
        ({"generation_num_generations": 2}, EMBEDDED, "takes groups of 4 to 32"),
        ({"policy_rendering": "prose"}, EMBEDDED, "shows its tasks as compact"),
        ({"tasks_environments": '["toy/none"]'}, EMBEDDED, "has no 'toy/none'"),
        ({"swarm_beacon_urls": "drand.example"}, with_drand(EMBEDDED), "write https://"),
        ({}, replace(EMBEDDED, environments=(EnvironmentRule("reasoning_gym/ab", "9", {"level": 0}),)), "version 0.1"),
        ({}, replace(EMBEDDED, environments=(EnvironmentRule("elsewhere/ab", "9", {"level": 0}),)), "not installed"),
    ],
)
def test_settings_that_do_not_fit_the_swarm(tmp_path: Path, settings: dict[str, Any], rules: Any, message: str) -> None:
    async def main(medium: Medium) -> None:
        with pytest.raises(ConfigError, match=message):
            async with medium.node(0, rules=rules, **settings):
                raise AssertionError("it opened")

    on_virtual_time(tmp_path, main)


def test_a_home_of_another_swarm_or_an_identity_that_runs_already(tmp_path: Path) -> None:
    async def main(medium: Medium) -> None:
        async with medium.node(0):
            medium.path = tmp_path / "copy"
            with pytest.raises(ExceptionGroup) as twice:
                async with medium.node(0):
                    raise AssertionError("it opened")
            assert twice.group_contains(NetworkError, match="one identity can run only once")
        medium.path = tmp_path
        with pytest.raises(HomeError, match="another swarm"):
            async with medium.node(0, rules=replace(EMBEDDED, name="other")):
                raise AssertionError("it opened")

    on_virtual_time(tmp_path, main)


def test_the_key_of_the_tests_is_the_nodes(tmp_path: Path) -> None:
    async def main(medium: Medium) -> None:
        async with medium.node(4) as node:
            assert node.context.identity.seed == Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32).private_bytes_raw()
            assert node.learner.roles.view.rendering == "compact"
            assert node.learner.roles.view.max_tokens == EMBEDDED.max_completion_tokens

    on_virtual_time(tmp_path, main)
