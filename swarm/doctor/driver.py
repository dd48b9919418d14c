"""Asks the NVIDIA driver, within a time limit. `swarmd init` does so too: no heavy imports here."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

from swarm.config.profiles import LEAST_CARD_MIB
from swarm.doctor.cards import ASK_DRIVER, Gpu, gpus

ANSWERS_WITHIN_S = 10.0  # without its persistence daemon the driver wakes every card first


def ask_driver() -> str | None:
    """Return the NVIDIA driver's answer, or None without a driver.

    Raises `TimeoutError`, as for a card that has fallen off its bus.
    """
    try:
        done = subprocess.run(ASK_DRIVER, capture_output=True, timeout=ANSWERS_WITHIN_S, check=False)  # noqa: S603 - fixed words
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    except OSError:
        return None
    return done.stdout.decode(errors="replace")


def first_card() -> Gpu | None:
    """Return the first NVIDIA GPU that is large enough for the profile "gpu"."""
    try:
        answer = ask_driver()
    except TimeoutError:
        return None
    return next((card for card in gpus(answer or "") if card.total >= LEAST_CARD_MIB), None)


def torch_lacks_cuda() -> bool:
    """Whether the installed torch was built without CUDA, told without importing it."""
    package = find_spec("torch")
    if package is None or package.origin is None:
        return False
    try:
        said = Path(package.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*= None$", said, re.MULTILINE) is not None
