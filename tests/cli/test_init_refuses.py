"""`swarmd init`, `join` and `config check` refuse a model or manifest that cannot be used, and write
nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swarm.cli.main import main
from swarm.config.manifest_lookup import built_in
from swarm.errors import ConfigError, PolicyError

REASONING = built_in()["reasoning"]
OLDER = replace(REASONING, environments=(replace(REASONING.environments[0], version="0.1.25+2"),))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("model", ["weights.bin", "empty", "./nowhere", "/nowhere/x", "a b/c", "a/b/c"])
def test_a_model_that_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").touch()
    Path("empty").mkdir()
    done = run("--home", "home", "init", "--manifest", "reasoning", "--model", model)
    assert done.exit_code == PolicyError.exit_code
    assert done.output.count("\n") == 1
    assert not Path("home").exists()


def test_a_folder_with_a_space_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my model").mkdir()
    Path("my model/config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert run("--home", "home", "init", "--manifest", "reasoning", "--model", "my model").exit_code == 0


def test_a_manifest_of_another_version(tmp_path: Path) -> None:
    old, home = tmp_path / "old.toml", tmp_path / "home"
    old.write_text(OLDER.to_toml())
    options = ("--model", "Qwen/Qwen3-0.6B")
    refused = run("--home", str(home), "init", "--manifest", str(old), *options)
    assert refused.exit_code == ConfigError.exit_code
    assert "has version" in refused.output
    assert not home.exists()
    assert run("--home", str(home), "init", "--manifest", "reasoning", *options).exit_code == 0
    assert run("--home", str(home), "config", "check", "--set", f"swarm.manifest={old}").exit_code == ConfigError.exit_code
