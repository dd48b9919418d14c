"""`swarmd doctor` foresees the failures of `start`: memory, packages, disk and reachability."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swarm.config.schema import Config, GenerationSection, NetworkSection, PolicySection
from swarm.doctor import cards as gpu
from swarm.doctor import hardware as machine
from swarm.doctor import model_fit as model
from swarm.doctor.finding import Finding, Severity
from swarm.doctor.reachability import Seen, reachability
from swarm.learner.machine import GpuProcess, hidden
from swarm.policy.fit import devices, fitting, memory
from swarm.policy.fit.catalogue import KNOWN
from swarm.policy.model import model as model_module
from swarm.policy.model import packaged_smollm2 as smollm2

GIB = 2**30
SHAPES = {known.name: known.shape for known in KNOWN}
SEVEN = "Qwen/Qwen2.5-7B-Instruct"


def worst(findings: list[Finding]) -> dict[str, str]:
    assert all(finding.fix for finding in findings if finding.verdict in (Severity.WARN, Severity.FAIL))
    return {finding.subject: str(finding.verdict) for finding in findings if finding.verdict != Severity.OK}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine as its probes tell it: a CUDA card of some GiB, with these packages, and a hub that
    has the models."""

    def of(gib: float, *packages: str, free: float | None = None) -> None:
        told = (int((free or gib) * GIB), int(gib * GIB))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: told)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: 0)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        monkeypatch.setattr(torch.cuda, "device", nullcontext)
        for module in (devices, model_module):
            monkeypatch.setattr(module, "device_of", lambda name: torch.device("cuda:0" if name in ("auto", "cuda") else name))
        for module in (devices, fitting):
            monkeypatch.setattr(module, "model_shape", lambda config: SHAPES[config.model])
        monkeypatch.setattr(fitting, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(devices, "_at_hub", lambda name, revision: {"here": False, "download": 15 * GIB})

    return of


def examined(engine: str = "auto", **policy: Any) -> list[Finding]:
    section, generation = PolicySection(**{"model": SEVEN} | policy), replace(GenerationSection(), engine=engine)
    facts = json.loads(json.dumps(devices.model_facts(section, generation)))
    config = Config(policy=section, generation=generation)
    return [*model.model(config, facts), *model.memory(config, facts, running=False)]


def test_a_model_that_is_too_large_for_the_card(card: Any) -> None:
    card(8, "bitsandbytes")
    found = examined(adapter="lora")
    assert worst(found) == {"model memory": "fail"}
    assert "which has 8.0" in found[-1].found
    assert "swarmd models" in found[-1].fix
    card(24, "bitsandbytes")
    assert worst(examined()) == {}, "in 4 bits it fits"
    found = examined(adapter="none")
    assert worst(found) == {"model memory": "fail"}
    assert "policy.adapter = lora, which fits" in found[-1].fix
    card(24, "bitsandbytes", free=3)
    assert worst(examined(adapter="qlora")) == {"model memory": "warn"}, "somebody else has the memory now"
    assert worst(examined(adapter="qlora", device="cpu", memory=0.5)).get("model") == "fail", "4 bits need a card"


def test_a_copy_that_generates_takes_its_memory_too(card: Any) -> None:
    half = "Qwen/Qwen2.5-0.5B-Instruct"
    card(13, "vllm")
    alone = devices.model_facts(PolicySection(model=half), GenerationSection())["places"]
    apart = devices.model_facts(PolicySection(model=half, generation_device="cuda:1"), GenerationSection())["places"]
    assert [place["device"] for place in apart] == ["cuda:0", "cuda:1"]
    assert apart[0] == alone[0]
    assert 0 < apart[1]["needs"] < alone[0]["needs"]
    shared = devices.model_facts(PolicySection(model=half, generation_device="cuda:0"), GenerationSection())["places"]
    assert [place["needs"] for place in shared] == [apart[0]["needs"] + apart[1]["needs"]]
    copied = devices.model_facts(PolicySection(model=half), replace(GenerationSection(), engine="vllm"))["places"]
    assert copied[0]["needs"] == alone[0]["needs"] + 2 * SHAPES[half].weights
    assert (
        len([finding for finding in examined(model=half, generation_device="cuda:1") if finding.subject == "model memory"]) == 2
    )


@pytest.mark.parametrize(
    ("packages", "settings", "command"),
    [
        ((), {"adapter": "qlora"}, "pip install 'swarmd[gpu]'"),
        (("bitsandbytes",), {"engine": "vllm"}, "pip install 'swarmd[vllm]'"),
    ],
)
def test_what_the_settings_lead_to_must_be_installed(
    card: Any, packages: tuple[str, ...], settings: dict[str, str], command: str
) -> None:
    card(24, *packages)
    found = examined(**settings)
    assert worst(found)["model"] == "fail"
    assert command in next(finding.fix for finding in found if finding.verdict == Severity.FAIL)
    card(24, "bitsandbytes", "vllm")
    assert "model" not in worst(examined(**settings))


def test_four_bits_that_are_not_installed_are_named_where_they_would_fit(card: Any) -> None:
    card(12)
    found = examined()
    assert worst(found) == {"model memory": "fail"}
    assert "policy.adapter = qlora (pip install 'swarmd[gpu]')" in found[-1].fix


def test_smollm2_is_looked_for_and_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "_read", lambda path: pytest.fail("unpacked"))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    section = PolicySection(model="smollm2", device="cpu")
    assert "pip install" in devices.model_facts(section, GenerationSection())["error"]
    monkeypatch.setattr(smollm2, "_weights", lambda: tmp_path / smollm2.FILE)
    monkeypatch.setattr(smollm2, "find_spec", lambda name: name)
    facts = devices.model_facts(section, GenerationSection())
    assert facts["here"]
    assert facts["download"] == smollm2.UNPACKED_BYTES
    assert facts["cache"] == str(tmp_path / "swarmd")
    assert list(tmp_path.iterdir()) == []


def test_the_main_memory_and_what_the_cpu_has_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_bytes", lambda: 8 * GIB)
    monkeypatch.setattr(devices, "machine_bytes", lambda: 8 * GIB)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * GIB, total=8 * GIB))
    facts = devices.model_facts(PolicySection(device="cpu"), GenerationSection())
    config = Config()
    assert worst([machine.memory(running=False), *model.memory(config, facts, running=False)]) == {}

    def needing(gib: int) -> dict[str, str]:
        return worst(list(model.memory(config, {**facts, "places": [{**facts["places"][0], "needs": gib * GIB}]}, running=False)))

    assert [needing(gib) for gib in (2, 4, 9)] == [{}, {"model memory": "warn"}, {"model memory": "fail"}]
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=GIB // 4, total=8 * GIB))
    assert machine.memory(running=False).verdict == Severity.WARN
    assert machine.memory(running=True).verdict == Severity.OK


def test_the_disks_hold_checkpoints_and_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, free = tmp_path / "hub" / "cache", {"home": 100.0, "hub": 100.0}

    def usage(path: Path) -> Any:
        return SimpleNamespace(free=int(free["hub" if path == cache.parent else "home"] * GIB))

    cache.parent.mkdir()
    monkeypatch.setattr(machine.shutil, "disk_usage", usage)
    facts = {"checkpoint": 2 * GIB, "download": 15 * GIB, "cache": str(cache), "here": False}
    config = replace(Config(), pool=replace(Config().pool, max_bytes=GIB))
    home = tmp_path / "home"

    def examine() -> list[Finding]:
        return list(machine.disk(config, home, facts))

    assert worst(examine()) == {}
    free["home"] = 7.0  # keep 3 and one in writing: 8
    assert worst(examine()) == {"disk": "fail"}
    assert "checkpoint.keep" in examine()[0].fix
    free["home"] = 9.0
    assert worst(examine()) == {"disk": "warn"}
    home.joinpath("checkpoints").mkdir(parents=True)
    with home.joinpath("checkpoints", "whole").open("wb") as file:
        os.truncate(file.fileno(), 6 * GIB)
    assert worst(examine()) == {}, "what is there already needs no more room"
    free["hub"] = 14.0
    found = examine()
    assert worst(found) == {"disk for the model": "fail"}
    assert str(cache) in found[-1].found
    assert "HF_HOME" in found[-1].fix


def test_whether_others_on_the_gpu_can_be_seen() -> None:
    card = "RTX, 550, 8.6, 12288, 4000\n"
    game = GpuProcess(7, False, 90, 4000, "game")
    assert gpu.sharing(hidden([game], (), ours_listed=False), card, listed=True).verdict == Severity.OK
    assert gpu.sharing(hidden(None, (), ours_listed=False), card, listed=False).verdict == Severity.WARN
    assert gpu.sharing(hidden([], (), ours_listed=False), card, listed=False).verdict == Severity.WARN, "8 GB are somebody's"
    assert gpu.sharing(hidden([], (), ours_listed=False), card.replace("4000", "12000"), listed=False).verdict == Severity.OK
    assert "container" in gpu.sharing(hidden([game], (9,), ours_listed=True), card, listed=True).found


@pytest.mark.parametrize(
    ("listen", "announce", "verdict"),
    [
        ("/ip4/127.0.0.1/tcp/4711", (), "warn"),
        ("/ip4/192.168.1.7/tcp/4711", (), "warn"),
        ("/ip4/192.168.1.7/tcp/4711", ("/dns4/node.example/tcp/4711",), "ok"),
        ("/ip4/8.8.4.4/tcp/4711", (), "ok"),
    ],
)
def test_who_could_dial_a_node_that_does_not_run(listen: str, announce: tuple[str, ...], verdict: str) -> None:
    found = reachability(replace(NetworkSection(), listen=(listen,), announce=announce), None, running=False)
    assert found.verdict == verdict
    assert "not tried from outside" in found.found
    assert ("network.announce" in found.fix) is (verdict == "warn")


@pytest.mark.parametrize(
    ("address", "directions", "verdict"),
    [
        ("/ip4/8.8.4.4/tcp/1", ["inbound", "outbound"], "ok"),
        ("/ip4/8.8.4.4/tcp/1", ["outbound"], "warn"),
        ("/ip4/8.8.4.4/tcp/1", [], "ok"),
        ("/ip4/10.0.0.1/tcp/1", ["inbound"], "warn"),
        ("/ip4/10.0.0.1/tcp/1", [], "warn"),
    ],
)
def test_a_daemon_knows_who_has_dialled_it(address: str, directions: list[str], verdict: str) -> None:
    peers = [{"connected": True, "direction": each} for each in directions]
    peers.append({"connected": False, "direction": None})
    seen = Seen.of({"addresses": [f"{address}/p2p/x"], "guest": {"gpu_hidden": ""}}, peers)
    found = reachability(NetworkSection(), seen, running=True)
    assert (found.verdict, len(directions)) == (verdict, seen.connections), asdict(found)
    assert reachability(NetworkSection(), None, running=True).verdict == Severity.SKIPPED
