from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarm.cli.main import main
from swarm.errors import ConfigError
from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import node_configs


def test_attacks_are_measured_in_minutes_of_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SimulationOptions] = []

    def refuse(options: SimulationOptions) -> None:
        asked.append(options)
        raise ConfigError("enough")

    monkeypatch.setattr("swarm.sim.simulation.run_simulation", refuse)
    for words in (
        [],
        ["--attack", "flood", "--attackers", "2"],
        ["--attack", "flood", "--attackers", "2", "--network", "libp2p"],
    ):
        CliRunner().invoke(main, ["sim", *words])
    assert [options.network for options in asked] == ["libp2p", "memory", "libp2p"]
    paces = [(config.node.min_round_s, config.checkpoint.every_rounds) for (config, *_), _ in map(node_configs, asked)]
    assert paces == [(0.0, 20), (60.0, 5), (0.0, 20)], "in real time a round takes what it takes"
    own = replace(asked[1], overrides={"node.min_round_s": "120"})
    assert node_configs(own)[0][0].node.min_round_s == 120


def test_the_command_says_what_came_of_it_and_where_the_report_is(tmp_path: Path) -> None:
    report = tmp_path / "report"
    arguments = ["sim", "--nodes", "1", "--rounds", "1", "--network", "memory", "--report", str(report)]
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 0, said.output
    measured = json.loads((report / "report.json").read_text())
    assert f"held-out accuracy: {measured['eval_before']:.3f} before, {measured['eval_after']:.3f} after 1 rounds" in said.stdout
    assert said.stdout.splitlines()[-1] == f"report: {report / 'report.html'}"
    assert "round 1/1" in said.stderr

    again = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(again.stdout)["digest"] == measured["digest"], "standard output holds the report and nothing else"
