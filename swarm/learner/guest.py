"""Giving way: the node computes only while nobody else wants the machine.

Its owner may pause it by hand, by hours, on battery, or while another process uses the GPU. At the
end of the round the node then writes a checkpoint and ends the policy's process. Only that surely
gives all of its memory back, a GPU's too. Network, admission and beacon go on meanwhile. The policy
begins again from that checkpoint, with the node's own state from memory. It continues as if without
a pause, bit for bit on a CPU.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trio

from swarm.clock import Clock
from swarm.config.hours import Hours, opens
from swarm.config.schema import GuestSection
from swarm.errors import HomeError
from swarm.home import storage, write_atomically
from swarm.learner.activity import Activity
from swarm.learner.machine import hidden, list_gpu_processes, on_battery, own_processes, wants_gpu

logger = logging.getLogger(__name__)

LOOK_S = 15.0  # between looks at the battery and the GPU
# Seconds the GPU must be left alone: a program between two jobs must not find it full.
GPU_QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why the node must not compute, and until when (ms since 1970; None: while that lasts)."""

    why: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class GuestStatistics:
    """Pauses since the start, their seconds, and why guest.gpu cannot work here ("" if it can)."""

    pauses: int
    paused_s: float
    gpu_hidden: str


class Guest:
    """The reasons to pause. `paused` is true while the policy's memory is given back."""

    def __init__(self, settings: GuestSection, clock: Clock) -> None:
        self._settings = settings
        self._hours = [Hours.parse(each) for each in settings.hours]
        self._clock = clock
        self._by_hand: Pause | None = None
        self._battery: Pause | None = None
        self._gpu: Pause | None = None
        self._changed = trio.Event()
        self._pauses = 0
        self._paused_s = 0.0
        self._gpu_hidden = ""
        self.paused = False

    def pause(self, seconds: float | None = None) -> None:
        """Pause by hand, for `seconds` or until `resume`."""
        self._pause_until(None if seconds is None else self._clock.now_ms() + int(seconds * 1000))

    def _pause_until(self, until_ms: int | None) -> None:
        self._by_hand = Pause("by hand (swarmd resume ends it)", until_ms)
        self.wake()

    def resume(self) -> None:
        """Take back a pause by hand; the other reasons stay."""
        self._by_hand = None
        self.wake()

    def keep(self, path: Path) -> None:
        """Persist a manual pause as a file, or remove the file, so that it survives a restart.
        Blocks on the disk."""
        if self._by_hand is None:
            with storage(path.parent):
                path.unlink(missing_ok=True)
        else:
            write_atomically(path, str(self._by_hand.until_ms or "").encode())

    def restore(self, path: Path) -> Pause | None:
        """Restore a manual pause from `keep`'s file. Returns None where there is no pause, or it is
        over. Raises `HomeError` for a damaged file."""
        with storage(path.parent):
            kept = path.read_bytes() if path.exists() else None
        if kept is None:
            return None
        if kept and not (kept.isdigit() and len(kept) < 15):
            raise HomeError(f"{path} is damaged; remove it, and pause the node again once it runs")
        self._pause_until(int(kept) if kept else None)
        return self.reason() and self._by_hand

    def wake(self) -> None:
        """Wake all tasks in `wait`."""
        self._changed.set()
        self._changed = trio.Event()

    def reason(self) -> Pause | None:
        """Return why the node must not compute now; None where it may."""
        now_ms = self._clock.now_ms()
        if self._by_hand is not None and self._by_hand.until_ms is not None and self._by_hand.until_ms <= now_ms:
            self._by_hand = None
        opening = opens(self._hours, datetime.fromtimestamp(now_ms / 1000)) if self._hours else None
        closed = None if opening is None else Pause("outside guest.hours", int(opening.timestamp() * 1000))
        return self._by_hand or closed or self._battery or self._gpu

    def owed_s(self, activity: Activity) -> float:
        """Return the seconds of rest that `guest.duty` asks for after a round."""
        duty = self._settings.duty
        return activity.computed_s() * (1 / duty - 1) if duty < 1 else 0.0

    async def wait(self, pause: Pause) -> None:
        """Wait until the pause may be over, or something has changed."""
        rest_s = LOOK_S if pause.until_ms is None else (pause.until_ms - self._clock.now_ms()) / 1000
        with trio.move_on_after(min(max(rest_s, 0.0), LOOK_S)):
            await self._changed.wait()

    async def watch(self) -> None:
        """Look at battery and GPU every `LOOK_S` seconds, where the settings ask for it, until
        cancelled.

        Only the daemon calls this; a simulation has no owner.
        """
        settings, quiet_since, seen_at = self._settings, -GPU_QUIET_S, trio.current_time()
        while True:
            if settings.battery:
                self._battery = Pause("on battery (guest.battery)") if on_battery() else None
            if settings.gpu:
                async with self._clock.work(0):
                    listed = await list_gpu_processes()
                own = own_processes()
                other = wants_gpu(listed or (), own, ours_listed=not self.paused)
                why = hidden(listed, own, ours_listed=not self.paused)
                seen_at = seen_at if why else trio.current_time()
                # The policy appears on the list only some time after its start.
                self._cannot_see(why if trio.current_time() - seen_at >= GPU_QUIET_S else "")
                if other is not None:
                    self._gpu = Pause(f"{other.name} (process {other.pid}) uses the GPU (guest.gpu)")
                    quiet_since = trio.current_time()
                elif trio.current_time() - quiet_since >= GPU_QUIET_S:
                    self._gpu = None
            self.wake()
            await trio.sleep(LOOK_S)

    def _cannot_see(self, why: str) -> None:
        if why and not self._gpu_hidden:
            logger.warning("guest.gpu has no effect: %s; use guest.hours or `swarmd pause` instead", why)
        self._gpu_hidden = why

    def began(self) -> None:
        """Note that the policy's memory has been given back."""
        self.paused = True
        self._pauses += 1

    def ended(self, seconds: float) -> None:
        """Note that the policy is loaded again, after `seconds`."""
        self.paused = False
        self._paused_s += seconds

    def statistics(self) -> GuestStatistics:
        """Return the totals so far."""
        return GuestStatistics(self._pauses, round(self._paused_s, 1), self._gpu_hidden)


def said(pause: Pause) -> str:
    """Return the pause in words, with the local time of its end."""
    return f"{pause.why}{'' if pause.until_ms is None else f' until {local(pause.until_ms)}'}"


def local(time_ms: int) -> str:
    """Return a time (ms since 1970) as the owner's clock shows it."""
    return datetime.fromtimestamp(time_ms / 1000).astimezone().isoformat(sep=" ", timespec="seconds")
