import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from protocols.messages import Completion, PolicyTag
from protocols.peer_id import peer_id
from protocols.recipe import Recipe
from swarm.cli.main import main
from swarm.config.schema import PoolSection
from swarm.home import Home
from swarm.identity import create
from swarm.pool.store.store import Store
from swarm.records import ScoredGroup, Task

OWN, OTHER = bytes(range(32)), bytes(range(1, 33))


def group(signer: bytes, index: int, received_ms: int, text: str) -> ScoredGroup:
    recipe = Recipe("reasoning_gym/spell_backward", "1", (("level", 2),), 5, signer, index)
    return ScoredGroup(
        task=Task(recipe, 7, {"prose": "Spell it.\nBackward."}, "olleh"),
        rendering="prose",
        policy=PolicyTag("embedded", bytes(32), 3),
        completions=(Completion(text, True, 4, -1.5), Completion("hel", False, 8, -2.5)),
        rewards=(1.0, 0.0),
        signer=signer,
        envelope=bytes(32),
        received_ms=received_ms,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path).create()
    create(home.identity_key)
    with closing(Store(home.pool, PoolSection(max_groups=9, max_bytes=2**20, groups_per_peer=9))) as store:
        store.add_groups([group(OWN, 0, 1_000, "olleh")], own=True)
        store.add_groups([group(OTHER, 0, 2_000, "olleh\n\x1b[31mred\u202e")], own=False)
        store.mark_trained([1], 4)
    return home


def swarmd(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--home", str(home.path)])


def test_ls(home: Home) -> None:
    records = json.loads(swarmd(home, "rollouts", "ls", "--json").stdout)
    assert [(each["key"], each["peer_id"], each["trained_in_round"]) for each in records] == [
        (2, peer_id(OTHER), None),
        (1, peer_id(OWN), 4),
    ]
    assert records[0] == {
        "key": 2,
        "received": "1970-01-01T00:00:02Z",
        "environment": "reasoning_gym/spell_backward",
        "rendering": "prose",
        "completions": 2,
        "reward_mean": 0.5,
        "peer_id": peer_id(OTHER),
        "trained_in_round": None,
    }
    assert peer_id(OWN) in swarmd(home, "rollouts", "ls").stdout
    assert len(json.loads(swarmd(home, "rollouts", "ls", "--limit", "1", "--json").stdout)) == 1
    (own,) = json.loads(swarmd(home, "rollouts", "ls", "--peer", peer_id(OWN), "--json").stdout)
    assert own["key"] == 1
    refused = swarmd(home, "rollouts", "ls", "--peer", "me")
    assert (refused.exit_code, refused.stderr) == (3, "Error: --peer: not an Ed25519 peer id: 'me'\n")


def test_show(home: Home) -> None:
    record = json.loads(swarmd(home, "rollouts", "show", "2", "--json").stdout)
    assert record["prompt"] == "Spell it.\nBackward."
    assert record["answer"] == "olleh"
    assert record["parameters"] == {"level": 2}
    assert record["policy"] == {"model": "embedded", "step": 3, "digest": "00" * 32}
    assert record["completions"][1] == {"reward": 0.0, "tokens": 8, "finished": False, "logprob": -2.5, "text": "hel"}
    shown = swarmd(home, "rollouts", "show", "2").stdout
    assert "    Spell it.\n    Backward.\n" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "    \\x1b[31mred" in shown
    assert "cut at the cap" in shown
    assert "no group 3" in swarmd(home, "rollouts", "show", "3").stderr


def test_reading_while_a_daemon_holds_the_home(home: Home) -> None:
    with home.lock():
        assert swarmd(home, "rollouts", "ls").exit_code == 0


def test_an_empty_and_a_damaged_pool(home: Home) -> None:
    home.pool.unlink()
    with closing(Store(home.pool, PoolSection(max_groups=9, max_bytes=2**20, groups_per_peer=9))):
        pass
    assert swarmd(home, "rollouts", "ls").stdout == "no rollouts yet\n"
    assert json.loads(swarmd(home, "rollouts", "ls", "--json").stdout) == []
    home.pool.write_bytes(b"not a database" * 100)
    assert swarmd(home, "rollouts", "ls").exit_code == 4
