"""What the machine's owner does with it meanwhile: whether it runs on battery, and who else uses its GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import psutil
import trio

LIST_PROCESSES = ("nvidia-smi", "pmon", "-c", "1", "-s", "um")
LISTED_WITHIN_S = 20.0  # it measures for a second; a driver that is busy takes longer
# A process uses the GPU in earnest from this part of its time on, or computes with this much of its memory.
BUSY_PERCENT = 10
COMPUTES_MIB = 512


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One line of `nvidia-smi pmon`: a process on a GPU, `percent` of whose time and `mib` of whose memory it uses.

    `computes` tells a CUDA program from what only draws. What the driver does not say is 0.
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
    """The processes in the output of `LIST_PROCESSES`; columns go by their names, since drivers add some."""
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
    """The process that uses a GPU most, besides our `own`, if any does in earnest.

    In a container the driver lists others' process ids, or none: while our own one must be on the list (`ours_listed`) and is
    not, nobody can be told from us, and None is the answer.
    """
    if hidden(processes, own, ours_listed=ours_listed):
        return None
    others = [process for process in processes if process.pid not in own and process.busy]
    return max(others, key=lambda process: (process.percent, process.mib), default=None)


def hidden(processes: Collection[GpuProcess] | None, own: Collection[int], *, ours_listed: bool) -> str:
    """Why others on the GPU cannot be seen here, or "": `processes` is None where they cannot be listed; see `wants_gpu`."""
    if processes is None:
        return "`nvidia-smi pmon` cannot list who uses the GPU here (as in WSL2, and with some drivers)"
    if ours_listed and not any(process.pid in own for process in processes):
        return "the driver does not list this node's own process (as in a container or WSL2, or with a policy on the CPU)"
    return ""


async def list_gpu_processes() -> list[GpuProcess] | None:
    """The processes on the NVIDIA GPUs now; None where that cannot be listed."""
    with trio.move_on_after(LISTED_WITHIN_S):
        try:
            done = await trio.run_process(LIST_PROCESSES, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            return None
        return list(gpu_processes(done.stdout.decode(errors="replace"))) if done.returncode == 0 else None
    return None


def own_processes() -> set[int]:
    """This process and everything below it."""
    return {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}


def on_battery() -> bool:
    """Whether the machine runs on its battery now; False for one without."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False
