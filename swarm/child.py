"""A child process that answers requests over a pipe: the policy and the verifiers live in such children.

Why processes: the trio loop must never run torch or a verifier (heartbeats would stop), a kill for memory must cost the
child only, and a verifier that hangs can only be stopped from outside. Why a fork server: importing torch, transformers
and reasoning-gym takes seconds and hundreds of megabytes; one process imports them once, and every child, restarted ones
too, is a fork of it that starts in milliseconds and shares the memory. The node itself never imports them.

A frame is four bytes of big-endian length and that many bytes of MessagePack. One request is in flight at a time. The
parent sends `[kind, body]`; the child answers `[True, result, seconds]` or `[False, [exception type, message], seconds]`, by its
own clock.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Self

import msgpack
import trio

from swarm.clock import Clock
from swarm.errors import ChildDied, ChildFailed, ChildTimeout

MAX_FRAME_BYTES = 256 * 2**20
ENDS_WITHIN_S = 5.0  # once it was killed; a machine that swaps takes its time
Handlers = Mapping[str, Callable[[Any], Any]]

# Modules that the fork server imports once; a missing or broken one only makes the child import it itself.
PRELOAD = ["swarm.fork_server", "swarm.policy.policy_worker", "swarm.tasks.task_worker", "swarm.tasks.prepared", "swarm.frozen"]


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


class Child:
    """A child process running `target` ("module:function"), which maps `arguments` to its request handlers.

    Use as an async context manager. After `ChildDied` or `ChildTimeout` the child is gone; `start` begins a new one.
    """

    def __init__(self, target: str, arguments: Any, clock: Clock, *, niceness: int = 0) -> None:
        self._target = target
        self._arguments = arguments
        self._clock = clock
        self._niceness = niceness
        self._process: Any = None
        self._stream: trio.SocketStream | None = None
        self._lock = trio.Lock()
        self._busy_s = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the child; its handlers are made on its first request, so that errors there reach the caller."""
        self.kill()
        context = _context()
        ours, theirs = socket.socketpair()
        # Process exists on every start method's context; typeshed's base class does not know it.
        process = context.Process(  # type: ignore[attr-defined]
            target=_run, args=(theirs, self._target, self._arguments, self._niceness), daemon=True
        )
        async with self._clock.work(0):
            try:
                await trio.to_thread.run_sync(process.start)
            except (EOFError, OSError) as error:
                ours.close()
                raise ChildDied(f"the child {self._target} could not be started: {error!r}") from error
            finally:
                theirs.close()
        self._process = process
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    async def request(self, kind: str, body: Any, *, timeout: float = float("inf"), cost: float = 0.0) -> Any:
        """Ask the child and wait for its answer.

        `timeout` is in seconds; `cost` is what a virtual clock charges for the work. Raises `ChildDied` when the child
        ends first, `ChildTimeout` when it was killed for being late, `ChildFailed` when its handler raised.
        """
        frame = _pack([kind, body])
        async with self._lock, self._clock.work(cost):
            if self._stream is None:
                raise ChildDied(f"the child {self._target} is not running; start it again")
            with trio.move_on_after(timeout) as scope:
                ok, result, seconds = await self._exchange(self._stream, frame)
            if scope.cancelled_caught:
                self.kill()
                raise ChildTimeout(f"the child {self._target} did not answer {kind!r} within {timeout:g} s")
        self._busy_s += self._clock.took(seconds, cost)
        if not ok:
            raise ChildFailed(*result)
        return result

    def take_busy_s(self) -> float:
        """Seconds for which the handlers worked since the last call."""
        taken, self._busy_s = self._busy_s, 0.0
        return taken

    async def _exchange(self, stream: trio.SocketStream, frame: bytes) -> Any:
        try:
            await stream.send_all(frame)
            (length,) = struct.unpack(">I", await _receive_exactly(stream, 4))
            return msgpack.unpackb(await _receive_exactly(stream, length), strict_map_key=False)
        except trio.Cancelled:
            # A half-read answer would be taken for the next one's.
            self.kill()
            raise
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            code = await self._reap()
            raise ChildDied(f"the child {self._target} ended with code {code} while it owed an answer") from None

    async def _reap(self) -> int | None:
        process = self._process
        if process is None:
            return None
        await trio.to_thread.run_sync(process.join, ENDS_WITHIN_S)
        code: int | None = process.exitcode
        self.kill()
        return code

    def kill(self) -> None:
        """End the child at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.socket.close()

    async def end(self) -> None:
        """End the child, and wait until it is gone and its memory free."""
        process = self._process
        self.kill()
        if process is not None:
            async with self._clock.work(0):
                await trio.to_thread.run_sync(process.join, ENDS_WITHIN_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()


def _pack(message: Any) -> bytes:
    payload: bytes = msgpack.packb(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return struct.pack(">I", len(payload)) + payload


async def _receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = await stream.receive_some(min(count - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _run(connection: socket.socket, target: str, arguments: Any, niceness: int) -> None:
    """The child's side: answer requests until the parent's end closes."""
    # These reach the whole process group; ending is the parent's decision (see swarm.fork_server).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    _prefer_for_memory_kill()
    handlers: Handlers | None = None
    with connection, connection.makefile("rb") as source, suppress(ConnectionError):
        # A connection error is the parent's death; nobody is left to hear of it.
        while len(header := source.read(4)) == 4:
            kind, body = msgpack.unpackb(source.read(struct.unpack(">I", header)[0]), strict_map_key=False)
            begun = time.perf_counter()
            try:
                if handlers is None:
                    module, function = target.split(":")
                    handlers = getattr(importlib.import_module(module), function)(arguments)
                result = handlers[kind](body)
                answer = _pack([True, result, time.perf_counter() - begun])
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is the caller's answer
                # A path in a message may hold what is not Unicode.
                text = str(error).encode("utf-8", "backslashreplace").decode()
                answer = _pack([False, [type(error).__name__, text], time.perf_counter() - begun])
            connection.sendall(answer)


def _prefer_for_memory_kill() -> None:
    """Make the kernel choose this child, not the node, when memory runs out (Linux)."""
    if sys.platform == "linux":
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("500")
        except OSError:
            return
