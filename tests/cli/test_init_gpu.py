"""`swarmd init` with an NVIDIA GPU: a real language model, unless the options say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from drivers import nvidia_smi

from swarm.cli.main import main
from swarm.config.load import resolve

RTX = "NVIDIA GeForce RTX 3060, 550.54.14, 8.6, 12288, 11802"


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
    assert (config.policy.model, config.swarm.manifest) == ("Qwen/Qwen2.5-0.5B-Instruct", "reasoning")
    assert config.training.learning_rate == 0, "by the kind of training, which is known once the model is there"


@pytest.mark.parametrize(
    "options", [("--profile", "default"), ("--manifest", "embedded"), ("--model", "embedded")], ids=lambda options: options[0]
)
def test_what_was_asked_for_is_made(tmp_path: Path, driver: Path, options: tuple[str, str]) -> None:
    assert "gpu" not in init(tmp_path / "home", *options)
    assert resolve(tmp_path / "home", {}, {}).config.policy.model == "embedded"


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
