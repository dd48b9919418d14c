"""`swarmd sim`: from options to a report directory."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from protocols.manifest import Manifest
from swarm.config.load import load
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import SECTIONS, Config
from swarm.errors import ConfigError
from swarm.home import Home, storage
from swarm.roles.proposer import chosen_rules
from swarm.sim.options import ATTACK_PACE, ATTACKS, SimulationOptions, of_model
from swarm.sim.page import write_page
from swarm.sim.plots import draw_plots
from swarm.sim.progress import show_progress
from swarm.sim.report import build_report
from swarm.sim.run_swarm import run_swarm
from swarm.sim.simulated_swarm import Outcome, SwarmPlan

EVALUATION_PROMPTS = 48
NETWORKS = ("libp2p", "memory")
# On the virtual clock a round of the embedded model takes a twentieth of a second, and the start of
# a node some seconds: without this a replacement would come when all others have done their rounds.
CHURN_ROUND_S = "1"
# Settings that every simulated node gets from an option of the simulation.
_OWN_OPTIONS = {
    "node.rounds": "--rounds",
    "node.seed": "--seed",
    "policy.model": "--model",
    "training.local": "--local",
    "training.external": "--external",
}


def run_simulation(options: SimulationOptions) -> dict[str, Any]:
    """Run it, write the report directory, and return report.json's contents.

    Raises `ConfigError` for options that contradict each other or the manifest, and `HomeError` for
    a report directory that cannot be written.
    """
    with storage(options.report):
        options.report.mkdir(parents=True, exist_ok=True)
    configs, manifest = node_configs(options)
    begun = time.monotonic()
    together = _run(options, configs, manifest, "together" if options.compare else "")
    report = build_report(options, configs[0], manifest, together, time.monotonic() - begun)
    if options.compare:
        begun = time.monotonic()
        apart = [_alone(config) for config in configs]
        calm = replace(options, attack=None, attackers=0, churn=0.0, partition=False, loss=0.0)
        outcome = _run(calm, apart, manifest, "alone")
        report["alone"] = build_report(calm, apart[0], manifest, outcome, time.monotonic() - begun)
    with storage(options.report):
        (options.report / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        write_page(options.report, report, draw_plots(options.report, report))
    return report


def node_configs(options: SimulationOptions) -> tuple[list[Config], Manifest]:
    """Return one configuration per honest node, and the swarm's manifest."""
    _check(options)
    # As fast as it goes, and checkpoints by rounds alone.
    overrides = {"node.rounds": str(options.rounds), "node.min_round_s": "0", "checkpoint.every_minutes": "0"}
    if options.attack is not None:
        overrides["swarm.manifest"] = "scratch"
        if options.network == "memory":
            overrides |= ATTACK_PACE
    if options.undefended:
        overrides |= without_defences()
    if options.churn and options.network == "memory":
        overrides["node.min_round_s"] = CHURN_ROUND_S
    overrides |= options.overrides
    if options.local is not None:
        overrides["training.local"] = str(options.local)
    if options.external is not None:
        overrides["training.external"] = str(options.external)
    # Neither a node.toml nor the environment has a say: the command line says all of what was run.
    with tempfile.TemporaryDirectory(prefix="swarmd-sim-") as nowhere:
        kinds = [
            load(Path(nowhere), overrides | own | {"policy.model": model}, {}) for model, own in map(of_model, options.models)
        ]
    config = kinds[0]
    manifest = find_manifest(config.swarm.manifest, Home(Path.cwd()))
    if manifest is None:
        raise ConfigError("a simulation needs the manifest itself: name a built-in one or a file with --set swarm.manifest=")
    names = [rule.name for rule in chosen_rules(manifest, config.tasks)]
    nodes = options.nodes - options.attackers
    configs = [kinds[index % len(kinds)] for index in range(nodes)]
    if not options.specialise:
        return configs, manifest
    # A third each, more where the nodes are too few to cover all.
    few = max(round(len(names) / 3), math.ceil(len(names) / nodes))
    return [
        replace(each, tasks=replace(each.tasks, environments=_own_tasks(names, few, index))) for index, each in enumerate(configs)
    ], manifest


def without_defences() -> dict[str, str]:
    """Return the settings that turn every defence off, by the schema's `off` values."""
    config = Config()
    named = {f"{section}.{each.name}": each.metadata["off"] for section in SECTIONS for each in fields(getattr(config, section))}
    return {name: str(off).lower() for name, off in named.items() if off is not None}


def _check(options: SimulationOptions) -> None:
    for name, value in (("--nodes", options.nodes), ("--rounds", options.rounds)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    if options.network not in NETWORKS:
        raise ConfigError(f"--network must be one of {', '.join(NETWORKS)}, not {options.network!r}")
    if options.attack is not None and options.attack not in ATTACKS:
        raise ConfigError(f"--attack must be one of {', '.join(ATTACKS)}, not {options.attack!r}")
    if (options.attack is None) != (options.attackers == 0):
        raise ConfigError("--attack NAME and --attackers K belong together; K is at least 1")
    if options.attackers >= options.nodes:
        raise ConfigError(f"of {options.nodes} nodes at most {options.nodes - 1} can be attackers")
    if not 0 <= options.churn <= 1 or not 0 <= options.loss < 1:
        raise ConfigError("--churn is a share from 0 to 1, --loss a probability from 0 to below 1")
    if options.network != "memory" and (options.partition or options.loss):
        raise ConfigError("--partition and --loss need --network memory")
    if not options.speeds or min(options.speeds) <= 0:
        raise ConfigError("--speeds are numbers above 0, separated by commas")
    if set(options.speeds) != {1.0} and options.network != "memory":
        raise ConfigError("--speeds needs --network memory: elsewhere a node is as fast as its machine")
    if len(set(options.speeds)) > 1 and (options.partition or options.evaluate_every):
        raise ConfigError("--speeds goes without --partition and --evaluate-every, which count the rounds that all nodes do")
    if options.until and not options.evaluate_every:
        raise ConfigError("--until needs --evaluate-every: how often to look whether the accuracy is reached")
    given = {"--local": options.local is not None, "--external": options.external is not None}
    settings = set(options.overrides).union(*(of_model(model)[1] for model in options.models))
    if "swarm.manifest" in settings - set(options.overrides):
        raise ConfigError("all nodes of a simulation are in one swarm: give swarm.manifest with --set, not with --model")
    for setting, option in _OWN_OPTIONS.items():
        if setting in settings and given.get(option, True):
            raise ConfigError(f"--set {setting} contradicts the simulation, which decides it; use {option}")


def _own_tasks(names: Sequence[str], few: int, index: int) -> tuple[str, ...]:
    """Return the `few` environments of node `index`; the nodes cover all as evenly as possible."""
    return tuple(names[(index * few + offset) % len(names)] for offset in range(few))


def _alone(config: Config) -> Config:
    """Return the same node without a swarm: it publishes nothing and trains on its own groups."""
    return replace(config, tasks=replace(config.tasks, share=False), training=replace(config.training, external=0))


def _run(options: SimulationOptions, configs: Sequence[Config], manifest: Manifest, label: str) -> Outcome:
    rounds = [pace.rounds for pace in options.paces(len(configs))]
    with (
        tempfile.TemporaryDirectory(prefix="swarmd-sim-") as directory,
        show_progress(rounds, label, plain=options.plain) as progress,
    ):
        return run_swarm(SwarmPlan(options, manifest, tuple(configs), Path(directory), progress), EVALUATION_PROMPTS)
