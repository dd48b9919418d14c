"""The receiver between a network and admission: whatever fails, what waits is judged in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from log_shapes import LogMedium, LogNode
from swarm_shapes import NOW_MS, RULES, Peer
from trio.testing import MockClock

from swarm.clock import VirtualClock
from swarm.exchange.receiving import JUDGED_AT_ONCE, WAITING_AT_ONCE, Receiver
from swarm.net.network import Message
from swarm.pool.admission.opened import Opened, open_message


def messages(first: int, count: int) -> list[Message[Opened]]:
    """One share of each of so many signers."""
    opened = [open_message(Peer(number).publish(), RULES.id) for number in range(first, first + count)]
    return [Message(each.data, each, "peer") for each in opened]


async def admitted(node: LogNode) -> int:
    return node.admission.statistics().groups


def receiver_of(node: LogNode) -> Receiver:
    return Receiver(node.context, node.pool, node.admission, node.beacon, node.log, lambda groups: None)


async def test_what_comes_before_it_runs_is_judged_when_it_does(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with LogMedium(tmp_path, VirtualClock(autojump_clock, NOW_MS)).node(1) as node, trio.open_nursery() as nursery:
        receiver = receiver_of(node)
        for message in messages(10, 30):
            assert receiver.take(message) == 0
        nursery.start_soon(receiver.run)
        await trio.sleep(5)
        assert await admitted(node) == 30
        nursery.cancel_scope.cancel()


async def test_a_failure_costs_only_what_was_being_judged(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LogMedium(tmp_path, VirtualClock(autojump_clock, NOW_MS)).node(1) as node:
        receiver, admit = receiver_of(node), node.admission.admit
        broken = [True]

        async def sometimes(opened: Opened, forwarder: str):  # type: ignore[no-untyped-def]
            if broken and broken.pop():
                await trio.sleep(1)
                raise RuntimeError("a fault of ours")
            await trio.sleep(2)
            return await admit(opened, forwarder)

        monkeypatch.setattr(node.admission, "admit", sometimes)
        for message in messages(10, 30):
            receiver.take(message)

        async def more() -> None:
            for message in messages(50, 200):
                receiver.take(message)
                await trio.sleep(0.01)

        async with trio.open_nursery() as beside:
            beside.start_soon(more)
            with pytest.raises(ExceptionGroup):
                await receiver.run()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.run)
            await trio.sleep(300)
            nursery.cancel_scope.cancel()
        assert await admitted(node) >= 230 - JUDGED_AT_ONCE


async def test_it_takes_messages_while_it_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with LogMedium(tmp_path, VirtualClock(autojump_clock, NOW_MS)).node(1) as node:
        receiver, waiting = receiver_of(node), messages(10, 40)
        for number, message in enumerate(waiting):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receiver.run)
                for _ in range(number % 5):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
                receiver.take(message)


async def test_announced_bodies_never_hold_up_the_judges(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with LogMedium(tmp_path, VirtualClock(autojump_clock, NOW_MS)).node(1) as node, trio.open_nursery() as nursery:
        receiver = receiver_of(node)
        for number in range(100, 100 + 2 * JUDGED_AT_ONCE):
            opened = open_message(Peer(number).announce()[0], RULES.id)
            receiver.take(Message(opened.data, opened, "nobody"))
        assert len(receiver._waiting) == 0
        assert 2 * JUDGED_AT_ONCE < WAITING_AT_ONCE
        for message in messages(10, 5):
            receiver.take(message)
        nursery.start_soon(receiver.run)
        await trio.sleep(0.5)
        assert await admitted(node) == 5
        nursery.cancel_scope.cancel()
