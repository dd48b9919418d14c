"""Three daemons on loopback: they join, learn from each other, and survive the troubles of one."""

import hashlib
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from processes import LOOPBACK, WITHIN_S, Daemon, Status, free_port, the_sentence

from protocols.envelope import NO_PREVIOUS, Envelope, seal
from protocols.limits import MAX_ENVELOPE_BYTES
from protocols.manifest import Manifest, topic
from protocols.messages import Kind, Share
from swarm.clock import WallClock
from swarm.config.schema import NetworkSection, TrainingSection
from swarm.net.libp2p.host import open_libp2p
from swarm.net.network import Message, Subscription
from swarm.policy import checkpoint

# Updates of a round at most.
UPDATES = round((TrainingSection().local + TrainingSection().external) / TrainingSection().groups_per_update)
# Rules that no home has unless somebody gave them to it.
MANIFEST = """
protocol = 1
name = "three"
description = "The swarm of a test"
epoch_seconds = 3600
beacon = "local"
tasks_per_epoch = 65536
group_size = { min = 4, max = 32 }
max_completion_chars = 32
max_completion_tokens = 18
max_groups_per_share = 32
renderings = ["compact"]

[[environment]]
name = "reasoning_gym/spell_backward"
version = "0.1.25+3"
parameters = { level = { min = 0, max = 0 } }

[[environment]]
name = "reasoning_gym/number_sorting"
version = "0.1.25+3"
parameters = { level = { min = 0, max = 0 } }
"""
ALONE_S = 10.0


@dataclass(frozen=True)
class Swarm:
    """The daemons, and what was seen of them while they came together."""

    founder: Daemon
    early: Daemon
    invited: Daemon
    manifest: Manifest
    early_alone: Status
    early_joined: Status

    @property
    def all(self) -> tuple[Daemon, Daemon, Daemon]:
        return self.founder, self.early, self.invited

    def running(self) -> None:
        for each in self.all:
            each.running()


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory, daemon: Callable[..., Daemon]) -> Swarm:
    folder = tmp_path_factory.mktemp("swarm")
    rules = folder / "three.toml"
    rules.write_text(MANIFEST)
    founder, early, invited = (daemon(folder / name) for name in ("founder", "early", "invited"))
    port = free_port()
    founder.ok("init", "--manifest", str(rules), "--listen", f"/ip4/127.0.0.1/tcp/{port}")
    early.ok("init", "--manifest", str(rules), "--listen", LOOPBACK)
    early.ok("join", f"/ip4/127.0.0.1/tcp/{port}/p2p/{founder.json('id')['peer_id']}")

    early.start()
    early.until("it is up", lambda status: True)
    early_alone = early.until("it has learned alone", lambda status: status["uptime_s"] >= ALONE_S and status["round"] >= 3)
    founder.start()
    founder.until("it is up", lambda status: True)
    # The third home is given no rules, only an invite.
    invited.ok("init", "--listen", LOOPBACK)
    invited.ok("join", founder.json("invite")["invite"])
    invited.start()
    early_joined = early.until("it has joined", lambda status: status["peers"] > 0)
    return Swarm(founder, early, invited, Manifest.from_toml(MANIFEST), early_alone, early_joined)


def learned_from_others(status: Status) -> bool:
    return status["groups_trained_foreign"] > 0


def test_a_node_whose_peer_is_not_there_learns_alone_and_joins_later(swarm: Swarm) -> None:
    assert swarm.early_alone["peers"] == 0
    assert swarm.early_alone["groups_trained_own"] > 0
    assert swarm.early_joined["round"] >= swarm.early_alone["round"]


def test_all_learn_from_each_other(swarm: Swarm) -> None:
    swarm.running()
    for each in swarm.all:
        status = each.until("it has trained on others' groups", learned_from_others)
        assert status["swarm_id"] == swarm.manifest.swarm_id
        assert each.json("rollouts", "ls", "--limit", "1") != []
    everybody = {each.json("id")["peer_id"] for each in swarm.all}
    for each in swarm.all:
        trained_from = {signer for event in each.events("RoundFinished") for signer in event["trained_from"]}
        assert trained_from <= everybody - {each.json("id")["peer_id"]}


def test_an_invite_is_enough(swarm: Swarm) -> None:
    """The third home was given neither the rules nor anybody's address but by the invite."""
    swarm.running()
    assert Manifest.from_toml(swarm.invited.home.manifest.read_text()).id == swarm.manifest.id
    swarm.invited.until("it has trained on others' groups", learned_from_others)
    swarm.invited.until("it knows all peers", lambda status: status["peers"] == 2)


def test_reading_verbs(swarm: Swarm) -> None:
    swarm.running()
    founder, early = swarm.founder, swarm.early
    founder.until("it has trained on others' groups", learned_from_others)
    early.until("it has trained on others' groups", learned_from_others)

    status = founder.json("status")
    expected = "peer_id addresses swarm_id state round peers reward_mean groups_trained_own groups_trained_foreign refused"
    assert set(expected.split()) | {"policy", "uptime_s"} <= set(status)
    assert set(status["policy"]) >= {"model", "step", "digest"}
    assert status["peer_id"] in founder.ok("status")

    identity = founder.json("id")
    assert identity["peer_id"] == status["peer_id"]
    assert identity["peer_id"] in founder.ok("id")

    peers = {peer["peer_id"]: peer for peer in founder.json("peers")}
    early_id = early.json("id")["peer_id"]
    assert peers[early_id]["connected"]
    assert early_id in founder.ok("peers")

    invite = founder.json("invite")
    assert founder.ok("invite").strip() == invite["invite"]
    assert invite["swarm_id"] == swarm.manifest.swarm_id

    founder.until("it has groups of this peer", lambda _: founder.json("rollouts", "ls", "--peer", early_id))
    foreign = founder.json("rollouts", "ls", "--peer", early_id, "--limit", "5")
    assert 0 < len(foreign) <= 5
    assert {group["peer_id"] for group in foreign} == {early_id}
    assert str(foreign[0]["key"]) in founder.ok("rollouts", "ls", "--peer", early_id)
    group = founder.json("rollouts", "show", str(foreign[0]["key"]))
    assert len(group["completions"]) == foreign[0]["completions"]
    shown = founder.ok("rollouts", "show", str(foreign[0]["key"]))
    assert group["prompt"].splitlines()[0] in shown
    assert len(re.findall(r"^reward \S+, \d+ tokens", shown, re.MULTILINE)) == len(group["completions"])


def test_a_home_has_one_daemon(swarm: Swarm) -> None:
    swarm.running()
    second = swarm.founder.command("start")
    assert second.returncode == 4
    holder = json.loads(swarm.founder.home.control.read_text())["pid"]
    assert f"process {holder}" in the_sentence(second.stderr)
    swarm.founder.rounds_more(1)


def test_the_running_policy_is_exported(swarm: Swarm, tmp_path: Path) -> None:
    swarm.running()
    step = swarm.founder.status()["policy"]["step"]
    swarm.founder.ok("export", "--to", str(tmp_path / "model"))
    assert (
        f"digest of the trained weights | `{plain_digest(tmp_path / 'model')}`" in (tmp_path / "model" / "README.md").read_text()
    )
    assert checkpoint.meta(swarm.founder.newest_checkpoint())["step"] > step, "what the daemon had learned by then is in it"
    assert swarm.founder.command("export", "--to", str(tmp_path / "model")).returncode == 4, "it is not written over"
    swarm.founder.ok("export", "--to", str(tmp_path / "again"))
    assert (tmp_path / "again" / "config.json").exists()


def plain_digest(folder: Path) -> str:
    """The weights' digest (as `LanguageModel.digest` defines it) of a folder that plain
    transformers loads and generates with."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("a", return_tensors="pt", return_token_type_ids=False)
    assert len(model.generate(**prompt, max_new_tokens=2)[0]) > 1
    total = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        total.update(weight.detach().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


async def test_hostile_messages_are_counted_and_nothing_stops(swarm: Swarm) -> None:
    # In this thread: daemons end with the thread that started them.
    swarm.running()
    founder = swarm.founder
    before = await trio.to_thread.run_sync(founder.running)
    key = Ed25519PrivateKey.generate()
    now_ms = time.time_ns() // 1_000_000
    key_bytes, swarm_id = key.public_key().public_bytes_raw(), swarm.manifest.id
    unsigned = Envelope(1, int(Kind.SHARE), key_bytes, 0, NO_PREVIOUS, now_ms, b"junk", b"", swarm_id)
    messages = {
        "malformed": b"\xc1" + secrets.token_bytes(99),
        # It begins as an envelope does: an array of eight, version 1.
        "malformed or not canonical": b"\x98\x01" + secrets.token_bytes(185),
        "too-large": secrets.token_bytes(MAX_ENVELOPE_BYTES + 1),
        "a body of junk": replace(unsigned, signature=key.sign(unsigned.signed_bytes)).to_bytes(),
        "epoch": seal(key, 1, secrets.token_bytes(32), now_ms, Share(0, 10**9, 0, 1, ()), swarm_id).to_bytes(),
    }

    def refused(status: Status) -> int:
        return sum(status["refused"].values())

    arrived = trio.Event()

    def take(message: Message[bytes]) -> int:
        arrived.set()
        return 0

    async with open_libp2p(
        secrets.token_bytes(32),
        Subscription(topic(swarm.manifest), lambda data: data, take),
        clock=WallClock(),
        config=NetworkSection(listen=(LOOPBACK,), mdns=False),
        bootstrap=before["addresses"],
    ) as stranger:
        with trio.fail_after(WITHIN_S):
            # Something of the swarm's own arrives only when the stranger is in the mesh.
            await arrived.wait()
        for message in messages.values():
            await stranger.publish(message)
        after = await trio.to_thread.run_sync(
            founder.until, "it has refused them", lambda status: refused(status) >= refused(before) + len(messages)
        )
        assert {"malformed", "too-large", "epoch"} <= set(after["refused"])
        # More than anybody's software does by mistake: the stranger is parted from.
        for _ in range(50):
            with trio.move_on_after(1.0):
                await stranger.publish(secrets.token_bytes(187))
        await trio.to_thread.run_sync(founder.until, "it parted", lambda status: status["network"]["rejected"] >= 20)
    for each in swarm.all:
        await trio.to_thread.run_sync(each.rounds_more)
    assert (await trio.to_thread.run_sync(founder.running))["uptime_s"] > after["uptime_s"]


def test_a_killed_policy_begins_again_from_its_checkpoint(swarm: Swarm) -> None:
    swarm.running()
    node = swarm.invited
    node.until("it has a checkpoint", lambda _: node.events("Checkpointed"))
    status = node.frozen_while("training")
    os.kill(status["policy"]["pid"], signal.SIGKILL)
    again = node.until("it has begun again", lambda _: node.events("PartRestarted"))
    assert again["peer_id"] == status["peer_id"]
    assert "ended with code -9" in node.events("PartRestarted")[-1]["error"]
    node.rounds_more()
    before = node.running()["groups_trained_foreign"]
    node.until("it trains on others' groups again", lambda status: status["groups_trained_foreign"] > before)


def test_killed_verifiers_and_fork_server_are_replaced(swarm: Swarm) -> None:
    swarm.running()
    node = swarm.invited
    verifiers = set(node.children()) - {node.running()["policy"]["pid"]}
    assert verifiers
    for pid in (*verifiers, *node.fork_servers()):
        os.kill(pid, signal.SIGKILL)
    node.rounds_more()
    assert not verifiers & set(node.children())


def test_a_killed_daemon_resumes_and_nobody_waits_for_it(swarm: Swarm) -> None:
    swarm.running()
    node, others = swarm.early, (swarm.founder, swarm.invited)
    node.until("it has a checkpoint", lambda _: node.events("Checkpointed"))
    node.rounds_more(1)
    who = node.json("id")["peer_id"]
    node.kill()
    log_then = node.own_log(swarm.manifest.id)
    saved = node.newest_checkpoint()
    for other in others:
        other.until("it has noticed", lambda status: status["peers"] == 1)
        other.rounds_more()
    assert node.left_behind() == [], "children end with their daemon"

    node.start()
    node.until("it is up", lambda status: True)
    begun = node.events("NodeStarted")[-1]
    assert begun["peer_id"] == who
    assert begun["round"] == checkpoint.node_state(saved)["round"]
    trained = checkpoint.node_state(saved)["totals"].get("groups_trained_foreign", 0)
    node.until("it trains on others' groups again", lambda status: status["groups_trained_foreign"] > trained)
    for other in others:
        other.until("they are together again", lambda status: status["peers"] == 2)
    node.until("its log goes on", lambda status: status["pool"]["own_envelopes"] > len(log_then))

    log = node.own_log(swarm.manifest.id)
    assert [envelope.id for envelope, _ in log[: len(log_then)]] == [envelope.id for envelope, _ in log_then]
    first = log[len(log_then)][1]
    steps = {group.policy.step for group in first.groups}
    begun_at, rounds = checkpoint.meta(saved)["step"], first.round - begun["round"]
    assert all(begun_at <= step <= begun_at + rounds * UPDATES for step in steps), "no policy but the checkpoint's has gone on"
    for other in others:
        refused = other.running()["refused"]
        assert not {"equivocation", "index-gap"} & set(refused), refused


# How it ends. These come last: each ends a daemon that the tests above would start again.


def test_ctrl_c_finishes_the_round_and_saves(swarm: Swarm) -> None:
    ends_in_order(swarm.founder, lambda node: node.signal_all(signal.SIGINT))


def test_sigterm_finishes_the_round_and_saves(swarm: Swarm, tmp_path: Path) -> None:
    node = swarm.invited
    ends_in_order(node, lambda node: node.signal_all(signal.SIGTERM))
    node.ok("export", "--to", str(tmp_path / "model"))
    assert plain_digest(tmp_path / "model") == checkpoint.meta(node.newest_checkpoint())["digest"]
    assert node.json("rollouts", "ls", "--limit", "1")
    for verb in ("status", "peers", "stop"):
        refused = node.command(verb)
        assert refused.returncode == 7
        assert "no daemon is running" in the_sentence(refused.stderr)


def test_a_second_signal_ends_at_once(swarm: Swarm) -> None:
    """And so does one after `swarmd stop` has asked; here the policy never comes back with its
    round."""
    node = swarm.early
    node.running()
    node.until("it has a checkpoint", lambda _: node.events("Checkpointed"))
    node.frozen_while("training")
    saved = node.newest_checkpoint()
    waiting = node.command("stop", "--timeout", "1")
    assert waiting.returncode == 1
    assert "--force" in the_sentence(waiting.stderr)
    assert node.running()["state"] == "training"
    node.signal_all(signal.SIGINT)
    assert node.ended() == 130
    assert node.left_behind() == []
    assert node.newest_checkpoint() == saved
    assert "Traceback" not in node.tail()


def test_stop_ends_in_order(swarm: Swarm) -> None:
    ends_in_order(swarm.early, lambda node: node.ok("stop"))


def test_ctrl_c_while_it_starts(swarm: Swarm) -> None:
    """The fork server is importing what takes seconds; Ctrl-C in a shell reaches it too."""
    node = swarm.early
    node.stopped()
    node.start()
    deadline = time.monotonic() + WITHIN_S
    while not node.fork_servers() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    node.signal_all(signal.SIGINT)
    assert node.ended() == 0, node.tail()
    assert node.left_behind() == []
    assert "Traceback" not in node.tail()


def ends_in_order(node: Daemon, end: Callable[[Daemon], object]) -> None:
    node.running()
    node.rounds_more(1)
    end(node)
    assert node.ended() == 0, node.tail()
    assert node.left_behind() == []
    assert not node.home.control.exists()
    stopped = node.events("NodeStopped")[-1]["round"]
    assert node.events("RoundFinished")[-1]["round"] + 1 == stopped
    assert checkpoint.node_state(node.newest_checkpoint())["round"] == stopped
    assert "Traceback" not in node.tail()
