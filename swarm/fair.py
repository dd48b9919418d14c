"""Fairness among strangers: token buckets, a bounded shelf, places for work, queues in turns.

Each bounds the cost of one sender, known by its key alone. The shelf and the turns know one
difference: senders that the node knows well are *established*. Everybody else together is one
crowd, however many keys it has.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

import trio

K = TypeVar("K")
T = TypeVar("T")

Seconds = Callable[[], float]


class Bucket:
    """A token bucket: `rate` tokens a second, `burst` at once, overdrawn by at most `debt`.

    `seconds` is its clock.
    """

    __slots__ = ("_burst", "_debt", "_filled_s", "_over_since_s", "_rate", "_seconds", "_tokens")

    def __init__(self, rate: float, burst: float, seconds: Seconds = trio.current_time, debt: float = math.inf) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._debt = debt
        self._tokens = burst
        self._filled_s = seconds()
        self._over_since_s: float | None = None

    def left(self) -> float:
        """Return the tokens left now; below 0 is overdrawn."""
        now_s = self._seconds()
        # A wall clock that is set back gives no tokens, and takes none.
        self._tokens = min(self._burst, self._tokens + max(now_s - self._filled_s, 0.0) * self._rate)
        self._filled_s = now_s
        if self._tokens > self._burst / 10:
            self._over_since_s = None
        return self._tokens

    def spend(self, amount: float = 1.0) -> float:
        """Take `amount` tokens, there or not; return the tokens left."""
        self._tokens = max(self.left() - amount, -self._debt)
        if self._tokens < 0 and self._over_since_s is None:
            self._over_since_s = self._filled_s
        return self._tokens

    def take(self, amount: float = 1.0) -> float:
        """Spend `amount`; return the seconds to wait before spending more."""
        return max(-self.spend(amount), 0.0) / self._rate

    def affords(self, amount: float = 1.0) -> bool:
        """Spend `amount` if there are enough tokens; return whether there were."""
        enough = self.left() >= amount
        if enough:
            self._tokens -= amount
        return enough

    def excess_s(self) -> float:
        """Return the seconds for which the bucket has been overdrawn without a pause."""
        return 0.0 if self._over_since_s is None else self._seconds() - self._over_since_s


class Buckets(Generic[K]):
    """One bucket per key. Beyond `most` keys the fullest are forgotten: they say nothing."""

    def __init__(self, rate: float, burst: float, seconds: Seconds, most: int) -> None:
        self.burst: Final = burst
        self._rate = rate
        self._seconds = seconds
        self._most = most
        self._buckets: dict[K, Bucket] = {}

    def left(self, key: K) -> float:
        """Return the tokens that `key` has left; below 0 is overdrawn."""
        bucket = self._buckets.get(key)
        return self.burst if bucket is None else bucket.left()

    def spend(self, key: K, amount: float) -> float:
        """Take `amount` from the bucket of `key`, there or not; return the tokens left.

        A bucket is overdrawn by at most twice its burst.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._rate, self.burst, self._seconds, 2 * self.burst)
        left = bucket.spend(amount)
        if len(self._buckets) > self._most:
            fullest = sorted(self._buckets, key=lambda each: -self._buckets[each].left())
            for each in fullest[: self._most // 10]:
                del self._buckets[each]
        return left


class Shelf(Generic[T]):
    """Items of many owners, bounded in number and bytes.

    On overflow the owner with the most bytes loses its oldest item. Owners for which `spared` is
    true lose theirs only when nobody else has any. Otherwise a thousand identities with one small
    item each would push out the few with a larger one.
    """

    def __init__(self, max_items: int, max_bytes: int, spared: Callable[[bytes], bool]) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._spared = spared
        self._of: dict[bytes, deque[tuple[T, int]]] = {}
        self._bytes_of: dict[bytes, int] = {}
        self._items = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._items

    def put(self, owner: bytes, item: T, size: int) -> int:
        """Add an item of `size` bytes; return the number of items dropped, perhaps itself."""
        self._of.setdefault(owner, deque()).append((item, size))
        self._bytes_of[owner] = self._bytes_of.get(owner, 0) + size
        self._items += 1
        self._bytes += size
        dropped = 0
        while self._items > self._max_items or self._bytes > self._max_bytes:
            self.take_oldest(max(self._bytes_of, key=lambda each: (not self._spared(each), self._bytes_of[each], each)))
            dropped += 1
        return dropped

    def take_oldest(self, owner: bytes) -> T | None:
        """Remove and return the owner's oldest item; None if it has none."""
        items = self._of.get(owner)
        if not items:
            return None
        item, size = items.popleft()
        self._items -= 1
        self._bytes -= size
        self._bytes_of[owner] -= size
        if not items:
            del self._of[owner], self._bytes_of[owner]
        return item


class Places(Generic[K]):
    """Places for work under way: at most `most` in all, and `each` for one owner."""

    def __init__(self, most: float, each: int) -> None:
        self._most = most
        self._each = each
        self._taken: Counter[K] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def full(self) -> bool:
        """Whether no place is left for anybody."""
        return len(self) >= self._most

    def full_for(self, owner: K) -> bool:
        """Whether `owner` has taken its `each` places."""
        return self._taken[owner] >= self._each

    @contextmanager
    def taken(self, owner: K) -> Iterator[None]:
        """Hold a place of `owner`; the caller has checked that there is one."""
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


class Turns(Generic[T]):
    """Two queues, of established senders' items and of everybody else's, served in turns."""

    def __init__(self) -> None:
        self._queues: dict[bool, OrderedDict[T, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._served_last = False

    def put(self, item: T, *, established: bool) -> None:
        """Append an item to its queue."""
        self._queues[established][item] = None

    def remove(self, item: T, *, established: bool) -> None:
        """Take an item back from its queue. Raises `KeyError` if it is not there."""
        del self._queues[established][item]

    def next(self) -> T | None:
        """Remove and return the item whose turn it is; None if both queues are empty."""
        for queue in (not self._served_last, self._served_last):
            if self._queues[queue]:
                self._served_last = queue
                return self._queues[queue].popitem(last=False)[0]
        return None

    def cheapest(self, cost: Callable[[T], float]) -> T | None:
        """Do as `next`, but choose the least cost within the queue, and nothing of infinite cost.

        Of several, the one that has waited longest is chosen.
        """
        for queue in (not self._served_last, self._served_last):
            item = min(self._queues[queue], key=cost, default=None)
            if item is not None and cost(item) < math.inf:
                self._served_last = queue
                del self._queues[queue][item]
                return item
        return None
