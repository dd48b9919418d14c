"""Checks the model: whether it and its packages are here, and whether its devices have room.

The facts come from `swarm.policy.fit.devices`, since only torch can tell them. This file judges
them without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from swarm.config.schema import Config
from swarm.doctor.finding import Finding, fail, ok, skipped, warn
from swarm.doctor.hardware import GIB

SMALLER = "choose a smaller policy.model, as `swarmd models` lists them"
HOW = {"none": "all weights are trained", "lora": "an adapter is trained", "qlora": "a 4-bit model's adapter is trained"}


def model(config: Config, facts: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Judge whether the base model can be had, trained and sampled with the installed packages."""
    name = config.policy.model
    if facts is None:
        yield skipped("model", "torch did not answer")
        return
    if "error" in facts:
        yield fail("model", facts["error"], "see `swarmd models` for what works here, and set policy.model")
        return
    for obstacle in facts["obstacles"]:
        wanted, _, remedy = obstacle.partition(": ")
        yield fail("model", wanted, remedy or "change this setting, or set policy.device = cuda on a machine with such a card")
    training = f"{HOW[facts['kind']]} on {facts['device']}, about {facts['needs'] / GIB:.1f} GiB"
    if facts["here"]:
        yield ok("model", f"{name} is on this machine; {training}")
    else:
        yield ok("model", f"{name} will be fetched at the first start, {facts['download'] / GIB:.1f} GiB; {training}")


def memory(config: Config, facts: Mapping[str, Any] | None, *, running: bool) -> Iterator[Finding]:
    """Judge whether each device of the policy has enough memory.

    A running daemon has taken its part, so beside one there is no finding.
    """
    if facts is None or running:
        return
    for place in facts["places"]:
        main = not place["device"].startswith("cuda")
        room = min(place["room"], psutil.virtual_memory().available) if main else place["room"]
        text = f"{config.policy.model} takes about {place['needs'] / GIB:.1f} GiB on {place['device']}"
        if place["needs"] > place["most"]:
            yield fail("model memory", f"{text}, which has {place['most'] / GIB:.1f}", _smaller(facts))
        elif place["needs"] > room:
            fix = f"close other programs, raise policy.memory, or: {_smaller(facts)}"
            yield warn("model memory", f"{text}, where {room / GIB:.1f} are free for it; it may run out, or be slow", fix)
        else:
            yield ok("model memory", f"{text}, where {room / GIB:.1f} are free for it")


def _smaller(facts: Mapping[str, Any]) -> str:
    """Name a remedy: another way of training that fits, or a smaller model."""
    for kind, obstacle in facts["fits"].items():
        install = obstacle.partition(": ")[2]
        return f"set policy.adapter = {kind}{f' ({install})' if install else ''}, which fits, or {SMALLER}"
    return SMALLER
