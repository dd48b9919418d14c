"""A peer in JavaScript, written from protocols/README.md and the vectors alone, in a swarm of two
daemons over real TCP.

It dials the first daemon and is dialled by the second, which learns of the first through it. Python
hands it what only Python knows: answers to its own tasks and their rewards.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from processes import LOOPBACK, Daemon

from protocols.codec import decode
from protocols.limits import MAX_BODY_BYTES
from protocols.recipe import Recipe
from swarm.clock import WallClock
from swarm.tasks.scoring import Scorer

HERE = Path(__file__).parents[1] / "javascript"
# A bound only: a test machine may be busy with much else.
ANSWER_WITHIN_S = 120.0
SECRET = "07" * 32
SETTINGS = ("training.external=4",)


def installed(folder: Path) -> None:
    """`npm ci` where the lock file is newer than what is installed; skips where that cannot be
    done."""
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".installed-lock.json"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"the JavaScript peer's packages cannot be installed: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    shutil.copyfile(lock, stamp)


class JavaScriptPeer:
    """The process, and the verbs that it takes line by line."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            ["node", "peer.js"], cwd=HERE / "peer", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )

    def __call__(self, verb: str, **options: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": verb, **options}).encode() + b"\n")
        stdin.flush()
        assert select.select([stdout], [], [], ANSWER_WITHIN_S)[0], f"no answer to {verb}; see {self._log.name}"
        answer = json.loads(stdout.readline() or '{"error": "it ended"}')
        assert "ok" in answer, f"{verb}: {answer['error']}"
        return answer["ok"]

    def until(self, what: str, condition: Callable[[Any], Any]) -> Any:
        """The first state that fulfils the condition."""
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not condition(state := self("state")):
            assert time.monotonic() < deadline, f"{what}: {state['connections']}, {state['known']}, {state['refused']}"
            time.sleep(0.2)
        return state

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@dataclass(frozen=True)
class Swarm:
    founder: Daemon
    second: Daemon
    peer: JavaScriptPeer
    peer_id: str


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory, daemon: Callable[..., Daemon]) -> Iterator[Swarm]:
    if not (shutil.which("node") and shutil.which("npm")) and not os.environ.get("CI"):
        pytest.skip("Node.js 20 with npm is not installed (Debian: nodejs npm); no JavaScript peer joins")
    installed(HERE)
    installed(HERE / "peer")
    folder = tmp_path_factory.mktemp("javascript")
    founder, second = daemon(folder / "founder"), daemon(folder / "second")
    founder.ok("init", "--manifest", "embedded", "--listen", LOOPBACK)
    founder.start(*SETTINGS)
    founder.until("it listens", lambda status: status["addresses"])
    peer = JavaScriptPeer(folder / "peer.log")
    try:
        opened = peer("open", secret=SECRET)
        peer("join", secret=SECRET, invite=founder.json("invite")["invite"])
        second.ok("init", "--manifest", "embedded", "--listen", LOOPBACK)
        second.ok("join", opened["addresses"][0])
        second.start(*SETTINGS)
        yield Swarm(founder, second, peer, opened["peer_id"])
    finally:
        peer.end()


def answered(peer: JavaScriptPeer, count: int, *, forger: str = "") -> list[dict[str, Any]]:
    """Let it propose tasks; for each, right and wrong texts with what Python's verifier gives
    them."""
    proposed = peer("propose", count=count, environments=["reasoning_gym/spell_backward"], forger=forger)

    async def solve() -> list[dict[str, Any]]:
        found = []
        async with Scorer(1, 30.0, WallClock()) as scorer:
            for each in proposed["recipes"]:
                recipe = Recipe.from_array(decode(bytes.fromhex(each["bytes"]), MAX_BODY_BYTES))
                (task,) = await scorer.build([(recipe, int(each["seed"]))])
                right = task.answer.lower()
                texts = [right, "wrong", right, right[::-1] + "s"]
                rewards = (await scorer.score(recipe, task.seed, "compact", texts)).rewards
                assert rewards[0] == 1.0 > rewards[1]
                found.append({"texts": texts, "rewards": rewards})
        return found

    return trio.run(solve)


def trained_from(daemon: Daemon) -> set[str]:
    return {signer for event in daemon.events("RoundFinished") for signer in event["trained_from"]}


def test_it_joins_by_dialling_and_by_being_dialled(swarm: Swarm) -> None:
    identities = {each.json("id")["peer_id"] for each in (swarm.founder, swarm.second)}
    state = swarm.peer.until("both subscribe", lambda state: set(state["subscribers"]) == identities)
    directions = {each["peer_id"]: each["direction"] for each in state["connections"]}
    assert directions == {swarm.founder.json("id")["peer_id"]: "outbound", swarm.second.json("id")["peer_id"]: "inbound"}
    for peer_id in identities:
        assert swarm.peer("ping", peer_id=peer_id)["ms"] >= 0
    # The second daemon was told of nobody but the JavaScript peer.
    swarm.second.until("it knows both others", lambda status: status["peers"] == 2)
    assert swarm.peer.until("it knows both", lambda state: set(state["known"]) >= identities)


def test_it_reads_what_the_daemons_say(swarm: Swarm) -> None:
    """Envelopes and recipes that it has verified, decoded and seeded by itself are those in the
    daemons' own stores."""
    daemons = {each.json("id")["peer_id"]: each for each in (swarm.founder, swarm.second)}
    state = swarm.peer.until("it hears both", lambda state: {each["signer"] for each in state["received"]} >= daemons.keys())
    assert state["refused"].keys() <= {"kind"}
    # A group goes out after it was kept, so all that was heard is there. Not the other way round: a
    # daemon keeps to itself what teaches nothing, and for a while all of it, since its first peer
    # here cannot tell it where its log ends.
    kept = {
        (group.envelope.hex(), group.task.recipe.index): group
        for peer_id, daemon in daemons.items()
        for group in daemon.groups(peer_id)
    }
    for envelope in state["received"]:
        for heard in envelope["groups"]:
            recipe = Recipe.from_array(decode(bytes.fromhex(heard["recipe"]), MAX_BODY_BYTES))
            group = kept[envelope["id"], recipe.index]
            assert recipe == group.task.recipe
            assert heard["seed"] == str(group.task.seed)
            assert heard["texts"] == [completion.text for completion in group.completions]
            assert heard["rewards"] == list(group.rewards)


def test_what_it_shares_is_admitted_and_trained_on(swarm: Swarm) -> None:
    said = [answer for _ in range(3) for answer in shared(swarm.peer, "share")]
    said += shared(swarm.peer, "announce")
    for each in (swarm.founder, swarm.second):
        each.until("it has trained on the peer's groups", lambda _, each=each: swarm.peer_id in trained_from(each))
        each.until("all is admitted", lambda _, each=each: len(each.groups(swarm.peer_id)) == len(said))
        for group, answer in zip(each.groups(swarm.peer_id), said, strict=True):
            assert [completion.text for completion in group.completions] == answer["texts"]
            assert group.rewards == answer["rewards"]


def shared(peer: JavaScriptPeer, verb: str) -> list[dict[str, Any]]:
    answers = answered(peer, 4)
    peer(verb, answers=answers)
    return answers


# how (tests/javascript/peer/log.js): the reason for which every node refuses it
FORGERIES = {
    "signature": "signature",
    "foreign-swarm": "signature",
    "anothers-key": "signature",
    "not-canonical": "not-canonical",
    "bytes-left-over": "malformed",
    "oversize": "too-large",
    "newer-version": "version",
    "newer-kind": "kind",
    "no-body": "schema",
    "anothers-task": "proposer",
    "unknown-environment": "unknown-environment",
    "reward": "reward",
    "future": "future",
    "chain": "chain",
    "equivocation": "equivocation",
}


@pytest.mark.parametrize(("how", "reason"), FORGERIES.items())
def test_its_forgeries_are_refused_and_counted(swarm: Swarm, how: str, reason: str) -> None:
    before = refused(swarm.founder).get(reason, 0)
    answers = answered(swarm.peer, 1, forger=how)
    if how in ("chain", "equivocation"):
        # These lie about a past, so that there must be one.
        swarm.peer("share", answers=answers)
        if how == "chain":
            answers = answered(swarm.peer, 1, forger=how)
    swarm.peer("forge", how=how, answers=answers)
    swarm.founder.until(f"it counts {reason}", lambda _: refused(swarm.founder).get(reason, 0) == before + 1)
    assert swarm.peer_id in {peer["peer_id"] for peer in swarm.founder.json("peers") if peer["connected"]}


def test_it_hears_and_checks_the_proof_of_an_equivocation(swarm: Swarm) -> None:
    answers = answered(swarm.peer, 1, forger="two histories")
    swarm.peer("share", answers=answers)
    swarm.peer("forge", how="equivocation", answers=answers)
    cheat = swarm.peer("propose", count=1, environments=["reasoning_gym/spell_backward"], forger="two histories")["signer"]
    swarm.peer.until("a daemon has published the proof", lambda state: cheat in state["convicted"])


def refused(daemon: Daemon) -> dict[str, int]:
    counted: dict[str, int] = daemon.running()["admission"]["refused"]
    return counted
