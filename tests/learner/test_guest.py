"""A node that gives way: when, what it gives back, and that nothing is lost by it."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
import trio
from node_shapes import Medium, finished, on_virtual_time

from swarm.clock import WallClock
from swarm.config.hours import Hours, opens
from swarm.config.load import load
from swarm.config.schema import GuestSection
from swarm.errors import ConfigError, HomeError
from swarm.events import Checkpointed, Event, PartRestarted
from swarm.learner import guest as guest_module
from swarm.learner.guest import Guest
from swarm.learner.machine import GpuProcess, gpu_processes, wants_gpu
from swarm.node.node import Node
from swarm.node.status import pause_of, status
from swarm.policy import checkpoint


@pytest.fixture
def greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def lone(tmp_path: Path, name: str, meanwhile=None, **settings: object) -> tuple[str, dict, list[Event]]:
    """What a node alone has learned after four rounds, with its last status; `meanwhile` runs
    beside it."""
    events: list[Event] = []
    result: list[tuple[str, dict]] = []

    async def main(medium: Medium) -> None:
        async with (
            medium.node(0, events, **{"node_rounds": 4, "node_min_round_s": 5} | settings) as node,
            trio.open_nursery() as nursery,
        ):
            if meanwhile is not None:
                nursery.start_soon(meanwhile, node)
            await node.learn()
            result.append((node.learner.policy.tag.digest.hex(), await status(node)))
            nursery.cancel_scope.cancel()

    on_virtual_time(tmp_path / name, main)
    assert not any(isinstance(event, PartRestarted) for event in events)
    return *result[0], events


async def until_round(node: Node, number: int) -> None:
    while node.learner.round < number:
        await trio.sleep(0.1)


def test_a_pause_gives_the_memory_back_and_loses_nothing(tmp_path: Path) -> None:
    gone: list[int] = []

    async def pause(node: Node) -> None:
        await until_round(node, 2)
        await trio.sleep(1)
        child = node.learner.policy.pid
        assert child is not None
        node.learner.guest.pause(300)
        shown = pause_of(node)
        assert shown is not None
        assert not shown["in_effect"], "the round that runs is finished first"
        await trio.sleep(200)
        assert node.learner.policy.pid is None
        assert not psutil.pid_exists(child)
        whole = await status(node)
        shown = whole["paused"]
        assert shown["in_effect"]
        assert shown["until"] is not None
        assert "by hand" in shown["why"]
        assert "paused: by hand" in whole["state"]
        gone.append(node.learner.round)
        await trio.sleep(50)
        assert node.learner.round == gone[0], "nothing is learned meanwhile"

    plain, without, _ = lone(tmp_path, "plain")
    paused, after, events = lone(tmp_path, "paused", pause)
    assert gone
    assert paused == plain
    assert after["policy"]["step"] == without["policy"]["step"] > 0
    assert (after["round"], after["groups_proposed"]) == (without["round"], without["groups_proposed"])
    assert after["guest"]["pauses"] == 1
    assert 250 < after["guest"]["paused_s"] < 310
    assert after["paused"] is None
    assert len([event for event in events if isinstance(event, Checkpointed)]) == 2


def test_a_paused_node_that_is_stopped_has_saved_everything(tmp_path: Path) -> None:
    async def stop(node: Node) -> None:
        await until_round(node, 1)
        node.learner.guest.pause()
        await trio.sleep(100)
        assert node.learner.guest.paused
        node.learner.stop()

    digest, shown, events = lone(tmp_path, "stopped", stop)
    newest = checkpoint.newest(tmp_path / "stopped" / "0" / "checkpoints")
    assert newest is not None
    assert checkpoint.meta(newest)["digest"] == digest
    assert checkpoint.node_state(newest)["round"] == shown["round"] == len(finished(events)) < 4


def test_a_pause_by_hand_is_taken_back_and_hours_are_not(tmp_path: Path, greenwich: None) -> None:
    seen: list[str] = []

    async def watch(node: Node) -> None:
        # The clock of these tests begins at midnight.
        node.learner.guest.pause()
        await trio.sleep(60)
        assert node.learner.round == 0
        node.learner.guest.resume()
        shown = pause_of(node)
        assert shown is not None
        seen.append(shown["why"] + shown["until"])
        await trio.sleep(1000)
        assert node.learner.round == 0

    _, shown, events = lone(tmp_path, "hours", watch, guest_hours="00:30-23:00")
    assert seen == ["outside guest.hours2026-01-01 00:30:00+00:00"]
    assert len(finished(events)) == 4
    assert 1700 < shown["guest"]["paused_s"] <= 1800


async def test_what_was_asked_for_by_hand_is_kept(tmp_path: Path) -> None:
    def guest() -> Guest:
        return Guest(GuestSection(), WallClock())

    file, first = tmp_path / "pause", guest()
    assert first.restore(file) is None
    for seconds in (None, 3600.0):
        first.pause(seconds)
        first.keep(file)
        again = guest()
        assert again.restore(file) == again.reason() == first.reason()
    first.pause(0.01)
    first.keep(file)
    await trio.sleep(0.02)
    assert guest().restore(file) is None, "a pause that has ended meanwhile is over"
    first.resume()
    first.keep(file)
    first.keep(file)
    assert not file.exists()
    file.write_text("tomorrow")
    with pytest.raises(HomeError, match="remove it"):
        guest().restore(file)


def test_a_duty_cycle_rests_in_proportion(tmp_path: Path) -> None:
    _, _, events = lone(tmp_path, "duty", node_min_round_s=0, node_rounds=2, guest_duty=0.1)
    assert len(finished(events)) == 2
    for event in finished(events):
        busy = sum(event.seconds[what] for what in ("proposing", "generating", "training"))
        assert event.seconds["waiting"] == pytest.approx(9 * busy, rel=0.1)


async def test_the_machine_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    battery, processes = False, [GpuProcess(os.getpid(), True, 90, 4000, "swarmd")]

    async def listed() -> list[GpuProcess]:
        return processes

    monkeypatch.setattr(guest_module, "LOOK_S", 0.01)
    monkeypatch.setattr(guest_module, "GPU_QUIET_S", 0.1)
    monkeypatch.setattr(guest_module, "on_battery", lambda: battery)
    monkeypatch.setattr(guest_module, "list_gpu_processes", listed)
    guest = Guest(GuestSection(battery=True, gpu=True), WallClock())

    def why() -> str:
        pause = guest.reason()
        return "nothing" if pause is None else pause.why

    async def says(words: str) -> None:
        with trio.fail_after(5):
            while words not in why():
                await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.watch)
        await trio.sleep(0.05)
        assert guest.reason() is None
        battery = True
        await says("battery")
        battery = False
        await says("nothing")
        processes.append(GpuProcess(1, False, 60, 900, "game"))
        await says("game (process 1)")
        guest.paused = True
        processes.pop(0)
        await trio.sleep(0.2)
        await says("game")
        processes.clear()
        begun = trio.current_time()
        await says("nothing")
        assert trio.current_time() - begun > 0.05, "a short silence is no end"
        nursery.cancel_scope.cancel()


async def test_a_driver_that_hides_the_others_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = GpuProcess(os.getpid(), True, 90, 4000, "swarmd")
    listing: list[GpuProcess] | None = [ours]

    async def listed() -> list[GpuProcess] | None:
        return listing

    monkeypatch.setattr(guest_module, "LOOK_S", 0.01)
    monkeypatch.setattr(guest_module, "GPU_QUIET_S", 0.1)
    monkeypatch.setattr(guest_module, "list_gpu_processes", listed)
    guest = Guest(GuestSection(gpu=True), WallClock())

    async def says(words: str) -> None:
        with trio.fail_after(5):
            while words not in guest.statistics().gpu_hidden or bool(words) != bool(guest.statistics().gpu_hidden):
                await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.watch)
        await trio.sleep(0.2)
        assert guest.statistics().gpu_hidden == ""
        listing = [GpuProcess(1, True, 90, 4000, "a number of another world")]
        await trio.sleep(0.03)
        assert guest.statistics().gpu_hidden == "", "a policy that begins is listed a little later"
        await says("container")
        listing = None
        await says("nvidia-smi pmon")
        await trio.sleep(0.1)
        warned = [record.getMessage() for record in caplog.records if "guest.gpu" in record.getMessage()]
        assert len(warned) == 1
        assert "container" in warned[0]
        listing = [ours]
        await says("")
        nursery.cancel_scope.cancel()


NEW_DRIVER = """\
# gpu         pid   type     sm    mem    enc    dec    jpg    ofa     fb   ccpm    command
# Idx           #    C/G      %      %      %      %      %      %     MB     MB    name
    0       2243     G      3      1      -      -      -      -    212      0    Xorg
    0      90210     C     88     40      -      -      -      -   7312      0    python
    0      91000   C+G      -      -      -      -      -      -    900      0    blender main
    1          -     -      -      -      -      -      -      -      -      -    -
"""
OLD_DRIVER = """\
# gpu        pid  type    sm   mem   enc   dec    fb   command
# Idx          #   C/G     %     %     %     %    MB   name
    0       4673     G     -     -     -     -     0   java
    0       4765     G    23     0     -     -     4   game
"""


def test_who_wants_the_gpu() -> None:
    new, old = list(gpu_processes(NEW_DRIVER)), list(gpu_processes(OLD_DRIVER))
    assert [(each.pid, each.computes, each.percent, each.mib, each.name) for each in new] == [
        (2243, False, 3, 212, "Xorg"),
        (90210, True, 88, 7312, "python"),
        (91000, True, 0, 900, "blender main"),
    ]
    assert wants_gpu(new, {90210, 91000}, ours_listed=True) is None, "a desktop that draws itself is no reason"
    other = wants_gpu(new, {90210}, ours_listed=True)
    assert other is not None
    assert other.name == "blender main"
    assert wants_gpu(new, {7}, ours_listed=True) is None, "a container's numbers are not ours: nobody can be told apart"
    assert (wants_gpu(new, {7}, ours_listed=False) or other).pid == 90210
    assert (wants_gpu(old, {7}, ours_listed=False) or other).name == "game"
    assert list(gpu_processes("No devices were found\n")) == []


@pytest.mark.parametrize(
    ("hours", "now", "opening"),
    [
        ([], "12:00", None),
        (["22:00-07:00"], "23:10", None),
        (["22:00-07:00"], "06:59", None),
        (["22:00-07:00"], "07:00", "22:00"),
        (["22:00-07:00", "12:00-13:00"], "11:59", "12:00"),
        (["22:00-07:00", "12:00-13:00"], "13:00", "22:00"),
        (["01:00-02:00"], "03:00", "01:00"),
        (["05:00-05:00"], "17:00", None),
    ],
)
def test_hours(hours: list[str], now: str, opening: str | None) -> None:
    moment = datetime.fromisoformat(f"2026-05-01 {now}")
    found = opens([Hours.parse(each) for each in hours], moment)
    assert (found and found.strftime("%H:%M")) == opening
    assert found is None or found > moment


@pytest.mark.parametrize("text", ["", "22-7", "22:00", "25:00-07:00", "22:00-07:00-09:00", "at night"])
def test_wrong_hours_are_refused_with_an_example(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="22:00-07:00"):
        load(tmp_path, {"guest.hours": f'["{text}"]'}, {})
