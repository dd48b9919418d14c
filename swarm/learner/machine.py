"""The owner's use of the machine: whether it runs on battery, and which processes use its GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import psutil
import trio

LIST_PROCESSES = ("nvidia-smi", "pmon", "-c", "1", "-s", "um")
LISTED_WITHIN_S = 20.0  # it measures for a second; a busy driver takes longer
# A process is busy from this part of the GPU's time on, or if it computes with this much memory.
BUSY_PERCENT = 10
COMPUTES_MIB = 512


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One line of `nvidia-smi pmon`: a process, and the parts of a GPU's time (%) and memory (MiB)
    it uses.

    `computes` is true for CUDA programs and false for those that only draw. Unknown figures are 0.
    """

    pid: int
    computes: bool
    percent: int
    mib: int
    name: str

    @property
    def busy(self) -> bool:
        """Whether it uses the GPU in earnest, unlike a desktop that draws itself."""
        return self.percent >= BUSY_PERCENT or (self.computes and self.mib >= COMPUTES_MIB)


def gpu_processes(listing: str) -> Iterator[GpuProcess]:
    """Yield the processes in the output of `LIST_PROCESSES`; columns go by name, since drivers add
    some."""
    columns: list[str] = []
    for line in listing.splitlines():
        words = line.lstrip("# ").split()
        if line.startswith("#"):
            columns = columns or words
        elif len(words) >= len(columns) > 0:
            fields = dict(zip(columns, [*words[: len(columns) - 1], " ".join(words[len(columns) - 1 :])], strict=True))
            if fields.get("pid", "").isdigit():
                yield GpuProcess(
                    pid=int(fields["pid"]),
                    computes="C" in fields.get("type", ""),
                    percent=_number(fields.get("sm", "")),
                    mib=_number(fields.get("fb", "")),
                    name=fields.get("command", "?"),
                )


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def wants_gpu(processes: Collection[GpuProcess], own: Collection[int], *, ours_listed: bool) -> GpuProcess | None:
    """Return the foreign process that uses a GPU most; None if no process but `own` ones is busy.

    In a container the driver lists host process ids, or no processes. If our own process should be
    listed (`ours_listed`) and is not, nothing separates others from us, and the result is None.
    """
    if hidden(processes, own, ours_listed=ours_listed):
        return None
    others = [process for process in processes if process.pid not in own and process.busy]
    return max(others, key=lambda process: (process.percent, process.mib), default=None)


def hidden(processes: Collection[GpuProcess] | None, own: Collection[int], *, ours_listed: bool) -> str:
    """Return why foreign GPU processes cannot be seen here, or "".

    `processes` is None where they cannot be listed; for `ours_listed` see `wants_gpu`.
    """
    if processes is None:
        return "`nvidia-smi pmon` cannot list who uses the GPU here (as in WSL2, and with some drivers)"
    if ours_listed and not any(process.pid in own for process in processes):
        return "the driver does not list this node's own process (as in a container or WSL2, or with a policy on the CPU)"
    return ""


async def list_gpu_processes() -> list[GpuProcess] | None:
    """Return the processes on the NVIDIA GPUs now; None where they cannot be listed."""
    with trio.move_on_after(LISTED_WITHIN_S):
        try:
            done = await trio.run_process(LIST_PROCESSES, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            return None
        return list(gpu_processes(done.stdout.decode(errors="replace"))) if done.returncode == 0 else None
    return None


def own_processes() -> set[int]:
    """Return the ids of this process and all below it."""
    return {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}


def on_battery() -> bool:
    """Return whether the machine runs on its battery now; False without a battery."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False
