"""A bounded place for what signers sent, fair among them: what overflows is the oldest item of who takes up the most bytes.

Signers that the node knows well are spared as long as anybody else has something here: among equals a thousand
identities with one small item each would otherwise push out the few with a larger one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Shelf(Generic[K, T]):
    """Items by key, each of one signer, oldest first; `spared` tells who is known well."""

    def __init__(self, max_items: int, max_bytes: int, spared: Callable[[bytes], bool]) -> None:
        self._spared = spared
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: dict[K, tuple[bytes, T, int]] = {}
        self._of: dict[bytes, OrderedDict[K, None]] = {}
        self._bytes_of: dict[bytes, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> T | None:
        """The item, if it is (still) here."""
        held = self._items.get(key)
        return held[1] if held is not None else None

    def put(self, signer: bytes, key: K, item: T, size: int) -> int:
        """Add an item of `size` bytes; returns how many were dropped to make room, itself perhaps among them."""
        self._items[key] = signer, item, size
        self._of.setdefault(signer, OrderedDict())[key] = None
        self._bytes_of[signer] = self._bytes_of.get(signer, 0) + size
        self._bytes += size
        dropped = 0
        while len(self._items) > self._max_items or self._bytes > self._max_bytes:
            heaviest = max(self._bytes_of, key=lambda each: (not self._spared(each), self._bytes_of[each], each))
            self.take_oldest(heaviest)
            dropped += 1
        return dropped

    def take_oldest(self, signer: bytes) -> T | None:
        """The signer's oldest item, which is here no more; None if it has none."""
        keys = self._of.get(signer)
        if not keys:
            return None
        key, _ = keys.popitem(last=False)
        _, item, size = self._items.pop(key)
        self._bytes_of[signer] -= size
        self._bytes -= size
        if not keys:
            del self._of[signer], self._bytes_of[signer]
        return item
