"""The outcome of a message at the gate: groups let in, refusals with reasons, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from protocols.reasons import ProtocolError, Reason
from swarm.records import Refusal, ScoredGroup

# Refusals not due to the message itself: it is held already, or came at the wrong moment.
CIRCUMSTANCES = frozenset(
    {
        Reason.BEACON,
        Reason.DUPLICATE,
        Reason.STANDING,
        Reason.QUOTA,
        Reason.QUEUE_FULL,
        Reason.BODY_UNAVAILABLE,
        Reason.BODY_MISMATCH,
    }
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The outcome of one message: the groups let in and the refusals."""

    groups: tuple[ScoredGroup, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """Counts since the start: messages, groups in them, groups let in, refusals by reason.

    `screened` are the validator's refusals, counted here only; the store counts all others as well.
    """

    messages: int
    received: int
    groups: int
    refused: dict[str, int]
    screened: dict[str, int]


class Counts:
    """The running counts behind `AdmissionStatistics`."""

    def __init__(self) -> None:
        self.messages = self.received = self.groups = 0
        self.refused: Counter[str] = Counter()
        self.screened: Counter[str] = Counter()

    def screen_out(self, reason: Reason) -> None:
        """Count a refusal by the validator."""
        self.refused[reason] += 1
        self.screened[reason] += 1

    def statistics(self) -> AdmissionStatistics:
        """Return the counts so far, reasons in alphabetical order."""
        refused, screened = (dict(sorted(counts.items())) for counts in (self.refused, self.screened))
        return AdmissionStatistics(self.messages, self.received, self.groups, refused, screened)


class TurnedAway(Exception):
    """Ends the judgement of a message or a group; never leaves the gate."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def checked(check: Callable[[], T]) -> T:
    """Return the value of `check`. Raises `TurnedAway` in place of its `ProtocolError`."""
    try:
        return check()
    except ProtocolError as error:
        raise TurnedAway(error.reason) from None
