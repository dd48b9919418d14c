"""The audit of a home: clean where all is well, else each changed byte and each lie by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import msgpack
import pytest
import trio
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gate_shapes import admit_bytes
from node_shapes import EMBEDDED, START_MS, Medium, on_virtual_time
from swarm_shapes import Peer, answers

from protocols.manifest import Range, epoch_of
from protocols.messages import RolloutGroup
from protocols.recipe import Recipe
from swarm.audit.findings import Report
from swarm.audit.home_audit import run_audit
from swarm.cli.main import main
from swarm.config.load import load
from swarm.config.schema import PoolSection
from swarm.errors import AuditError, HomeError
from swarm.home import Home
from swarm.identity import Identity
from swarm.node.node import Node
from swarm.policy import checkpoint
from swarm.pool.store.store import Store

EPOCH = epoch_of(EMBEDDED, START_MS)
KINDS = {
    "newest checkpoint loaded",
    "identity",
    "checkpoints",
    "pages of the pool",
    "rows",
    "swarm",
    "own log",
    "foreign envelopes",
    "own groups",
    "foreign groups",
    "refusals",
}


def refused_group(peer: Peer, *texts: str, **changes: object) -> RolloutGroup:
    """A group whose claimed rewards are all 1."""
    rule = EMBEDDED.environments[0]
    parameters = tuple((name, each.min if isinstance(each, Range) else each) for name, each in sorted(rule.parameters.items()))
    recipe = Recipe(rule.name, rule.version, parameters, EPOCH, peer.key, peer.next_index)
    return RolloutGroup(
        replace(recipe, **changes), EMBEDDED.renderings[0], peer.group(0).policy, answers(*texts), (1.0,) * len(texts)
    )


async def lie(node: Node) -> None:
    """What a dishonest peer sends, each in another way."""
    peer = Peer(number=77, rules=EMBEDDED, now_ms=START_MS)
    four = ("no",) * EMBEDDED.min_group_size

    def share(group: RolloutGroup) -> bytes:
        return peer.publish(group, epoch=EPOCH)

    await admit_bytes(node.exchange.admission, share(refused_group(peer, *four)), swarm=EMBEDDED.id)
    await admit_bytes(node.exchange.admission, share(refused_group(peer, *four, environment="toy/none")), swarm=EMBEDDED.id)
    await admit_bytes(
        node.exchange.admission,
        share(refused_group(peer, "x" * (EMBEDDED.max_completion_chars + 1), *four[1:])),
        swarm=EMBEDDED.id,
    )
    await admit_bytes(
        node.exchange.admission,
        peer.seal(peer.share(refused_group(peer, *four), epoch=EPOCH), previous=b"?" * 32).to_bytes(),
        swarm=EMBEDDED.id,
    )
    late = peer.seal(peer.share(refused_group(peer, *four), epoch=EPOCH), time_ms=START_MS * 2)
    await admit_bytes(node.exchange.admission, late.to_bytes(), swarm=EMBEDDED.id)
    await admit_bytes(node.exchange.admission, b"nothing", swarm=EMBEDDED.id)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a node that has lived with another one, and was lied to."""
    path = tmp_path_factory.mktemp("audit")

    async def live(medium: Medium, number: int) -> None:
        async with medium.node(number, node_rounds=6, node_min_round_s=5, checkpoint_every_rounds=2) as node:
            if number == 0:
                await lie(node)
            await node.learn()
            await trio.sleep(30)

    async def main(medium: Medium) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, medium, 0)
            nursery.start_soon(live, medium, 1)

    on_virtual_time(path, main)
    home = Home(path / "0")
    home.identity_key.write_bytes(Identity(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)).to_pem())
    home.identity_key.chmod(0o600)
    return home.path


@pytest.fixture
def home(lived: Path, tmp_path: Path) -> Home:
    return Home(shutil.copytree(lived, tmp_path / "home"))


def audited(home: Home, *, quick: bool = True) -> Report:
    return run_audit(home, load(home.path), quick=quick)


@contextmanager
def rewritten(home: Home) -> Iterator[Store]:
    """The store, to be changed by somebody who knows how: rows and pages get their seals."""
    with closing(Store(home.pool, PoolSection(max_groups=9999, max_bytes=2**30, groups_per_peer=9999))) as store:
        yield store


def test_all_is_confirmed(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    report = audited(home, quick=False)
    assert report.contradictions == []
    assert report.clean
    assert set(report.tallies) >= KINDS
    assert all(report.tallies[kind].confirmed > 0 for kind in KINDS), report.rows()
    refusals = report.tallies["refusals"]
    assert (refusals.confirmed, refusals.not_checkable.total()) == (6, 0), report.to_json()
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


def test_a_running_daemons_home_is_left_alone(home: Home) -> None:
    with home.lock(), pytest.raises(HomeError, match="stop it first"):
        audited(home)


def test_any_flipped_byte_of_a_home_is_named(home: Home) -> None:
    random = Random(3)
    newest = checkpoint.every(home.checkpoints)[0]
    files = [home.pool, home.pool.with_name("pool.sqlite-sums"), home.identity_key]
    files += [path for path in sorted(newest.rglob("*")) if path.is_file()]
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *(random.randrange(len(whole)) for _ in range(3))}:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << random.randrange(8)
            path.write_bytes(damaged)
            said = audited(home).contradictions
            assert any(path.name in what for what in said), f"byte {place} of {path.name}: {said}"
        path.write_bytes(whole)
    assert audited(home).clean


def test_every_byte_of_the_key_counts(home: Home) -> None:
    whole = home.identity_key.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        home.identity_key.write_bytes(damaged)
        said = audited(home).contradictions
        assert any("identity.key" in what for what in said), place


def change_reward(store: Store) -> None:
    (key, record) = store.rows("SELECT key, record FROM groups WHERE own = 0 LIMIT 1")[0]
    parts = msgpack.unpackb(record)
    parts[5] = [0.125 for _ in parts[5]]
    with store.transaction() as db:
        db.execute("UPDATE groups SET record = ? WHERE key = ?", (msgpack.packb(parts), key))


def change_answer(store: Store) -> None:
    (key, record) = store.rows("SELECT key, record FROM groups WHERE own = 0 LIMIT 1")[0]
    parts = msgpack.unpackb(record)
    parts[4][0][0] += "!"
    with store.transaction() as db:
        db.execute("UPDATE groups SET record = ? WHERE key = ?", (msgpack.packb(parts), key))


def written(statement: str) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        with store.transaction() as db:
            assert db.execute(statement).rowcount > 0

    return change


CHANGES = {
    "and the verifier gives": change_reward,
    "is not what its envelope": change_answer,
    "what lies between is missing": written("DELETE FROM envelopes WHERE own = 1 AND sequence = 1"),
    "what lies before is missing": written("DELETE FROM envelopes WHERE own = 1 AND sequence = 0"),
    "which the own log does not hold": written("DELETE FROM envelopes WHERE own = 1 AND sequence = 1"),
    "under another id, signer or number": written("UPDATE envelopes SET sequence = 900 WHERE own = 0 AND sequence = 1"),
    "(wrong) is": written("UPDATE refusals SET reason = 'parameter' WHERE reason = 'unknown-environment'"),
    "opens without a fault": written("UPDATE refusals SET reason = 'signature' WHERE reason = 'reward'"),
    "claims what the verifier gives": written(
        "UPDATE refusals SET envelope = (SELECT id FROM envelopes WHERE own = 0 AND signer <> refusals.signer LIMIT 1),"
        "item = (SELECT item FROM groups WHERE own = 0 ORDER BY key LIMIT 1) WHERE reason = 'reward'"
    ),
    "proves nothing": written("INSERT INTO proofs VALUES (zeroblob(32), 1, x'01', x'02', x'')"),
    "but this swarm's beacon is local": written("INSERT INTO beacons VALUES (5, 6, x'07')"),
    "the pool belongs to the swarm": written("UPDATE about SET swarm = zeroblob(32)"),
}  # fmt: skip


@pytest.mark.parametrize("said", CHANGES)
def test_a_lie_in_a_sealed_row_is_contradicted(home: Home, said: str) -> None:
    with rewritten(home) as store:
        CHANGES[said](store)
    report = audited(home, quick="verifier" not in said)
    text = said.replace("(wrong) ", "")
    assert any(text in what for what in report.contradictions), report.contradictions
    assert not any(what.startswith("damage") for what in report.contradictions), "rows and pages are as they were written"


def test_another_key_than_that_of_the_log(home: Home) -> None:
    home.identity_key.write_bytes(Identity(Ed25519PrivateKey.generate()).to_pem())
    said = audited(home).contradictions
    assert any("is signed by another key than that in identity.key" in what for what in said)


def test_a_strange_file_in_a_checkpoint(home: Home) -> None:
    (checkpoint.every(home.checkpoints)[0] / "model" / "more").write_bytes(os.urandom(9))
    (what,) = audited(home).contradictions
    assert "more does not belong to the checkpoint" in what


def test_the_command(home: Home) -> None:
    def run(*options: str) -> Result:
        return CliRunner().invoke(main, ["audit", str(home.path), "--quick", *options])

    clean = run("--json")
    assert clean.exit_code == 0, clean.output
    assert json.loads(clean.stdout)["clean"]
    data = bytearray(home.pool.read_bytes())
    data[5000] ^= 1
    home.pool.write_bytes(data)
    table = run()
    assert table.exit_code == AuditError.exit_code
    assert "contradicted: damage: pool.sqlite, page 2" in table.stdout
    assert "Error: " in table.output
    assert not json.loads(run("--json").stdout)["clean"]
    home.identity_key.unlink()
    assert run().exit_code == HomeError.exit_code, "what is no home is not audited"


def test_a_home_that_has_not_lived_yet(tmp_path: Path) -> None:
    home = Home(tmp_path / "new").create()
    home.identity_key.write_bytes(Identity(Ed25519PrivateKey.generate()).to_pem())
    home.identity_key.chmod(0o600)
    report = audited(home)
    assert report.clean
    assert len(report.notes) == 2
