"""Audit a home offline: search every byte for damage, then replay log and pool.

Damage is looked for first, and damaged rows are left out of the replay, so that each fault is said
once where it lies. Nothing in the home is changed, and no daemon may run in it meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from swarm import identity
from swarm.audit.audit_logs import Logs
from swarm.audit.findings import AuditCase, Report
from swarm.audit.groups import Groups
from swarm.audit.refusals import Refusals
from swarm.clock import Clock, WallClock
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import Config
from swarm.errors import ChildError, ConfigError, HomeError, IdentityError, PolicyError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.store.damage import DatabaseCopy, copied, search
from swarm.tasks.scoring import LIMIT_S, Scorer


def run_audit(home: Home, config: Config, *, quick: bool = False) -> Report:
    """`audit` by the wall clock, for a caller without an event loop."""
    return trio.run(partial(audit, home, config, WallClock(), quick=quick))


async def audit(home: Home, config: Config, clock: Clock, *, quick: bool = False) -> Report:
    """Audit `home`; with `quick` no task is rebuilt, no answer scored and no checkpoint loaded.

    Raises `HomeError` when it cannot be read or a daemon runs in it, `ConfigError` when the swarm's
    rules are not here.
    """
    _check_at_rest(home)
    report = Report(str(home.path))
    manifest = find_manifest(config.swarm.manifest, home)
    if manifest is None:
        raise ConfigError(
            f"the manifest of the swarm {config.swarm.manifest} is not in {home.path}; without its rules nothing can be replayed"
        )
    report.swarm = manifest.swarm_id
    key = _check_key(home, report)
    newest = _check_checkpoints(home, report)
    if newest is not None and not quick:
        await _load(newest, config, clock, report)
    if home.pool.exists():
        with copied(home.pool) as copy:
            _check_at_rest(home)
            _search(copy, report)
            case = AuditCase(copy, manifest, key, report)
            if quick:
                await _replay(case, None)
            else:
                async with Scorer(config.scoring.workers, LIMIT_S, clock) as scorer:
                    await _replay(case, scorer)
    else:
        report.notes.append("there is no pool yet")
    _check_at_rest(home)
    return report


def _check_at_rest(home: Home) -> None:
    if (holder := home.holder()) is not None:
        raise HomeError(
            f"a daemon (process {holder}) runs in {home.path} and changes what would be audited; "
            f"stop it first: swarmd --home {home.path} stop"
        )


def _check_key(home: Home, report: Report) -> bytes:
    """The public key (32 bytes); empty where the file gives none."""
    try:
        who = identity.load(home.identity_key)
    except IdentityError as error:
        report.contradict("identity", str(error))
        return b""
    report.peer_id = who.peer_id
    same = home.identity_key.read_bytes() == who.to_pem()
    report.settle("identity", None if same else f"{home.identity_key.name} is not the file that was written")
    return who.public_key


def _check_checkpoints(home: Home, report: Report) -> Path | None:
    """The newest whole one."""
    newest = None
    for path in checkpoint.every(home.checkpoints):
        wrong = checkpoint.damage(path)
        if wrong is None and (strange := checkpoint.unlisted(path)):
            wrong = f"{strange[0]} does not belong to the checkpoint"
        report.settle("checkpoints", wrong)
        newest = newest or (path if wrong is None else None)
    if newest is None:
        report.notes.append("there is no whole checkpoint; a node would begin with its base model")
    return newest


async def _load(newest: Path, config: Config, clock: Clock, report: Report) -> None:
    """Continue from a checkpoint as a node would, as far as its policy's digest."""
    kind = "newest checkpoint loaded"
    try:
        meta = checkpoint.meta(newest)
        # In the number format of the checkpoint, whatever the settings say now.
        written = replace(config, policy=replace(config.policy, dtype=meta.get("dtype", config.policy.dtype)))
        async with Policy(written, clock, checkpoint=newest) as policy:
            same = policy.tag.digest.hex() == meta["digest"]
            report.settle(kind, None if same else f"the weights in {newest} are not those that it was written for")
    except PolicyError as error:
        report.contradict(kind, str(error))
    except ChildError as error:
        report.leave(kind, f"the policy's process ended: {error}")


def _search(copy: DatabaseCopy, report: Report) -> None:
    found = search(copy)
    for kind, count in (("pages of the pool", found.pages), ("frames of its log", found.frames), ("rows", found.rows)):
        report.confirm(kind, count)
    for damage in found.damage:
        report.contradict("damage", str(damage))
    report.notes += found.notes


async def _replay(case: AuditCase, scorer: Scorer | None) -> None:
    report, logs = case.report, Logs(case)
    groups = Groups(case, logs, scorer)
    refusals = Refusals(case, logs, groups)
    try:
        for (swarm,) in case.copy.rows("about", "swarm"):
            report.settle("swarm", None if swarm == case.manifest.id else f"the pool belongs to the swarm {swarm.hex()}")
        logs.check_beginnings()
        logs.check_beacons()
        logs.check_own()
        logs.check_foreign()
        logs.check_proofs()
        await trio.lowlevel.checkpoint()
        await groups.check()
        await refusals.check()
    except HomeError as error:
        report.contradict("damage", str(error))
    if report.trimmed:
        report.notes.append(f"{report.trimmed} foreign groups were checked without their envelopes, which were trimmed away")
