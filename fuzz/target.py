"""A fuzz target: a reader of bytes, examples for it, and what must hold for any bytes.

A check returns for good bytes and for those refused within the error tree, and raises for anything
that must not happen: an exception of another kind, or an `AssertionError` for a property that does
not hold.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from protocols.reasons import ProtocolError
from swarm.errors import SwarmdError

T = TypeVar("T")

Check = Callable[[bytes], None]
REFUSALS = (ProtocolError, SwarmdError)
# Every so many inputs one is measured; measuring all would take three times as long.
MEASURE_EVERY = 64
# What a reader may hold for a while besides what its input pays for: msgpack's packer takes 256 KiB
# to begin with.
SPARE_BYTES = 512 * 1024


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes.

    `prepare` makes a check and the seeds. `bytes_per_byte` bounds what a check may have allocated
    at its worst moment, in bytes per byte of input, beyond `SPARE_BYTES` and `fixed_bytes`; a
    target of `cost` 2 gets half as many runs as one of 1.
    """

    name: str
    prepare: Callable[[], tuple[Check, Sequence[bytes]]]
    bytes_per_byte: int = 128
    fixed_bytes: int = 0
    max_bytes: int = 4096
    cost: float = 1.0

    def measured(self, check: Check) -> Check:
        """The check, with now and then a look at what it allocates."""
        turn = 0

        def run(data: bytes) -> None:
            nonlocal turn
            turn += 1
            if turn % MEASURE_EVERY:
                check(data)
                return
            allowed = SPARE_BYTES + self.fixed_bytes + self.bytes_per_byte * len(data)
            peak = _peak_bytes(check, data)
            if peak > allowed:
                # Once more: a cache that grew, or something imported, is paid for only once.
                peak = _peak_bytes(check, data)
            assert peak <= allowed, f"{peak} bytes were allocated for {len(data)} bytes of input; {allowed} are allowed"

        return run


def _peak_bytes(check: Check, data: bytes) -> int:
    """The most that was allocated at once during a check."""
    tracemalloc.start()
    try:
        check(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refusing(read: Callable[[bytes], object]) -> Check:
    """A check of a reader that refuses within the error tree."""

    def check(data: bytes) -> None:
        try:
            read(data)
        except REFUSALS:
            return

    return check


def at_once(call: Awaitable[T]) -> T:
    """The result of an async function that has nothing to wait for."""
    assert isinstance(call, Coroutine)
    running: Coroutine[Any, Any, T] = call
    try:
        running.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        running.close()
    raise AssertionError("it waits for something")
