"""Faults that only the owner can mend end the daemon with one clear sentence and the documented
exit code. Saved data stays undamaged."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from disk import Disk
from processes import LOOPBACK, WITHIN_S, Daemon, free_port, the_sentence

from protocols.manifest import Manifest
from swarm.config.manifest_lookup import find_manifest
from swarm.errors import ConfigError, HomeError, IdentityError, NetworkError, NotRunningError
from swarm.policy import checkpoint

MANIFESTS = Path(__file__).parents[2] / "swarm" / "manifests"

# Free for the pool and too little for a checkpoint, which is about 4 MB.
TOO_LITTLE = 1_500_000
EMBEDDED = find_manifest("embedded", None)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("needs unshare and nsenter")
    disk = Disk(tmp_path / "disk")
    try:
        if not disk.mounted:
            pytest.skip("mounting a small file system is not permitted here")
        yield disk
    finally:
        disk.close()


def refused_start(node: Daemon, *settings: str) -> tuple[int, str]:
    sets = [word for setting in settings for word in ("--set", setting)]
    done = node.command("start", "--set", "network.mdns=false", *sets)
    return done.returncode, the_sentence(done.stderr)


def nothing_is_damaged(node: Daemon) -> Path:
    """The pool opens with an unbroken own log, and every checkpoint is whole; the newest."""
    assert EMBEDDED is not None
    assert node.own_log(EMBEDDED.id)
    for path in node.home.checkpoints.glob("step-*"):
        assert checkpoint.damage(path) is None
    return node.newest_checkpoint()


def test_a_disk_that_is_full_or_read_only(disk: Disk, daemon: Callable[..., Daemon]) -> None:
    node = daemon(disk.place / "home", prefix=disk.prefix, inside=disk.inside / "home", log=disk.place.with_suffix(".log"))
    node.ok("init", "--listen", LOOPBACK)

    # It becomes too full for a checkpoint while the node runs.
    node.start()
    node.until("it has saved twice", lambda _: len(node.events("Checkpointed")) >= 2)
    disk.fill(leaving=TOO_LITTLE)
    code, sentence = node.ended(), node.sentence()
    assert code == HomeError.exit_code
    assert "cannot write the checkpoint" in sentence
    assert "No space left on device" in sentence
    assert node.left_behind() == []
    saved = nothing_is_damaged(node)

    # It is full, or read-only, at the start.
    disk.fill()
    code, sentence = refused_start(node)
    assert code == HomeError.exit_code
    assert "is full" in sentence
    disk.remount("ro")
    code, sentence = refused_start(node)
    assert code == HomeError.exit_code
    assert "read-only" in sentence
    made = node.command("init")
    assert made.returncode == HomeError.exit_code
    assert the_sentence(made.stderr)
    disk.remount("rw")
    disk.empty()
    assert nothing_is_damaged(node) == saved

    # There is room again; then it becomes too full for the pool.
    node.start("checkpoint.every_rounds=100000")
    node.until("it is up", lambda status: True)
    assert node.events("NodeStarted")[-1]["round"] == checkpoint.node_state(saved)["round"]
    log = len(node.own_log(EMBEDDED.id)) if EMBEDDED else 0
    node.until("it has shared", lambda status: status["pool"]["own_envelopes"] > log)
    disk.fill()
    code, sentence = node.ended(), node.sentence()
    assert code == HomeError.exit_code
    assert "the pool" in sentence
    assert "full" in sentence
    assert node.left_behind() == []
    disk.empty()
    assert nothing_is_damaged(node) == saved


def test_a_checkpoint_larger_than_files_may_be(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    """A limit of the system's (`ulimit`, a quota) instead of a disk's; needs no privilege."""
    node = daemon(tmp_path / "home", prefix=["sh", "-c", 'ulimit -f 2048 && exec "$@"', "sh"])
    node.ok("init", "--listen", LOOPBACK)
    node.start("checkpoint.every_rounds=1")
    assert node.ended(WITHIN_S) == HomeError.exit_code
    assert "cannot write the checkpoint" in node.sentence()
    assert "File too large" in node.sentence()
    assert list(node.home.checkpoints.iterdir()) == [], "no half of one is left"


def test_a_port_in_use(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    node = daemon(tmp_path / "home")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        node.ok("init", "--listen", f"/ip4/127.0.0.1/tcp/{port}")
        code, sentence = refused_start(node)
    assert code == NetworkError.exit_code
    assert f"/ip4/127.0.0.1/tcp/{port}" in sentence
    assert "network.listen" in sentence


def garbage(key: Path) -> None:
    key.write_bytes(os.urandom(119))


def of_another_kind(key: Path) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key.write_bytes(pem)


def readable_by_others(key: Path) -> None:
    key.chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(garbage, "damaged"), (of_another_kind, "another kind"), (readable_by_others, "chmod 600"), (Path.unlink, "missing")],
)
def test_a_wrong_key_file(tmp_path: Path, daemon: Callable[..., Daemon], spoil: Callable[[Path], None], says: str) -> None:
    node = daemon(tmp_path / "home")
    node.ok("init", "--listen", LOOPBACK)
    spoil(node.home.identity_key)
    code, sentence = refused_start(node)
    assert code == IdentityError.exit_code
    assert says in sentence
    assert str(node.home.identity_key) in sentence
    assert not node.home.events.exists(), "nothing was begun"


def test_a_node_that_waits_for_its_swarms_rules_can_be_stopped(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    founder, node = daemon(tmp_path / "founder"), daemon(tmp_path / "home")
    founder.ok("init", "--listen", LOOPBACK)
    node.ok("init", "--listen", LOOPBACK, "--manifest", "00" * 32)
    node.ok("join", f"/ip4/127.0.0.1/tcp/{free_port()}/p2p/{founder.json('id')['peer_id']}")
    node.start()
    deadline = time.monotonic() + WITHIN_S
    while "no manifest from" not in node.tail() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert node.command("status").returncode == NotRunningError.exit_code
    node.ok("stop")
    assert node.ended() == 0, node.tail()


def test_a_swarm_whose_rules_nobody_can_give(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    node = daemon(tmp_path / "home")
    node.ok("init", "--listen", LOOPBACK, "--manifest", "00" * 32)
    code, sentence = refused_start(node)
    assert code == ConfigError.exit_code
    assert "swarmd join" in sentence


def test_who_is_invited_learns_the_rules_before_the_model_is_chosen(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    """A swarm of somebody's own, which no built-in manifest describes."""
    founder, node = daemon(tmp_path / "founder"), daemon(tmp_path / "home")
    rules = tmp_path / "own.toml"
    rules.write_text((MANIFESTS / "embedded.toml").read_text().replace('"embedded"', '"own"'))
    founder.ok("init", "--listen", LOOPBACK, "--manifest", str(rules))
    founder.running()
    invite = founder.json("invite")["invite"]
    said = node.command("init", "--model", "some/model", "--invite", invite)
    assert said.returncode == 0, said.stderr
    assert "the swarm own shows tasks in the short form" in said.stderr
    kept, ours = (Manifest.from_toml(path.read_text()) for path in (node.home.manifest, rules))
    assert kept == ours
    founder.ok("stop")
