"""Where a completion ends: at an end-of-sequence token, or behind a configured stop string.

The tokens of a stop string are sampled, kept, counted and trained on like the end of sequence,
since they ended the answer. Only the text is cut before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Ends:
    """Finds the end of a completion. `decode` gives the exact text of token ids."""

    def __init__(self, stop_ids: Sequence[int], stop: Sequence[str], decode: Callable[[Sequence[int]], str]) -> None:
        self._stop_ids = frozenset(stop_ids)
        self._stop = tuple(text for text in stop if text)
        self._decode = decode
        # A token is at least one byte, so no stop string takes more tokens; a few more for what a
        # tokenizer adds at a beginning.
        self._reach = max((len(text.encode()) for text in self._stop), default=0) + 4

    @property
    def has_texts(self) -> bool:
        """Whether there are stop strings."""
        return bool(self._stop)

    def length(self, ids: Sequence[int], seen: int) -> int | None:
        """Return how many of `ids` belong to the completion, or None where it has not ended.

        The first `seen` do not end it.
        """
        found = next((place + 1 for place in range(seen, len(ids)) if ids[place] in self._stop_ids), None)
        if self._stop and self._said(ids[max(0, seen - self._reach) : found]):
            for length in range(seen + 1, (found or len(ids)) + 1):
                if self._said(ids[:length]):
                    return length
        return found

    def cut(self, text: str) -> str:
        """Return the text up to the first stop string."""
        return text[: min((place for stop in self._stop if (place := text.find(stop)) >= 0), default=len(text))]

    def _said(self, ids: Sequence[int]) -> bool:
        text = self._decode(ids)
        return any(stop in text for stop in self._stop)
