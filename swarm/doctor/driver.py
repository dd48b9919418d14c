"""Asks the NVIDIA driver, within a time limit. `swarmd init` does so too: no heavy imports here."""

from __future__ import annotations

import subprocess

from swarm.doctor.cards import ASK_DRIVER, gpus

ANSWERS_WITHIN_S = 10.0  # without its persistence daemon the driver wakes every card first
LEAST_CARD_MIB = 7500  # cards of 8 GB report a little less


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


def first_card() -> str:
    """Return the first NVIDIA GPU that is large enough for the profile "gpu", by name; else ""."""
    try:
        answer = ask_driver()
    except TimeoutError:
        return ""
    return next((card.name for card in gpus(answer or "") if card.total >= LEAST_CARD_MIB), "")
