"""Times of day, as settings write them: "22:00-07:00", local time.

They go past midnight where the end is before the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self

from swarm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of every day; the whole day where both ends are the same."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hours from "HH:MM-HH:MM". Raises `ConfigError`."""
        try:
            begin, end = (datetime.strptime(part.strip(), "%H:%M").time() for part in text.split("-"))
        except ValueError:
            raise ConfigError(f"{text!r} in guest.hours are no hours; write them like 22:00-07:00") from None
        return cls(begin, end)

    def __contains__(self, moment: time) -> bool:
        if self.begin < self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end


def opens(hours: Sequence[Hours], now: datetime) -> datetime | None:
    """Return when the next of `hours` begins; None while one lasts, or where `hours` is empty.

    `now` is local time.
    """
    if not hours or any(now.time() in each for each in hours):
        return None
    today = [now.replace(hour=each.begin.hour, minute=each.begin.minute, second=0, microsecond=0) for each in hours]
    return min(begin if begin > now else begin + timedelta(days=1) for begin in today)
