"""Checks the GPU: the driver's description against torch's build, on recorded text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.doctor.finding import Finding, fail, ok, warn

ASK_DRIVER = (
    "nvidia-smi",
    "--query-gpu=name,driver_version,compute_cap,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)
GET_TORCH = "install the torch build for your driver, as pytorch.org's selector says"
MIB_PER_GIB = 1024
# More GPU memory in use than the driver itself takes.
UNEXPLAINED_MIB = 1024


@dataclass(frozen=True, slots=True)
class Gpu:
    """One line of the driver's answer; memory in MiB, `capability` as (major, minor)."""

    name: str
    driver: str
    capability: tuple[int, int]
    total: int
    free: int


def gpus(answer: str) -> list[Gpu]:
    """Parse the answer to `ASK_DRIVER`; incomplete lines are left out."""
    found = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 4)]
        major, _, minor = fields[2].partition(".") if len(fields) == 5 else ("", "", "")
        if major.isdigit() and minor.isdigit() and fields[3].isdigit() and fields[4].isdigit():
            found.append(Gpu(fields[0], fields[1], (int(major), int(minor)), int(fields[3]), int(fields[4])))
    return found


def runs_on(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a GPU of this compute capability.

    Machine code ("sm_86") runs on the same major version from its minor one on, with a letter
    ("sm_90a") on that very version. Portable code ("compute_90") is translated for any newer one.
    """
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        digits = number.rstrip("af")
        if not digits.isdigit():
            continue
        built = divmod(int(digits), 10)
        if kind == "compute" and built <= capability:
            return True
        exact = number != digits
        if kind == "sm" and (built == capability if exact else built[0] == capability[0] and built[1] <= capability[1]):
            return True
    return False


def examine(answer: str | None, torch: Mapping[str, Any] | None, devices: Collection[str]) -> Iterator[Finding]:
    """Judge the driver's answer (None: no driver) and torch's facts (None: torch cannot be asked).

    `devices` are policy.device and policy.generation_device. A GPU that they leave alone is only
    described.
    """
    wanted = [device for device in devices if device.startswith("cuda")]
    used = bool(wanted) or "auto" in devices
    cards, seen = gpus(answer or ""), torch["devices"] if torch is not None else []
    if seen and not cards:
        yield ok("gpu", f"torch sees {', '.join(seen)}; nvidia-smi does not describe it here")
    elif not cards:
        if wanted:
            yield fail("gpu", "no NVIDIA GPU answers", f"install its driver, or set policy.device = auto instead of {wanted[0]}")
        elif torch is not None and torch["mps"]:
            yield ok("gpu", f"none of NVIDIA's; the policy runs on {'the Apple GPU' if used or 'mps' in devices else 'the CPU'}")
        elif answer is not None and used:
            yield warn("gpu", "the driver does not describe any GPU", "update the driver if there is a card in this machine")
        else:
            yield ok("gpu", "no NVIDIA GPU answers; the policy runs on the CPU")
        return
    for card in cards:
        major, minor = card.capability
        unused = "" if used else f"; the settings leave it alone (policy.device = {', '.join(sorted(set(devices)))})"
        yield ok("gpu", f"{card.name}, compute capability {major}.{minor}, driver {card.driver}{unused}")
        if not used:
            continue
        yield from _memory(card)
        if torch is not None and torch["cuda"] and torch["archs"] and not runs_on(torch["archs"], card.capability):
            text = f"torch {torch['version']} has no code for {card.name} (sm_{major}{minor}), only {', '.join(torch['archs'])}"
            yield fail("torch", text, GET_TORCH)
            return
    if torch is None or not used:
        return
    if not torch["cuda"]:
        finding = fail if wanted else warn
        yield finding("torch", f"torch {torch['version']} was built without CUDA, so the GPU is not used", GET_TORCH)
    elif not seen:
        yield fail(
            "torch",
            f"torch {torch['version']} for CUDA {torch['cuda']} does not see the GPU that the driver shows",
            f"update the driver, or {GET_TORCH}",
        )
    else:
        yield ok("torch", f"{torch['version']} for CUDA {torch['cuda']} sees {', '.join(seen)}")


def sharing(blind: str, answer: str | None, *, listed: bool) -> Finding:
    """Judge whether guest.gpu can work.

    `blind` says why it cannot, or is ""; `listed` is whether the driver lists any process.
    """
    instead = "use guest.hours, or `swarmd pause`, instead of guest.gpu"
    if blind:
        return warn("gpu sharing", f"guest.gpu is set, and {blind}", instead)
    if not listed and any(card.total - card.free > UNEXPLAINED_MIB for card in gpus(answer or "")):
        return warn("gpu sharing", "guest.gpu is set, and the driver lists no process though GPU memory is in use", instead)
    return ok("gpu sharing", "the driver lists who uses the GPU (guest.gpu)")


def _memory(card: Gpu) -> Iterator[Finding]:
    text = f"{card.free / MIB_PER_GIB:.1f} of {card.total / MIB_PER_GIB:.1f} GiB are free on {card.name}"
    if card.free * 2 < card.total:
        yield warn("gpu memory", text, "close what uses it (nvidia-smi lists it), such as a daemon of this node")
    else:
        yield ok("gpu memory", text)
