"""Overlapping rounds: the limit on rounds at once, the age of the answers, and that nothing is
lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from node_shapes import Medium, checked_log, finished, on_virtual_time

from swarm.errors import PolicyError
from swarm.events import Event, PartRestarted, RolledBack
from swarm.exchange.exchange import Exchange
from swarm.learner.loop import generate, propose
from swarm.node.node import Node
from swarm.node.status import status
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.records import ScoredGroup
from swarm.roles.evaluator import evaluate

SETTINGS = {"tasks_share_uninformative": True, "node_rounds": 6, "training_external": 0, "generation_num_generations": 4}


class Watched:
    """What a policy is asked: L1 to look at the second round's questions, G1 to answer them, T1 to
    be updated with the answers; small letters are the ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self._begun: Counter[str] = Counter()
        self.sharing_s = 0.0
        self.versions: list[tuple[int, int]] = []  # of each own group that was shared: the step it came from, and that then
        self._watch(monkeypatch, "log_likelihoods", "Ll")
        self._watch(monkeypatch, "generate", "Gg")
        self._watch(monkeypatch, "train", "Tt")
        share = Exchange.share

        async def shared(exchange: Exchange, round: int, own: Sequence[ScoredGroup], reached: Any) -> int:
            self.versions += [(group.policy.step, self.policy.tag.step) for group in own]
            await trio.sleep(self.sharing_s)
            return await share(exchange, round, own, reached)

        monkeypatch.setattr(Exchange, "share", shared)

    def take_order(self) -> list[str]:
        taken, self.order[:] = list(self.order), []
        self._begun.clear()
        return taken

    @property
    def at_once(self) -> bool:
        """Whether something was begun before what was begun before it had ended."""
        return any(first[0].isupper() and then[0].isupper() for first, then in zip(self.order, self.order[1:], strict=False))

    def ahead(self, place: int) -> int:
        """Rounds that were generated and not trained on yet."""
        before = [what[0] for what in self.order[:place]]
        return before.count("G") - before.count("t")

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, letters: str) -> None:
        method = getattr(Policy, name)

        async def watched(policy: Policy, *args: Any, **options: Any) -> Any:
            number = self._begun[name]
            self._begun[name] += 1
            self.policy = policy
            self.order.append(f"{letters[0]}{number}")
            result = await method(policy, *args, **options)
            self.order.append(f"{letters[1]}{number}")
            return result

        monkeypatch.setattr(Policy, name, watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def live(path: Path, meanwhile: Any = None, **settings: object) -> tuple[list[Event], dict[str, Any]]:
    """The events of a lone node, and its status after its rounds; its log is as it must be."""
    events: list[Event] = []
    shown: list[dict[str, Any]] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, **SETTINGS | settings) as node, trio.open_nursery() as nursery:
            if meanwhile is not None:
                nursery.start_soon(meanwhile, node)
            await node.learn()
            shown.append(await status(node) | {"log": [share.round for _, share in await checked_log(node)]})
            indices = [group.recipe.index for _, share in await checked_log(node) for group in share.groups]
            assert len(indices) == len(set(indices)), "no task is proposed twice"
            nursery.cancel_scope.cancel()

    on_virtual_time(path, main)
    return events, shown[0]


def test_strict_order_does_one_thing_after_the_other(tmp_path: Path, watched: Watched) -> None:
    _, shown = live(tmp_path, node_rounds=3)
    assert watched.order == [f"{step}{round}" for round in range(3) for step in "LlGgTt"]
    assert all(came == now for came, now in watched.versions)
    assert shown["log"] == [0, 1, 2]


def test_a_round_is_generated_while_the_one_before_is_verified(tmp_path: Path, watched: Watched) -> None:
    events, shown = live(tmp_path / "ahead", training_max_versions_behind=1)
    assert [event.round for event in finished(events)] == list(range(6))
    assert shown["log"] == list(range(6)), "every round is shared, with the indices of its own tasks"
    assert watched.order.index("G5") < watched.order.index("T4")
    assert not watched.at_once, "one device does one thing after the other"
    # It does not wait either: it alternates, however far it might go ahead.
    assert {now - came for came, now in watched.versions} == {0, 1}
    _, strict = live(tmp_path / "strict")
    assert strict["time"]["rounds"] == 6
    assert shown["time"]["idle"]["policy"] < strict["time"]["idle"]["policy"] - 0.05
    assert shown["time"]["round_s"] < strict["time"]["round_s"]


@pytest.mark.parametrize("behind", [1, 2])
def test_generation_is_never_further_ahead(tmp_path: Path, watched: Watched, behind: int) -> None:
    watched.sharing_s = 1000
    live(tmp_path, training_max_versions_behind=behind)
    assert [now - came for came, now in watched.versions[::2]] == [*range(behind), *[behind] * (6 - behind)]
    waiting = [watched.ahead(place) for place, what in enumerate(watched.order) if what[0] == "G"]
    assert max(waiting) == behind, "so many rounds wait for their update as one more is begun"


@pytest.mark.parametrize("behind", [0, 1])
def test_a_second_device_generates_while_the_first_one_trains(tmp_path: Path, watched: Watched, behind: int) -> None:
    _, shown_one = live(tmp_path / "one", training_max_versions_behind=behind)
    alone = watched.take_order()
    _, shown_two = live(tmp_path / "two", training_max_versions_behind=behind, policy_generation_device="cpu")
    assert set(shown_two["time"]["busy"]) == {"training", "generating"}
    assert shown_two["log"] == list(range(6))
    if behind:
        assert watched.at_once
        assert shown_two["time"]["round_s"] < shown_one["time"]["round_s"]
    else:
        assert watched.order == alone
        assert shown_two["policy"]["digest"] == shown_one["policy"]["digest"], "what is handed over is the whole policy"
    assert not list(tmp_path.rglob("handover*"))


def test_an_adapter_is_handed_over(tmp_path: Path) -> None:
    settings = {"policy_adapter": "lora", "node_rounds": 2, "training_learning_rate": 1e-2}
    _, one = live(tmp_path / "one", **settings)
    _, two = live(tmp_path / "two", policy_generation_device="cpu", **settings)
    assert two["policy"] == one["policy"] | {"pid": two["policy"]["pid"]}
    assert two["policy"]["step"] > 0


def test_a_second_device_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"policy\.generation_device"):
        live(tmp_path, policy_generation_device="cuda:77")


@pytest.mark.parametrize("device", ["", "cpu"])
def test_a_policy_killed_while_rounds_overlap_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    killed: list[int] = []
    generate = Policy.generate

    async def shot(policy: Policy, prompts: Any, **options: Any) -> Any:
        if policy.tag.step >= 2 and not killed:
            second = policy._second
            killed.append(policy.pid if second is None else second.pid)
            os.kill(killed[0], signal.SIGKILL)
        return await generate(policy, prompts, **options)

    monkeypatch.setattr(Policy, "generate", shot)
    settings = {"training_max_versions_behind": 1, "checkpoint_every_rounds": 2, "policy_generation_device": device}
    events, _ = live(tmp_path, **settings)
    assert killed
    assert [event.part for event in events if isinstance(event, PartRestarted)] == ["learning"]
    rounds = [event.round for event in finished(events)]
    assert sorted(set(rounds)) == list(range(6))
    assert len(rounds) <= 6 + 2
    assert rounds[-1] == 5


def test_a_pause_ends_both_and_finishes_what_was_begun(tmp_path: Path, watched: Watched) -> None:
    begun: list[tuple[int, list[str]]] = []

    async def pause(node: Node) -> None:
        while node.learner.round < 2:
            await trio.sleep(0.01)
        node.learner.guest.pause(300)
        await trio.sleep(200)
        assert node.learner.guest.paused
        assert node.learner.policy.pid is None
        begun.append((node.learner.round, list(watched.order)))
        await trio.sleep(90)
        assert begun[0] == (node.learner.round, watched.order)

    events, shown = live(tmp_path, pause, training_max_versions_behind=1)
    (round, order), *_ = begun
    letters = [what[0] for what in order]
    assert letters.count("G") == letters.count("g") == letters.count("t") == round < 6
    assert [event.round for event in finished(events)] == list(range(6)) == shown["log"]
    assert shown["guest"]["pauses"] == 1


def test_a_stopped_node_has_finished_what_it_began(tmp_path: Path, watched: Watched) -> None:
    async def stop(node: Node) -> None:
        while node.learner.round < 2:
            await trio.sleep(0.01)
        node.learner.stop()

    events, shown = live(tmp_path, stop, training_max_versions_behind=1)
    letters = [what[0] for what in watched.order]
    rounds = len(finished(events))
    assert letters.count("G") == letters.count("t") == rounds < 6
    assert shown["log"] == list(range(rounds))
    newest = checkpoint.newest(tmp_path / "0" / "checkpoints")
    assert newest is not None
    assert checkpoint.node_state(newest)["round"] == rounds


def test_a_policy_that_went_back_trains_on_nothing_of_the_one_that_was(tmp_path: Path, watched: Watched) -> None:
    looks: list[int] = []

    async def spoil(node: Node) -> None:
        answer = node.learner.policy.answer

        async def spoiled(prompts: Sequence[str], **options: Any) -> list[str]:
            looks.append(node.learner.round)
            if node.learner.round == 4 and looks.count(4) == 1:
                return ["?"] * len(prompts)
            return await answer(prompts, **options)

        node.learner.policy.answer = spoiled  # type: ignore[method-assign]

    events, shown = live(tmp_path, spoil, training_max_versions_behind=1, checkpoint_every_rounds=2, training_learning_rate=1e-5)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert (back.round, back.to_round) == (4, 2)
    assert [event.round for event in finished(events)] == [0, 1, 2, 3, 2, 3, 4, 5] == shown["log"]
    assert not any(isinstance(event, PartRestarted) for event in events)


def test_a_rest_holds_generation_too(tmp_path: Path, watched: Watched) -> None:
    events, _ = live(tmp_path, training_max_versions_behind=1, guest_duty=0.25, node_rounds=8)
    took_s, busy_s = (
        sum(event.took_s for event in finished(events)),
        sum(sum(event.busy_s.values()) for event in finished(events)),
    )
    assert 0.1 < busy_s / took_s < 0.3


def test_a_share_that_is_cut_off_in_the_middle_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Store.append_own

    async def main(medium: Medium) -> None:
        async with medium.node(0, **SETTINGS) as node:

            async def share_one(round: int) -> None:
                proposal = await propose(node.learner, round)
                own = await evaluate(node.learner.roles.scorer, await generate(node.learner, proposal), node.context.key, 0)
                await node.exchange.share(round, own, proposal.reached)
                node.learner.round += 1

            with trio.CancelScope() as scope:

                def cut(store: Store, entry: StoredEnvelope) -> None:
                    append(store, entry)
                    trio.from_thread.run_sync(scope.cancel)

                monkeypatch.setattr(Store, "append_own", cut)
                await share_one(0)
            assert scope.cancelled_caught
            assert node.learner.round == 0
            monkeypatch.setattr(Store, "append_own", append)
            await share_one(1)
            assert len(await checked_log(node)) == 2, "the next envelope follows the one that was kept"

    on_virtual_time(tmp_path, main)
