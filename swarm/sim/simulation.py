"""`swarmd sim`: from options to a report directory."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocols.manifest import Manifest
from swarm.config.load import load
from swarm.config.manifest import find_manifest
from swarm.config.schema import Config
from swarm.errors import ConfigError
from swarm.home import Home, storage
from swarm.roles.proposer import chosen_rules
from swarm.sim.options import SimulationOptions
from swarm.sim.page import write_page
from swarm.sim.plots import draw_plots
from swarm.sim.progress import show_progress
from swarm.sim.report import build_report
from swarm.sim.swarm import NodeResult, SwarmPlan, run_swarm

EVALUATION_PROMPTS = 48
NETWORKS = ("libp2p", "memory")
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

    Raises `ConfigError` for options that contradict each other or the manifest, and `HomeError` for a report directory that
    cannot be written.
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
        results = _run(options, apart, manifest, "alone")
        report["alone"] = build_report(options, apart[0], manifest, results, time.monotonic() - begun)
    with storage(options.report):
        (options.report / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        write_page(options.report, report, draw_plots(options.report, report))
    return report


def node_configs(options: SimulationOptions) -> tuple[list[Config], Manifest]:
    """One configuration per node, and the swarm's manifest."""
    _check(options)
    overrides = {"policy.model": options.model, **options.overrides, "node.rounds": str(options.rounds)}
    if options.local is not None:
        overrides["training.local"] = str(options.local)
    if options.external is not None:
        overrides["training.external"] = str(options.external)
    # Neither a node.toml nor the environment has a say: the command line says all of what was run.
    with tempfile.TemporaryDirectory(prefix="swarmd-sim-") as nowhere:
        config = load(Path(nowhere), overrides, {})
    manifest = find_manifest(config.swarm.manifest, Home(Path.cwd()))
    if manifest is None:
        raise ConfigError("a simulation needs the manifest itself: name a built-in one or a file with --set swarm.manifest=")
    names = [rule.name for rule in chosen_rules(manifest, config.tasks)]
    if not options.specialise:
        return [config] * options.nodes, manifest
    # A third each, more where the nodes are too few to cover all.
    few = max(round(len(names) / 3), math.ceil(len(names) / options.nodes))
    return [
        replace(config, tasks=replace(config.tasks, environments=_own_tasks(names, few, index))) for index in range(options.nodes)
    ], manifest


def _check(options: SimulationOptions) -> None:
    for name, value in (("--nodes", options.nodes), ("--rounds", options.rounds)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}")
    if options.network not in NETWORKS:
        raise ConfigError(f"--network must be one of {', '.join(NETWORKS)}, not {options.network!r}")
    given = {"--local": options.local is not None, "--external": options.external is not None}
    for setting, option in _OWN_OPTIONS.items():
        if setting in options.overrides and given.get(option, True):
            raise ConfigError(f"--set {setting} contradicts the simulation, which decides it; use {option}")


def _own_tasks(names: Sequence[str], few: int, index: int) -> tuple[str, ...]:
    """The `few` environments of node `index`; together the nodes cover all of them as evenly as possible."""
    return tuple(names[(index * few + offset) % len(names)] for offset in range(few))


def _alone(config: Config) -> Config:
    """The same node without a swarm: nothing published, nothing foreign trained."""
    return replace(config, tasks=replace(config.tasks, share=False), training=replace(config.training, external=0))


def _run(options: SimulationOptions, configs: Sequence[Config], manifest: Manifest, label: str) -> list[NodeResult]:
    with (
        tempfile.TemporaryDirectory(prefix="swarmd-sim-") as directory,
        show_progress(options.nodes, options.rounds, label, plain=options.plain) as progress,
    ):
        return run_swarm(
            SwarmPlan(
                manifest=manifest,
                configs=tuple(configs),
                seed=options.seed,
                network=options.network,
                evaluation_prompts=EVALUATION_PROMPTS,
                directory=Path(directory),
                progress=progress,
            )
        )
