"""`swarmd init` with an NVIDIA GPU: a real language model, unless the options say otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from drivers import nvidia_smi

from protocols.invite import Invite
from protocols.manifest import Manifest
from swarm.cli.main import main
from swarm.config.load import load, resolve
from swarm.config.manifest_lookup import built_in
from swarm.config.profiles import CARDS
from swarm.errors import ConfigError
from swarm.policy.fit.catalogue import KNOWN
from swarm.policy.fit.estimate import estimate
from swarm.roles.suitable import EMBEDDED_POSITIONS, doubts, why_not

ROOT = Path(__file__).parents[2]
RTX = "NVIDIA GeForce RTX 3060, 550.54.14, 8.6, 12288, 11802"


# What cards of 8, 12, 16 and 24 GB report, in MiB.
SOLD = (8188, 12288, 16376, 24564)
SWARMS = built_in()
MEMBER = "/ip4/10.0.0.1/tcp/4711/p2p/12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


def invited(swarm: Manifest) -> str:
    return Invite(swarm.id, (MEMBER,)).to_string()


def init(home: Path, *options: str) -> str:
    done = CliRunner().invoke(main, ["init", "--home", str(home), *options])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The nvidia-smi that is found first, as a shell script to be written."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return nvidia_smi(folder, monkeypatch, f"echo '{RTX}'")


def test_a_machine_with_a_card_trains_a_language_model(tmp_path: Path, driver: Path) -> None:
    assert "profile  gpu, for NVIDIA GeForce RTX 3060" in init(tmp_path / "home")
    config = resolve(tmp_path / "home", {}, {}).config
    assert (config.policy.model, config.swarm.manifest) == ("Qwen/Qwen2.5-1.5B-Instruct", "reasoning")
    assert config.training.learning_rate == 0, "by the kind of training, which is known once the model is there"


@pytest.mark.parametrize(
    "options", [("--profile", "default"), ("--manifest", "embedded"), ("--model", "embedded")], ids=lambda options: options[0]
)
def test_what_was_asked_for_is_made(tmp_path: Path, driver: Path, options: tuple[str, str]) -> None:
    assert "gpu" not in init(tmp_path / "home", *options)
    assert resolve(tmp_path / "home", {}, {}).config.policy.model == "embedded"


def test_a_torch_without_cuda_is_told_before_the_first_start(tmp_path: Path, driver: Path) -> None:
    done = CliRunner().invoke(main, ["init", "--home", str(tmp_path / "home")])
    assert ("without CUDA" in done.stderr) == (torch.version.cuda is None)


@pytest.mark.parametrize("script", ["exit 9", f"echo '{RTX.replace('12288', '4096')}'"], ids=["no driver", "a small card"])
def test_without_a_card_that_is_large_enough_nothing_is_chosen(tmp_path: Path, driver: Path, script: str) -> None:
    driver.write_text(f"#!/bin/sh\n{script}\n")
    assert "gpu" not in init(tmp_path / "home")


def test_a_home_with_settings_keeps_them(tmp_path: Path, driver: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "node.toml").write_text("[node]\nseed = 3\n")
    assert "gpu" not in init(tmp_path / "home")


def test_the_learning_rate_is_left_open_for_all_but_the_embedded_model(tmp_path: Path) -> None:
    settings = {model: resolve(tmp_path, {"policy.model": model}, {}).settings for model in ("embedded", "some/model")}
    assert settings["embedded"]["training.learning_rate"].value == 1e-4
    assert settings["some/model"]["training.learning_rate"].value == settings["some/model"]["training.constant_steps"].value == 0
    given = {"policy.model": "some/model", "training.learning_rate": "2e-5"}
    assert resolve(tmp_path, given, {}).config.training.learning_rate == 2e-5


@pytest.mark.parametrize("mib", SOLD)
@pytest.mark.parametrize("swarm", SWARMS.values(), ids=SWARMS)
def test_an_invited_card_owner_gets_a_model_for_the_swarms_tasks(tmp_path: Path, driver: Path, swarm: Manifest, mib: int) -> None:
    driver.write_text(f"#!/bin/sh\necho '{RTX.replace('12288', str(mib))}'\n")
    init(tmp_path / "home", "--invite", invited(swarm))
    config = load(tmp_path / "home", environ={})
    assert why_not(config, swarm) == ""
    assert not list(doubts(config, swarm))
    assert (config.policy.model == "embedded") == ("prose" not in swarm.renderings)


@pytest.mark.parametrize("swarm", SWARMS.values(), ids=SWARMS)
def test_who_joins_with_the_wrong_model_is_told_and_given_the_command(tmp_path: Path, driver: Path, swarm: Manifest) -> None:
    init(tmp_path / "home")
    done = CliRunner().invoke(main, ["join", "--home", str(tmp_path / "home"), invited(swarm)])
    assert done.exit_code == 0, done.output
    assert ("warning: " in done.stderr) == ("prose" not in swarm.renderings)
    if "prose" not in swarm.renderings:
        assert "--profile default --model embedded" in done.stderr
        again = ["join", "--home", str(tmp_path / "home"), invited(swarm), "--profile", "default", "--model", "embedded"]
        done = CliRunner().invoke(main, again)
        assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("swarm", SWARMS.values(), ids=SWARMS)
def test_the_embedded_model_is_refused_where_tasks_are_prose(tmp_path: Path, driver: Path, swarm: Manifest) -> None:
    home = tmp_path / "home"
    init(home, "--profile", "default")
    before = (home / "node.toml").read_bytes()
    done = CliRunner().invoke(main, ["join", "--home", str(home), invited(swarm)])
    if "prose" in swarm.renderings:
        assert done.exit_code == ConfigError.exit_code
        assert "cannot read" in done.stderr
        assert "--profile gpu" in done.stderr
        assert (home / "node.toml").read_bytes() == before
        init_too = CliRunner().invoke(
            main, ["init", "--home", str(tmp_path / "b"), "--model", "embedded", "--invite", invited(swarm)]
        )
        assert (init_too.exit_code, (tmp_path / "b").exists()) == (ConfigError.exit_code, False)
    else:
        assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("mib", SOLD)
def test_the_model_for_a_card_can_be_trained_there(mib: int) -> None:
    """By the estimates, on a card whose desktop takes .6 GiB; 4 bits would be felt in every
    answer."""
    model = next(model for least, model, _ in CARDS if mib >= least)
    (shape,) = (known.shape for known in KNOWN if known.name == model)
    needs = min(estimate(shape, kind, item=2, rank=16).total for kind in ("none", "lora"))
    assert needs < (mib - 614) * 2**20 * 0.9


def test_the_embedded_models_positions_are_known_here() -> None:
    from swarm.policy.model.model import EMBEDDED

    assert f'"max_position_embeddings": {EMBEDDED_POSITIONS}' in (EMBEDDED / "config.json").read_text()


def test_the_settings_page_says_what_each_card_gets() -> None:
    rows = re.findall(r"\| (\d+) GB \| (\S+) \| LoRA \| (\d+) \|", (ROOT / "docs" / "settings.md").read_text())
    expected = [(model.partition("/")[2], questions) for _, model, questions in reversed(CARDS)]
    assert [(model, int(questions)) for _, model, questions in rows] == expected
