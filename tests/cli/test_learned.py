"""A trained policy on its way to other programs: evaluated, exported whole and as an adapter,
served."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import trio
from click.testing import CliRunner, Result
from trained_homes import a_checkpoint
from transformers import AutoModelForCausalLM

from swarm.cli.main import main
from swarm.config.load import load
from swarm.home import Home
from swarm.policy.model.model import source_of

SERVE = "from swarm.cli.main import main; main(prog_name='swarmd')"
NODE_STATE = {"round": 3, "totals": {"groups_trained_own": 4, "groups_trained_foreign": 2}}


def swarmd(home: Home, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["--home", str(home.path), *arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose adapter has had two updates."""
    home = Home(tmp_path / "home")
    swarmd(home, "init", "--profile", "default")
    with home.node_toml.open("a") as settings:
        settings.write('[policy]\nadapter = "lora"\n[scoring]\nworkers = 1\n')
    trio.run(a_checkpoint, home, 2, NODE_STATE)
    return home


def test_from_an_update_to_other_programs(home: Home, tmp_path: Path) -> None:
    found = json.loads(swarmd(home, "eval", "--tasks", "1", "--json").stdout)
    assert found["step"] == 2
    assert all(each["base"]["tasks"] == each["now"]["tasks"] > 0 for each in found["comparisons"])

    whole, thin = tmp_path / "whole", tmp_path / "thin"
    swarmd(home, "export", "--to", str(whole))
    swarmd(home, "export", "--to", str(thin), "--adapter")
    for folder, words in ((whole, "A policy"), (thin, "The LoRA adapter of a policy")):
        card = (folder / "README.md").read_text()
        assert f"digest of the trained weights | `{found['digest']}`" in card
        assert f"{words} trained by reinforcement learning" in card
        assert "| all |" in card, "these weights were evaluated"
        assert "4 own and 2 foreign ones" in card
    base = AutoModelForCausalLM.from_pretrained(source_of(load(home.path).policy))
    adapted = peft.PeftModel.from_pretrained(base, thin).eval()
    merged = AutoModelForCausalLM.from_pretrained(whole).eval()
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4)
        with adapted.disable_adapter():
            assert not torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4), "it has learned something"

    command = [sys.executable, "-c", SERVE, "--home", str(home.path), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert asked(f"{address}/models")["data"][0]["digest"] == found["digest"]
            said = asked(f"{address}/completions", {"prompt": "12", "max_tokens": 5, "temperature": 0, "n": 2})
            assert len(said["choices"]) == 2
            assert said["choices"][0]["text"] == said["choices"][1]["text"], "the likeliest answer"
            turns = [{"role": "user", "content": "12"}]
            chat = asked(f"{address}/chat/completions", {"messages": turns, "max_tokens": 5, "temperature": 0})
            assert chat["choices"][0]["message"]["content"] == said["choices"][0]["text"]
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


def asked(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
