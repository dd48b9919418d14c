"""What the NVIDIA driver answers, within a bound of time. `swarmd init` asks it too, so it loads no heavy library."""

from __future__ import annotations

import subprocess

from swarm.doctor.cards import ASK_DRIVER, gpus

ANSWERS_WITHIN_S = 10.0  # without its persistence daemon the driver wakes every card first
LEAST_CARD_MIB = 7500  # cards of 8 GB say a little less


def ask_driver() -> str | None:
    """The NVIDIA driver's answer; None without one. Raises `TimeoutError`, as of a card that has fallen off its bus."""
    try:
        done = subprocess.run(ASK_DRIVER, capture_output=True, timeout=ANSWERS_WITHIN_S, check=False)  # noqa: S603 - fixed words
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    except OSError:
        return None
    return done.stdout.decode(errors="replace")


def first_card() -> str:
    """The name of this machine's first NVIDIA GPU that is large enough for the model of the profile "gpu"; "" without one."""
    try:
        answer = ask_driver()
    except TimeoutError:
        return ""
    return next((card.name for card in gpus(answer or "") if card.total >= LEAST_CARD_MIB), "")
