"""Examines whether a node can work here: each part on its own, so that no fault hides another.

It works before `swarmd init`, beside a running daemon, and without a network. It changes nothing
but a probe file in the home, which it writes and removes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import trio

from protocols.manifest import Manifest
from swarm import identity
from swarm.audit.home_audit import audit
from swarm.clock import WallClock
from swarm.config.load import load
from swarm.config.manifest_lookup import built_in, find_manifest
from swarm.config.schema import Config
from swarm.doctor import cards, connectivity, driver, hardware, model_fit
from swarm.doctor.finding import Finding, fail, ok, skipped, warn
from swarm.doctor.reachability import Seen, reachability
from swarm.errors import SwarmdError
from swarm.home import Home
from swarm.learner.machine import hidden, list_gpu_processes
from swarm.policy import checkpoint
from swarm.roles.proposer import chosen_rules
from swarm.roles.suitable import doubts, why_not

WITHIN_S = 24.0  # and a little more for the daemon's answer: half a minute in all
LESS_TO_DO = "try again when the machine has less to do"
# Auditing a larger pool takes longer than anybody waits for a doctor.
AUDITED_BYTES = 16 * 2**20
Part = Callable[[], Awaitable[list[Finding]]]


@dataclass
class Patient:
    """The examined home. The defaults stand in for wrong settings, so that the rest is examined."""

    home: Home
    config: Config = field(default_factory=Config)
    manifest: Manifest | None = None
    running: bool = False
    seen: Seen | None = None


def run_doctor(home: Home, overrides: Mapping[str, str], ask: Callable[[str], Any]) -> list[Finding]:
    """Return all findings, in the order in which they are best mended.

    `ask` returns the daemon's answer to a verb within seconds, or raises a `SwarmdError`.
    """
    patient = Patient(home, running=home.path.exists() and home.holder() is not None)
    if patient.running:
        with suppress(SwarmdError):  # the daemon has only begun, or hangs
            patient.seen = Seen.of(ask("status"), ask("peers"))
    first = _settings(patient, overrides)
    return [*first, *trio.run(_examine, patient)]


def _settings(patient: Patient, overrides: Mapping[str, str]) -> list[Finding]:
    try:
        patient.config = load(patient.home.path, overrides)
        patient.manifest = find_manifest(patient.config.swarm.manifest, patient.home)
    except SwarmdError as error:
        return [fail("settings", str(error), "mend it in node.toml; `swarmd config check` tells when it is right")]
    if patient.manifest is None:
        return [ok("settings", "right; the swarm's manifest will be fetched from a bootstrap peer")]
    if why := why_not(patient.config, patient.manifest):
        return [fail("settings", *_remedy(why))]
    right = ok("settings", f"right; the swarm is {patient.manifest.name}")
    return [right, *(warn("model and swarm", *_remedy(doubt)) for doubt in doubts(patient.config, patient.manifest))]


def _remedy(sentence: str) -> tuple[str, str]:
    """Part a sentence into its fault and its remedy."""
    fault, _, remedy = sentence.partition("; ")
    return fault, remedy


async def _examine(patient: Patient) -> list[Finding]:
    parts: dict[str, Part] = {
        "home": partial(_home, patient),
        "machine": partial(_machine, patient),
        "network": partial(_network, patient),
        "environments": partial(_environments, patient),
    }
    findings: dict[str, list[Finding]] = {}

    async def look(name: str, part: Part) -> None:
        findings[name] = [warn(name, f"no answer within {WITHIN_S:g} s", LESS_TO_DO)]
        with trio.move_on_after(WITHIN_S):
            try:
                findings[name] = await part()
            except Exception as error:  # noqa: BLE001 - whatever breaks in one part, the others are told
                findings[name] = [_broken(name, error)]

    async with trio.open_nursery() as nursery:
        for name, part in parts.items():
            nursery.start_soon(look, name, part)
    return [finding for name in parts for finding in findings[name]]


def _broken(name: str, error: BaseException) -> Finding:
    """Return the finding of a part that ended with an error, or with a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return warn(name, f"no answer within {hardware.ANSWERS_WITHIN_S:g} s", LESS_TO_DO)
    if isinstance(error, SwarmdError):
        return fail(name, str(error), "mend what it says")
    words = f"it could not be examined: {type(error).__name__}: {error}"
    return fail(name, words, "mend what it says, or report it with this sentence")


async def _home(patient: Patient) -> list[Finding]:
    home = patient.home
    if not home.identity_key.exists() and not home.node_toml.exists():
        return [skipped("home", f"there is no node at {home.path} yet; make one with: swarmd --home {home.path} init")]
    home.check_writable()
    found = [ok("home", f"{home.path} can be read and written{', and a daemon runs in it' if patient.running else ''}")]
    found.append(ok("identity", identity.load(home.identity_key).peer_id))
    if damaged := [wrong for path in checkpoint.every(home.checkpoints) if (wrong := checkpoint.damage(path)) is not None]:
        fix = "nothing is to be done while a newer one is whole; remove it to be rid of this"
        found += [warn("checkpoint", wrong, fix) for wrong in damaged]
    if patient.running:
        found.append(skipped("contents", "a daemon is at work in it; stop it for `swarmd audit`"))
    elif patient.manifest is None:
        found.append(skipped("contents", "without the swarm's manifest nothing can be replayed"))
    elif home.pool.exists() and home.pool.stat().st_size > AUDITED_BYTES:
        found.append(skipped("contents", "the pool is large; look through it with: swarmd audit"))
    else:
        report = await audit(home, patient.config, WallClock(), quick=True)
        if report.clean:
            found.append(ok("contents", "nothing is damaged"))
        else:
            found.append(fail("contents", report.contradictions[0], "see `swarmd audit`, and restore what it names"))
    return found


async def _machine(patient: Patient) -> list[Finding]:
    config = patient.config
    answers: dict[str, tuple[Any, list[Finding]]] = {}

    async def look(name: str, ask: Callable[[Patient], Awaitable[tuple[Any, list[Finding]]]]) -> None:
        answers[name] = await ask(patient)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, "libraries", _libraries)
        nursery.start_soon(look, "driver", _driver)
    (facts, found), (answer, of_driver) = answers["libraries"], answers["driver"]
    torch, told = (None, None) if facts is None else (facts["torch"], facts["model"])
    sized = None if told is None or "error" in told else told
    devices = [device for device in (config.policy.device, config.policy.generation_device) if device]
    return [
        *found,
        *of_driver,
        *cards.examine(answer, torch, devices),
        *model_fit.model(config, told),
        hardware.memory(running=patient.running),
        *model_fit.memory(config, sized, running=patient.running),
        *hardware.disk(config, patient.home.path, sized),
    ]


async def _libraries(patient: Patient) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the facts from torch and the model's libraries, or None, with the findings so far."""
    config = patient.config
    question = {"policy": asdict(config.policy), "generation": asdict(config.generation)}
    try:
        facts, words = await hardware.ask_module("swarm.policy.fit.devices", question)
    except trio.TooSlowError:
        return None, [warn("torch", f"it was not loaded within {hardware.ANSWERS_WITHIN_S:g} s", LESS_TO_DO)]
    if facts is None:
        fix = "install swarmd again into a fresh environment"
        return None, [fail("torch", f"torch and transformers cannot be used: {words}", fix)]
    return facts, []


async def _driver(patient: Patient) -> tuple[str | None, list[Finding]]:
    """Return the NVIDIA driver's answer, or None, with findings on it and on sharing the GPU."""
    try:
        answer = await trio.to_thread.run_sync(driver.ask_driver)
    except TimeoutError:
        text = f"nvidia-smi does not answer within {driver.ANSWERS_WITHIN_S:g} s"
        return None, [warn("gpu driver", text, "look into dmesg for what the driver says; a reboot may help")]
    if not patient.config.guest.gpu:
        return answer, []
    listed = None
    with trio.move_on_after(driver.ANSWERS_WITHIN_S):
        listed = await list_gpu_processes()
    blind = hidden(listed, (), ours_listed=False) or (patient.seen.gpu_hidden if patient.seen else "")
    return answer, [cards.sharing(blind, answer, listed=bool(listed))]


async def _network(patient: Patient) -> list[Finding]:
    found = list(connectivity.ports(patient.config, running=patient.running))
    found.append(reachability(patient.config.network, patient.seen, running=patient.running))
    return [*found, *await connectivity.peers_and_clock(patient.config, patient.manifest)]


async def _environments(patient: Patient) -> list[Finding]:
    answer, words = await hardware.ask_module("swarm.tasks.installed")
    if answer is None or "error" in answer:
        return [fail("environments", words if answer is None else answer["error"], "repair or remove the package that it names")]
    versions: Mapping[str, str] = answer["versions"]
    refused: Mapping[str, str] = answer["refused"]
    named = (
        f"{family} {version}" if family not in refused else f"{family} cannot be used" for family, version in versions.items()
    )
    found = [ok("environments", ", ".join(sorted(named)))]
    rules = chosen_rules(patient.manifest, patient.config.tasks) if patient.manifest else ()
    wanted = {(rule.name.partition("/")[0], rule.version) for rule in rules}
    for family, version in sorted(wanted - set(versions.items())):
        have = f"{versions[family]} is installed" if family in versions else "it is not installed"
        found.append(fail("environments", f"the swarm needs {family} {version}, and {have}", "install the swarm's version"))
    for family in sorted({family for family, _ in wanted} & set(refused)):
        fix = "join a swarm without it, with `swarmd join`, or run the node where it can be used"
        found.append(fail("environments", f"the swarm needs {family}: {refused[family]}", fix))
    if patient.manifest is not None and patient.manifest not in built_in().values() and len(found) == 1:
        played, words = await hardware.ask_module(
            "swarm.tasks.playable", replace(patient.manifest, environments=tuple(rules)).to_toml()
        )
        if why := words if played is None else played["refused"]:
            found.append(fail("environments", f"the swarm's tasks cannot be played here: {why}", "mend what it says"))
    return found
