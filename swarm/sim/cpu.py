"""CPU seconds of processes, as Linux counts them (proc(5)); other systems do not tell.

A busy machine does not show in them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path

KNOWN = sys.platform == "linux"


def tree_cpu_s(without: Collection[int] = ()) -> float:
    """Return the seconds of this process and all below it, but for those `without`; 0 if unknown.

    The fork server's children count: they are below this process like all others.
    """
    total, parents = 0.0, [os.getpid()]
    below = _children() if KNOWN else {}
    while parents:
        pid = parents.pop()
        parents += below.get(pid, [])
        total += 0.0 if pid in without else cpu_s(pid)
    return total


def cpu_s(pid: int | None) -> float:
    """Return the seconds of one process and its ended children; 0 if unknown."""
    fields = _stat(pid) if KNOWN and pid is not None else None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    return children


def _stat(pid: int) -> list[str] | None:
    """Return the fields behind the process's name, from its state on; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
