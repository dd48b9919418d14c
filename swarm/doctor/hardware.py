"""Checks the machine: its main memory and its disks; asks heavy libraries within a time limit."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import trio

from swarm.config.schema import Config
from swarm.doctor.finding import Finding, fail, ok, warn

GIB = 2**30
LEAST_DISK = GIB // 4  # below it the next checkpoint may not fit
ANSWERS_WITHIN_S = 20.0  # the model's libraries load in five to ten seconds of a core
LEAST_MEMORY = GIB // 2


async def ask_module(module: str, question: Any = None) -> tuple[dict[str, Any] | None, str]:
    """Run a module in a process of its own, and return its JSON about this machine.

    If it fails, returns None and its last line of errors. Raises `trio.TooSlowError`.
    """
    command, body = [sys.executable, "-m", module], json.dumps(question).encode()
    with trio.fail_after(ANSWERS_WITHIN_S):
        done = await trio.run_process(command, stdin=body, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode or not done.stdout.strip():
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return None, lines[-1] if lines else f"{module} ended with {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def ask_module_once(module: str, question: Any = None) -> tuple[dict[str, Any] | None, str]:
    """Do the same outside of trio; a module that takes too long has failed."""
    try:
        return trio.run(ask_module, module, question)
    except trio.TooSlowError:
        return None, f"no answer within {ANSWERS_WITHIN_S:g} s"


def memory(*, running: bool) -> Finding:
    """Judge whether the main memory is enough for the node besides its policy."""
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free"
    if running:
        return ok("memory", f"{text}, with the daemon running")
    if free < LEAST_MEMORY:
        return warn("memory", text, "close other programs")
    return ok("memory", text)


def disk(config: Config, home: Path, facts: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Judge whether the disks have room for the settings' pool and checkpoints, and for the model.

    Pool and checkpoints are in the home, the model in the hub's cache.
    """
    place = _existing(home)
    free = shutil.disk_usage(place).free
    # While a checkpoint is written there is one more than are kept.
    checkpoints = (config.checkpoint.keep + 1) * facts["checkpoint"] - _size(home / "checkpoints") if facts else 0
    pool = config.pool.max_bytes - _size(home / "pool.sqlite")
    least = LEAST_DISK + max(checkpoints, 0)
    text = f"{free / GIB:.1f} GiB are free at {place}"
    if free < least:
        wanted = f"; {config.checkpoint.keep + 1} checkpoints take {max(checkpoints, 0) / GIB:.1f} more" if facts else ""
        yield fail("disk", f"{text}{wanted}", "free some space, lower checkpoint.keep, or choose another --home")
    elif free < least + pool:
        wanted = f"the pool may take {pool / GIB:.1f} more, and checkpoints {max(checkpoints, 0) / GIB:.1f}"
        yield warn("disk", f"{text}; {wanted}", "free space, or lower pool.max_bytes")
    else:
        yield ok("disk", text)
    if facts and facts["download"]:
        cache = Path(facts["cache"])
        left, both = shutil.disk_usage(_existing(cache)).free, _existing(cache).stat().st_dev == place.stat().st_dev
        if left < facts["download"] + (least if both else LEAST_DISK):
            found = f"{config.policy.model} takes {facts['download'] / GIB:.1f} GiB in {cache}, where {left / GIB:.1f} are free"
            also = f", and checkpoints {max(checkpoints, 0) / GIB:.1f} on the same disk" if both else ""
            setting = "XDG_CACHE_HOME" if facts["here"] else "HF_HOME"
            yield fail("disk for the model", f"{found}{also}", f"free space there, or set {setting} to a folder on a larger disk")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; missing files count 0."""
    total = 0
    for each in (path, *path.rglob("*")):
        with suppress(OSError):
            total += each.stat().st_size if each.is_file() else 0
    return total
