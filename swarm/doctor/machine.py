"""The machine besides its GPU: memory, disk, and the model that is to fit into both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import trio

from swarm.config.schema import Config
from swarm.doctor.finding import Finding, fail, ok, skipped, warn
from swarm.doctor.gpu import ASK_DRIVER

GIB = 2**30
LEAST_DISK = GIB // 4  # below it the next checkpoint may not fit
ANSWERS_WITHIN_S = 20.0  # the model's libraries load in five to ten seconds of a core
LEAST_MEMORY = GIB // 2
SMALLER = "choose a smaller model, or policy.adapter = lora; `swarmd models` lists what fits"


async def ask_driver() -> str | None:
    """The NVIDIA driver's answer; None without one."""
    try:
        done = await trio.run_process(ASK_DRIVER, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    return done.stdout.decode(errors="replace")


async def ask_module(module: str, question: Any = None) -> tuple[dict[str, Any] | None, str]:
    """What a module says of this machine as JSON, in a process of its own; None and its last words if it fails.

    Raises `trio.TooSlowError`.
    """
    command, body = [sys.executable, "-m", module], json.dumps(question).encode()
    with trio.fail_after(ANSWERS_WITHIN_S):
        done = await trio.run_process(command, stdin=body, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return None, lines[-1] if lines else f"{module} ended with {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def memory(config: Config, facts: Mapping[str, Any] | None, *, running: bool) -> Iterator[Finding]:
    """Whether the main memory is enough: for the model, where it runs on the CPU."""
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free"
    needs = facts["needs"] if facts and facts.get("device") == "cpu" else LEAST_MEMORY
    if running:
        yield ok("memory", f"{text}, with the daemon running")
    elif needs > total:
        yield fail("memory", f"{text}, and training {config.policy.model} takes about {needs / GIB:.1f}", SMALLER)
    elif needs > free:
        yield warn("memory", f"{text}, and training takes about {needs / GIB:.1f}", f"close other programs, or {SMALLER}")
    else:
        yield ok("memory", text)


def disk(config: Config, home: Path, facts: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Whether the disk holds the pool that the settings allow, and the model to be fetched."""
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    wanted = config.pool.max_bytes + LEAST_DISK
    text = f"{free / GIB:.1f} GiB are free at {place}"
    if free < LEAST_DISK:
        yield fail("disk", text, "free some space, or choose another --home")
    elif free < wanted:
        yield warn("disk", f"{text}; the pool may take {config.pool.max_bytes / GIB:.1f}", "free space, or lower pool.max_bytes")
    else:
        yield ok("disk", text)
    download = facts.get("download", 0) if facts else 0
    cache = Path.home()
    if download and shutil.disk_usage(cache).free < download + LEAST_DISK:
        yield fail(
            "disk for the model",
            f"{config.policy.model} is {download / GIB:.1f} GiB, and {cache} has less free",
            "free space there, or set HF_HOME to a larger disk",
        )


def model(config: Config, facts: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Whether the base model is here or can be fetched."""
    name = config.policy.model
    if facts is None:
        yield skipped("model", "torch did not answer")
    elif "error" in facts:
        yield fail("model", facts["error"], "see `swarmd models` for what works here, and set policy.model")
    elif facts["here"]:
        yield ok("model", f"{name} is on this machine; {_training(facts)}")
    else:
        yield ok("model", f"{name} will be fetched at the first start, {facts['download'] / GIB:.1f} GiB; {_training(facts)}")


def _training(facts: Mapping[str, Any]) -> str:
    how = {
        "none": "all weights are trained",
        "lora": "an adapter is trained",
        "qlora": "a 4-bit model's adapter is trained",
    }
    return f"{how[facts['kind']]} on {facts['device']}, about {facts['needs'] / GIB:.1f} GiB"
