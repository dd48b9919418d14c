"""A child may die, hang, raise or be killed: its parent gets one exception and can start anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

import swarm.child
from swarm.child import Child
from swarm.clock import VirtualClock, WallClock
from swarm.errors import ChildDied, ChildFailed, ChildTimeout

HANDLERS = """
import os, sys, time
import swarm.child

def main(arguments):
    if arguments == "broken":
        raise LookupError("cannot be made")
    count = 0

    def counted(body):
        nonlocal count
        count += 1
        return count

    def fail(body):
        raise KeyError("no such thing")

    def wait(body):
        time.sleep(body)
        return body

    return {
        "arguments": lambda body: arguments,
        "echo": lambda body: body,
        "count": counted,
        "fail": fail,
        "wait": wait,
        "exit": lambda code: os._exit(code),
        "leave": lambda code: sys.exit(code),
        "signals": lambda body: [os.getpid(), os.nice(0), os.getppid()],
        "limit": lambda size: setattr(swarm.child, "MAX_FRAME_BYTES", size),
        "large": lambda size: b"x" * size,
        "odd": lambda body: {1, 2},
        "no unicode": lambda body: open("/no such folder/\\udcff"),
        "print": lambda body: print(body, flush=True),
    }
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child_of_the_tests.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "child_of_the_tests:main"


async def test_requests_are_answered_by_one_process(target: str) -> None:
    async with Child(target, {"size": 3, "names": ["a"]}, WallClock()) as child:
        assert await child.request("arguments", None) == {"size": 3, "names": ["a"]}
        body = {"text": "ä\0", "bytes": b"\xff", "numbers": [1, -2.5, 2**63], 4: None}
        assert await child.request("echo", body) == body
        assert [await child.request("count", None) for _ in range(3)] == [1, 2, 3]
        assert (await child.request("signals", None))[0] == child.pid != os.getpid()
    assert child.pid is None


async def test_requests_of_several_tasks_do_not_mix(target: str) -> None:
    answers: list[tuple[int, int]] = []
    async with Child(target, None, WallClock()) as child:

        async def ask(number: int) -> None:
            answers.append((number, await child.request("echo", number)))

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(ask, number)
    assert sorted(answers) == [(number, number) for number in range(30)]


async def test_an_exception_is_the_callers_and_the_child_lives_on(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        pid = child.pid
        with pytest.raises(ChildFailed, match="no such thing") as failed:
            await child.request("fail", None)
        assert failed.value.remote_type == "KeyError"
        with pytest.raises(ChildFailed, match="no-such-kind"):
            await child.request("no-such-kind", None)
        assert await child.request("echo", 1) == 1
        assert child.pid == pid


@pytest.mark.parametrize(("arguments", "kind"), [("broken", "LookupError"), (None, "ModuleNotFoundError")])
async def test_handlers_that_cannot_be_made_are_the_first_callers_error(target: str, arguments: str | None, kind: str) -> None:
    async with Child(target if arguments else "no_such_module:main", arguments, WallClock()) as child:
        for _ in range(2):
            with pytest.raises(ChildFailed) as failed:
                await child.request("echo", 1)
            assert failed.value.remote_type == kind


@pytest.mark.parametrize(("kind", "body", "code"), [("exit", 3, "3"), ("leave", 4, "4")])
async def test_death_is_told_and_a_new_start_helps(target: str, kind: str, body: int, code: str) -> None:
    async with Child(target, None, WallClock()) as child:
        with pytest.raises(ChildDied, match=f"ended with code {code}"):
            await child.request(kind, body)
        assert child.pid is None
        with pytest.raises(ChildDied, match="start it again"):
            await child.request("echo", 1)
        await child.start()
        assert await child.request("echo", 1) == 1


async def test_a_kill_between_requests_is_told_by_the_next(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        await child.request("echo", 1)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ChildDied):
            await child.request("echo", b"x" * 2**22)


async def test_being_late_ends_the_child(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        pid = child.pid
        with pytest.raises(ChildTimeout, match=r"did not answer 'wait' within 0\.2 s"):
            await child.request("wait", 3600, timeout=0.2)
        assert child.pid is None
        assert await gone(pid)


async def test_a_cancelled_request_leaves_no_half_read_answer(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        with trio.move_on_after(0.2):
            await child.request("wait", 3600)
        assert child.pid is None
        await child.start()
        assert await child.request("echo", "new") == "new"


async def test_megabytes_travel_and_more_than_the_limit_is_refused_before_it_is_sent(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Child(target, None, WallClock()) as child:
        body = os.urandom(5 * 2**20)
        assert await child.request("echo", body) == body
        monkeypatch.setattr(swarm.child, "MAX_FRAME_BYTES", 1000)
        with pytest.raises(ValueError, match="over the limit"):
            await child.request("echo", b"x" * 1000)
        assert await child.request("echo", b"x" * 900) == b"x" * 900
        await child.request("limit", 1000)
        with pytest.raises(ChildFailed, match="over the limit"):
            await child.request("large", 1000)
        assert len(await child.request("large", 900)) == 900


async def test_an_answer_that_cannot_be_packed_is_the_callers_error(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        with pytest.raises(ChildFailed, match="TypeError"):
            await child.request("odd", None)
        with pytest.raises(ChildFailed, match="No such file"):
            await child.request("no unicode", None)
        assert await child.request("echo", 1) == 1


async def test_what_a_handler_prints_is_not_taken_for_its_answer(target: str) -> None:
    async with Child(target, None, WallClock()) as child:
        assert await child.request("print", "hello") is None
        assert await child.request("echo", 1) == 1


async def test_niceness(target: str) -> None:
    async with Child(target, None, WallClock(), niceness=5) as child:
        assert (await child.request("signals", None))[1] == os.nice(0) + 5


def test_on_a_virtual_clock_a_request_takes_what_it_costs(target: str) -> None:
    mock = MockClock()

    async def main() -> None:
        async with Child(target, None, VirtualClock(mock, 0)) as child:
            begun = trio.current_time()
            assert await child.request("wait", 0.1, timeout=0.01, cost=7) == 0.1
            assert trio.current_time() - begun == 7, "and no time limit passes while the time stands still"
            with pytest.raises(ChildDied):
                await child.request("exit", 1, cost=7)

    trio.run(main, clock=mock)


# Signals to the group, and the parent's death

PARENT = """
import os, signal, sys, trio
import swarm.child
swarm.child.PRELOAD = ["swarm.fork_server"]  # these children need nothing heavy
from swarm.child import Child
from swarm.clock import WallClock
sys.path.insert(0, {path!r})

async def main():
    async with Child("child_of_the_tests:main", None, WallClock()) as child:
        print(child.pid, (await child.request("signals", None))[2], flush=True)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            print("ready", flush=True)
            async for number in signals:
                await trio.sleep(0.3)
                print(await child.request("echo", int(number)), flush=True)
                if {busy!r}:
                    await child.request("wait", 0.5)

if __name__ == "__main__":
    trio.run(main)
"""


@contextmanager
def parent(tmp_path: Path, *, busy: bool = False) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process group of its own: (parent, child's pid, fork server's pid)."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=str(tmp_path), busy=busy))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        child, server = map(int, process.stdout.readline().split())
        assert process.stdout.readline() == "ready\n"
        yield process, child, server
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def gone(pid: int | None, seconds: float = 10) -> bool:
    """Whether the process has ended, or ends soon; one that nobody has reaped yet has ended too."""
    with trio.move_on_after(seconds):
        while True:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return True
            except (FileNotFoundError, ProcessLookupError):
                return True
            await trio.sleep(0.02)
    return False


async def test_a_signal_to_the_whole_group_ends_no_child(target: str, tmp_path: Path) -> None:
    with parent(tmp_path) as (process, child, _):
        assert process.stdout is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.killpg(process.pid, number)
            assert process.stdout.readline() == f"{int(number)}\n"
        assert not await gone(child, 0.1)


@pytest.mark.parametrize("busy", [False, True])
async def test_children_end_with_their_parent(target: str, tmp_path: Path, busy: bool) -> None:
    with parent(tmp_path, busy=busy) as (process, child, server):
        if busy:
            os.kill(process.pid, signal.SIGTERM)
            assert process.stdout is not None
            assert process.stdout.readline() == "15\n"
            await trio.sleep(0.1)
        process.kill()
        assert await gone(child)
        assert await gone(server)
        assert process.stderr is not None
        assert process.stderr.read() == "", "nobody is there to read a traceback"
