"""A size that a shortage of memory halves, and that is tried whole again when there is none.

A shortage is often another program's, which goes away. So after `QUIET` pieces of work without one
the whole size is taken again. Where that runs out at once, the memory really is too small: the next
try comes twice as late, and so on, so that tries cost ever less.
"""

from __future__ import annotations

QUIET = 8
LATEST = 128  # pieces of work between two tries, at most


class Limit:
    """`now` is the size in use, `most` the whole size."""

    def __init__(self, most: int) -> None:
        self.most = self.now = most
        self._patience = QUIET
        self._quiet = 0  # pieces of work since the last shortage, or since the last try
        self._tried = False

    def lower(self, tried: int) -> None:
        """Halve the size after `tried` was too much."""
        if self.now == self.most:
            in_vain = self._tried and self._quiet < self._patience
            self._patience = min(2 * self._patience, LATEST) if in_vain else QUIET
        self.now = max(1, min(self.now, tried // 2))
        self._quiet = -1  # the piece of work under way does not count

    def passed(self) -> None:
        """Count a piece of work as done; take the whole size if it is time."""
        self._quiet += 1
        if self._quiet >= self._patience and self.now < self.most:
            self.now, self._quiet, self._tried = self.most, 0, True
