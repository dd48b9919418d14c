"""`swarmd doctor`: each thing that can be wrong is found, and said with its fix."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from drivers import nvidia_smi

from protocols.envelope import seal
from protocols.limits import MAX_INLINE_BODY_BYTES
from protocols.manifest import Manifest, topic
from protocols.messages import Announce
from swarm.cli.main import main
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config, NetworkSection, PolicySection, SwarmSection
from swarm.doctor import cards as gpu
from swarm.doctor import connectivity as network
from swarm.doctor import examination as doctor_module
from swarm.doctor.finding import Finding, Severity
from swarm.errors import HomeError
from swarm.home import Home
from swarm.identity import create
from swarm.net.libp2p import open_libp2p
from swarm.net.network import Network, deaf
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.installed import installed

RTX = "NVIDIA GeForce RTX 3060, 550.54.14, 8.6, 12288, 11802\n"
BLACKWELL = "NVIDIA GeForce RTX 5090, 570.86, 12.0, 32607, 9000\n"
CUDA = {"version": "2.6.0+cu124", "cuda": "12.4", "archs": ["sm_50", "sm_80", "sm_86", "sm_90"], "devices": ["RTX"], "mps": False}
CPU = {"version": "2.6.0+cpu", "cuda": None, "archs": [], "devices": [], "mps": False}
PLACE = {"device": "cpu", "needs": 2**29, "room": 2**40, "most": 2**40}
FACTS = {
    "here": True,
    "download": 0,
    "cache": "/",
    "device": "cpu",
    "kind": "none",
    "needs": 2**29,
    "places": [PLACE],
    "fits": {},
}
FACTS |= {"obstacles": [], "checkpoint": 2**20}
PEER = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


def worst(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: str(finding.verdict) for finding in findings if finding.verdict != Severity.OK}


@pytest.mark.parametrize(
    ("answer", "torch", "devices", "expected"),
    [
        (BLACKWELL, CUDA, "cpu", {}),
        (RTX, {**CUDA, "devices": [], "archs": []}, "cpu", {}),
        (RTX, CPU, "cpu", {}),
        (RTX, CPU, "cpu cuda:1", {"torch": "fail"}),
        (None, CUDA, "cuda", {}),
        ("NVIDIA Old, 390.1, [N/A], 4096, 4000", CUDA, "cuda", {}),
        (RTX, CUDA, "auto", {}),
        (None, CPU, "auto", {}),
        (None, CPU, "cuda", {"gpu": "fail"}),
        (RTX, CPU, "auto", {"torch": "warn"}),
        (RTX, CPU, "cuda:0", {"torch": "fail"}),
        (RTX, {**CUDA, "devices": [], "archs": []}, "auto", {"torch": "fail"}),
        (BLACKWELL, CUDA, "auto", {"gpu memory": "warn", "torch": "fail"}),
        (BLACKWELL, {**CUDA, "archs": ["sm_120"]}, "auto", {"gpu memory": "warn"}),
        ('Field "compute_cap" is not a valid field to query.\n', CPU, "auto", {"gpu": "warn"}),
        (RTX, None, "auto", {}),
    ],
)
def test_the_gpu_against_torch(answer: str | None, torch: dict[str, Any] | None, devices: str, expected: dict[str, str]) -> None:
    found = list(gpu.examine(answer, torch, devices.split()))
    assert worst(found) == expected
    assert all(finding.fix for finding in found if finding.verdict != Severity.OK)


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["compute_80"], (9, 0), True),
        (["compute_90"], (8, 9), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["sm_120"], (12, 0), True),
        ([], (8, 0), False),
    ],
)
def test_which_code_runs_where(archs: list[str], capability: tuple[int, int], runs: bool) -> None:
    assert gpu.runs_on(archs, capability) is runs


def listening(*addresses: str) -> Config:
    return Config(network=replace(NetworkSection(), listen=addresses))


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        assert worst(list(network.ports(listening(address), running=False))) == {"port": "fail"}
        assert worst(list(network.ports(listening(address), running=True))) == {}
    assert worst(list(network.ports(listening("/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0"), running=False))) == {}
    assert worst(list(network.ports(listening("/dns4/x/udp/1"), running=False))) == {"port": "fail"}


def test_the_clock() -> None:
    assert network.clock_finding([800, 2000, 90_000]).verdict == Severity.OK, "one message may have been late"
    assert "ahead of" in network.clock_finding([3_600_000]).found
    assert network.clock_finding([-3_600_000]).verdict == Severity.FAIL
    assert network.web_clock(Config(), built_in()["embedded"]).verdict == Severity.SKIPPED


@pytest.mark.parametrize(
    ("manifest", "expected"), [(built_in()["embedded"], {"bootstrap": "warn"}), (None, {"bootstrap": "warn", "manifest": "fail"})]
)
async def test_a_bootstrap_peer_that_is_not_there(manifest: Manifest | None, expected: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    swarm = replace(SwarmSection(), bootstrap=(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER}",), manifest="00" * 32)
    found = worst(await network.peers_and_clock(Config(swarm=swarm), manifest))
    assert found == {**expected, "clock": "skipped"}


async def test_a_bootstrap_peer_answers_and_tells_the_time() -> None:
    rules, key = built_in()["embedded"], Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    settings = replace(NetworkSection(), listen=("/ip4/127.0.0.1/tcp/0",), mdns=False)
    hours_ago_ms = WallClock().now_ms() - 2 * 3_600_000

    async def publish(peer: Network) -> None:
        for sequence in range(1, 1000):
            body = Announce(bytes(32), MAX_INLINE_BODY_BYTES + 1)
            await peer.publish(seal(key, sequence, bytes([1]) * 32, hours_ago_ms, body, rules.id).to_bytes())
            await trio.sleep(0.1)

    opened = open_libp2p(bytes([7]) * 32, deaf(topic(rules)), clock=WallClock(), config=settings)
    async with opened as peer, trio.open_nursery() as nursery:
        nursery.start_soon(publish, peer)
        swarm = replace(SwarmSection(), bootstrap=peer.addresses())
        found = await network.peers_and_clock(Config(swarm=swarm), rules)
        nursery.cancel_scope.cancel()
    assert worst(found) == {"clock": "fail"}
    assert "7200 s ahead of" in found[-1].found.replace("7201", "7200").replace("7202", "7200")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answers of the processes that load the heavy libraries."""
    versions = {rule.name.partition("/")[0]: rule.version for rule in built_in()["embedded"].environments}
    answers: dict[str, Any] = {
        "swarm.tasks.installed": {"versions": versions, "refused": {}},
        "swarm.tasks.playable": {"refused": ""},
        "swarm.policy.fit.devices": {"torch": CPU, "model": FACTS},
    }

    async def ask(module: str, question: Any = None) -> tuple[Any, str]:
        return answers[module], "its last words"

    monkeypatch.setattr(doctor_module.hardware, "ask_module", ask)
    return answers


def examine(home: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    overrides = ["--set", "network.listen=/ip4/127.0.0.1/tcp/0"]
    shown = CliRunner().invoke(main, ["--home", str(home), "doctor", "--json", *overrides, *arguments])
    return shown.exit_code, worst([Finding(**each) for each in json.loads(shown.stdout)])


def test_it_works_before_init_and_beside_a_daemon(tmp_path: Path, quick: dict[str, Any]) -> None:
    nothing = {"home": "skipped", "clock": "skipped", "reachability": "warn"}
    assert examine(tmp_path / "none") == (0, nothing)
    assert not (tmp_path / "none").exists()
    home = Home(tmp_path / "home").create()
    create(home.identity_key)
    assert examine(home.path) == (0, {"clock": "skipped", "reachability": "warn"})
    with home.lock():
        assert examine(home.path) == (0, {"clock": "skipped", "contents": "skipped", "reachability": "skipped"})
    text = CliRunner().invoke(main, ["--home", str(home.path), "doctor"]).output
    assert "identity" in text


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exec sleep 60", {"gpu driver": "warn"}),
        (f"[ $1 != pmon ] && echo '{RTX.strip()}'", {"torch": "warn", "gpu sharing": "warn"}),
        (f"[ $1 != pmon ] && echo '{RTX.strip()}' || echo '# gpu pid\n0 7'", {"torch": "warn"}),
        (f"[ $1 != pmon ] && echo '{RTX.strip()}' || exec sleep 60", {"torch": "warn", "gpu sharing": "warn"}),
    ],
)
def test_a_driver_that_hangs_or_hides_takes_nothing_with_it(
    tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, script: str, expected: dict[str, str]
) -> None:
    nvidia_smi(tmp_path, monkeypatch, script)
    monkeypatch.setattr(doctor_module.driver, "ANSWERS_WITHIN_S", 0.5)
    begun = time.monotonic()
    found = examine(tmp_path / "none", "--set", "guest.gpu=true")[1]
    assert time.monotonic() - begun < 15, "it waits for neither answer longer than it should"
    assert found == {**expected, "home": "skipped", "clock": "skipped", "reachability": "warn"}


def test_what_is_broken_hides_nothing_else(tmp_path: Path, quick: dict[str, Any]) -> None:
    home = Home(tmp_path / "home").create()
    create(home.identity_key)
    home.identity_key.chmod(0o644)
    quick["swarm.policy.fit.devices"] = None
    quick["swarm.tasks.installed"] = {"versions": {"reasoning_gym": "0.0.1"}, "refused": {}}
    code, found = examine(home.path)
    assert code == 11
    assert found == {
        "home": "fail",
        "torch": "fail",
        "model": "skipped",
        "environments": "fail",
        "clock": "skipped",
        "reachability": "warn",
    }
    home.node_toml.write_text("nonsense = 1\n")
    assert examine(home.path)[1]["settings"] == "fail"
    assert PolicySection().model == "embedded"


SLOW = trio.TooSlowError()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (SLOW, "warn"),
        (ExceptionGroup("of a nursery", [SLOW]), "warn"),
        (ExceptionGroup("of a nursery", [ExceptionGroup("inside", [HomeError("not readable; mend it")])]), "fail"),
        (PermissionError(13, "denied"), "fail"),
        (json.JSONDecodeError("no JSON", "x", 0), "fail"),
    ],
)
@pytest.mark.parametrize("module", ["swarm.tasks.installed", "swarm.policy.fit.devices"])
def test_what_breaks_in_one_part_is_a_finding(
    tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, module: str, error: Exception, verdict: str
) -> None:
    answer = doctor_module.hardware.ask_module

    async def ask(asked: str, question: Any = None) -> tuple[Any, str]:
        if asked == module:
            raise error
        return await answer(asked, question)

    monkeypatch.setattr(doctor_module.hardware, "ask_module", ask)
    code, found = examine(tmp_path / "none")
    part = "environments" if module == "swarm.tasks.installed" else "torch" if error is SLOW else "machine"
    also = {"model": "skipped"} if part == "torch" else {}
    assert found == {"home": "skipped", "clock": "skipped", "reachability": "warn", part: verdict, **also}
    assert code == (0 if verdict == "warn" else 11)


def test_a_family_that_is_refused_here_is_not_listed_as_usable(
    tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "_trial", lambda self: "there are none")
    quick["swarm.tasks.installed"] = installed()
    version = quick["swarm.tasks.installed"]["versions"]["code"]
    for manifest, code, sentence in (("embedded", 0, "code cannot be used, "), ("code", 11, "there are none; choose a swarm")):
        settings = ["--set", "network.listen=/ip4/127.0.0.1/tcp/0", "--set", f"swarm.manifest={manifest}"]
        shown = CliRunner().invoke(main, ["--home", str(tmp_path / "none"), "doctor", *settings])
        assert shown.exit_code == code, shown.output
        assert sentence in shown.output
        assert f"code {version}" not in shown.output


def test_a_swarm_whose_tasks_cannot_be_played(tmp_path: Path, quick: dict[str, Any]) -> None:
    rules = tmp_path / "own.toml"
    rules.write_text(built_in()["embedded"].to_toml().replace('name = "embedded"', 'name = "own"'))
    here = ("--set", f"swarm.manifest={rules}")
    assert "environments" not in examine(tmp_path / "none", *here)[1]
    quick["swarm.tasks.playable"] = {"refused": "it has no rendering 'sonnet'"}
    assert examine(tmp_path / "none", *here)[1]["environments"] == "fail"
