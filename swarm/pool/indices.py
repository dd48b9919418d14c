"""This node's own task indices: the point proposing has reached, and the point shares account for.

A share must account for every index since the share before, in order, whether it carries a group of
it or not. A hole would be held against this node. Rounds overlap, so several may be proposed before
the first of them is shared. Each one remembers the point that proposing had `reached`, and its
share accounts for the indices up to that point.

    shared ▏0 1 2 3│4 5 6│7 8            accounted = 4; a round reached 7, the one after it 9
                    ▔▔▔▔▔ the range of the next share
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Reached:
    """A point in the indices: all of `epoch` below `next_index` are used."""

    epoch: int
    next_index: int


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The indices `first .. first + count - 1` of an epoch."""

    epoch: int
    first: int
    count: int


class Indices:
    """Both points of one node. They begin where its own log ends; a new epoch begins at 0."""

    def __init__(self, end: Reached) -> None:
        self._reached = end
        self._accounted = end

    @property
    def reached(self) -> Reached:
        """The point that proposing has reached."""
        return self._reached

    def begin(self, epoch: int) -> None:
        """Propose from the first index of a newer epoch on; an older one changes nothing."""
        if epoch > self._reached.epoch:
            self._reached = Reached(epoch, 0)

    def take(self, count: int) -> range:
        """Use the next `count` indices of the epoch."""
        first = self._reached.next_index
        self._reached = Reached(self._reached.epoch, first + count)
        return range(first, first + count)

    def up_to(self, reached: Reached) -> IndexRange:
        """Return the range of the next share, if it covers the proposals until `reached`."""
        first = self._first(reached)
        return IndexRange(reached.epoch, first, reached.next_index - first)

    def account(self, reached: Reached) -> None:
        """Note that a share has accounted for everything up to this point."""
        self._accounted = reached

    def carries(self, recipe: Recipe, reached: Reached) -> bool:
        """Return whether the share up to `reached` can carry a task; `resume` may have left it
        behind."""
        return recipe.epoch == reached.epoch >= self._accounted.epoch and recipe.index >= self._first(reached)

    def resume(self, end: Reached) -> None:
        """Move to the end of the own log: indices before it are used, in this or an earlier life of
        the node."""
        if end.epoch >= self._reached.epoch:
            begun = self._reached.next_index if end.epoch == self._reached.epoch else 0
            self._reached = Reached(end.epoch, max(end.next_index, begun))
            self._accounted = end

    def _first(self, reached: Reached) -> int:
        return self._accounted.next_index if self._accounted.epoch == reached.epoch else 0
