"""A memory of the newest: what strangers can make a node remember is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Newest(OrderedDict[K, V]):
    """The `most` entries that were set or obtained last; setting one more forgets the oldest."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)

    def obtain(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made where it is missing, and count it among the newest."""
        if key in self:
            self.move_to_end(key)
        else:
            self[key] = make()
        return self[key]
