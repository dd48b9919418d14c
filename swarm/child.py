"""A child process that answers requests over a pipe: the policy and the verifiers live in them.

Why processes: torch or a verifier in the trio loop would stop the heartbeats. A kill for memory
must cost the child only. A verifier that hangs can only be stopped from outside.

Why a fork server: importing torch, transformers and reasoning-gym takes seconds and hundreds of
megabytes. One process imports them once, and the node itself never does. Every child, restarted
ones too, is a fork of that process: it starts in milliseconds and shares the memory.

A frame is a length (four bytes, big-endian) and the payload, MessagePack. One request is in flight
at a time. The parent sends `[kind, body]`. The child answers `[True, result, seconds]` or `[False,
[exception type, message], seconds]`, timed by its own clock.
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
ENDS_WITHIN_S = 5.0  # after a kill; a machine that swaps takes its time
Handlers = Mapping[str, Callable[[Any], Any]]

# Modules that the fork server imports once; the child imports a missing or broken one itself.
PRELOAD = ["swarm.fork_server", "swarm.policy.policy_worker", "swarm.tasks.task_worker", "swarm.tasks.prepared", "swarm.frozen"]


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


class Child:
    """A child process whose `target` ("module:function") maps `arguments` to its request handlers.

    Use it as an async context manager. After `ChildDied` or `ChildTimeout` the child is gone;
    `start` begins a new one.
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
        """The child's process id; None while it does not run."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the child. Raises `ChildDied` if that fails.

        Its handlers are made on the first request, so that their errors reach the caller.
        """
        self.kill()
        context = _context()
        ours, theirs = socket.socketpair()
        # Every start method's context has Process; typeshed's base class does not know it.
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
        """Ask the child and return its answer.

        `timeout` is in seconds; `cost` is charged for the work by a virtual clock (seconds). Raises
        `ChildDied` if the child ends first, `ChildTimeout` if it was killed for being late,
        `ChildFailed` if its handler raised.
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
        """Return the seconds for which the handlers worked since the last call."""
        taken, self._busy_s = self._busy_s, 0.0
        return taken

    async def _exchange(self, stream: trio.SocketStream, frame: bytes) -> Any:
        try:
            await stream.send_all(frame)
            (length,) = struct.unpack(">I", await _receive_exactly(stream, 4))
            return msgpack.unpackb(await _receive_exactly(stream, length), strict_map_key=False)
        except trio.Cancelled:
            # The rest of a half-read answer would be taken for the next one.
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
        """Kill the child, if it runs, without waiting for its end."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.socket.close()

    async def end(self) -> None:
        """Kill the child, and wait up to `ENDS_WITHIN_S` until its memory is free."""
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
    """Answer requests, in the child, until the parent's end closes."""
    # These signals reach the whole process group; ending is the parent's decision (`fork_server`).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    _prefer_for_memory_kill()
    handlers: Handlers | None = None
    with connection, connection.makefile("rb") as source, suppress(ConnectionError):
        # A connection error means that the parent has died; nobody is left to be told.
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
                # A path in a message may hold bytes that are not Unicode.
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
