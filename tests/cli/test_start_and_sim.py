"""What `start` and `sim` hand on to the node and the simulation, which are replaced here."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swarm.cli.main import main
from swarm.config.schema import Config
from swarm.errors import NetworkError
from swarm.home import Home
from swarm.sim.options import SimulationOptions

PEER = "/ip4/10.0.0.1/tcp/4711/p2p/12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "home"))
    daemon, simulation = ModuleType("swarm.node.daemon"), ModuleType("swarm.sim.simulation")

    def run_simulation(options: SimulationOptions) -> dict[str, Any]:
        calls.append(options)
        accuracies = {"eval_before": 0.25, "eval_after": 0.75}
        trained = {"groups_trained_own": 10, "groups_trained_foreign": 30}
        alone = {"alone": {"eval_after": 0.5}} if options.compare else {}
        return {"nodes": options.nodes, "rounds": options.rounds, **accuracies, **trained, **alone}

    daemon.run_daemon = lambda home, config: calls.append((home, config))  # type: ignore[attr-defined]
    simulation.run_simulation = run_simulation  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, daemon.__name__, daemon)
    monkeypatch.setitem(sys.modules, simulation.__name__, simulation)
    return calls


def swarmd(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_start_runs_the_home_with_its_settings(calls: list[tuple[Home, Config]], tmp_path: Path) -> None:
    assert swarmd("init", "--profile", "laptop").exit_code == 0
    arguments = ["start", "--rounds", "3", "--bootstrap", PEER, "--bootstrap", PEER, "--set", "training.local=4"]
    assert swarmd("--log-level", "debug", *arguments).exit_code == 0
    ((home, config),) = calls
    assert home == Home(tmp_path / "home")
    assert (config.node.profile, config.node.rounds, config.node.log_level) == ("laptop", 3, "debug")
    assert config.swarm.bootstrap == (PEER, PEER)
    assert config.training.local == 4


def test_start_needs_a_home_or_makes_one_when_told(calls: list[tuple[Home, Config]]) -> None:
    refused = swarmd("start")
    assert refused.exit_code == 4
    assert "init" in refused.stderr
    assert calls == []
    started = swarmd("start", "--init")
    assert started.exit_code == 0
    assert started.stdout == "", "standard output is for data"
    assert "peer id" in started.stderr
    assert swarmd("start", "--init").exit_code == 0, "a home that is there is used"
    assert len(calls) == 2
    assert calls[0][0].identity_key.exists()


def test_start_with_a_wrong_setting_makes_and_runs_nothing(calls: list[tuple[Home, Config]], tmp_path: Path) -> None:
    refused = swarmd("start", "--init", "--set", "training.locl=4")
    assert refused.exit_code == 3
    assert "did you mean training.local" in refused.stderr
    assert calls == []
    assert not (tmp_path / "home").exists()


def test_the_daemons_error_is_the_exit_code(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def port_in_use(home: Home, config: Config) -> None:
        raise ExceptionGroup("nursery", [NetworkError("the port 4711 is in use; choose another with network.listen")])

    monkeypatch.setattr(sys.modules["swarm.node.daemon"], "run_daemon", port_in_use)
    swarmd("init")
    ended = swarmd("start")
    assert (ended.exit_code, ended.stderr) == (6, "Error: the port 4711 is in use; choose another with network.listen\n")


def test_ctrl_c_ends_with_130(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: SimulationOptions) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["swarm.sim.simulation"], "run_simulation", interrupted)
    assert swarmd("sim").exit_code == 130


def test_sim_hands_every_option_on(calls: list[SimulationOptions]) -> None:
    said = swarmd("sim", "--compare")
    assert said.stdout.splitlines() == [
        "held-out accuracy: 0.250 before, 0.750 after 60 rounds",
        "the same nodes alone: 0.500",
        "trained on 10 own and 30 foreign groups",
        "report: sim-report/report.html",
    ]
    arguments = (
        "--nodes 3 --rounds 5 --seed 7 --local 1 --external 2 --network memory --specialise --compare --report r"
        " --model m --model n --set node.log_level=debug --attack junk --attackers 1 --attack-groups 3 --undefended"
        " --churn 0.5 --partition --loss 0.1"
    )
    shown = swarmd("sim", *arguments.split(), "--json")
    assert json.loads(shown.stdout)["nodes"] == 3
    assert calls == [
        SimulationOptions(compare=True, plain=True),
        SimulationOptions(
            nodes=3,
            rounds=5,
            seed=7,
            local=1,
            external=2,
            network="memory",
            specialise=True,
            compare=True,
            models=("m", "n"),
            report=Path("r"),
            plain=True,
            attack="junk",
            attackers=1,
            attack_groups=3,
            undefended=True,
            churn=0.5,
            partition=True,
            loss=0.1,
            overrides={"node.log_level": "debug"},
        ),
    ]
    assert not os.path.exists("r"), "writing the report is the simulation's"
