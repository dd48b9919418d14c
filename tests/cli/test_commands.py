"""The commands that need no daemon, by their public face: arguments in, output and exit code."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from protocols.invite import Invite
from swarm.cli.main import main
from swarm.config.explain import OWNERS
from swarm.config.load import FIELDS
from swarm.config.manifest_lookup import built_in
from swarm.errors import ConfigError, NotRunningError, SwarmdError
from swarm.home import Home
from swarm.identity import create
from swarm.identity import load as load_identity

PEER_ID = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"
PEER = f"/ip4/10.0.0.1/tcp/4711/p2p/{PEER_ID}"
OTHER = f"/dns4/swarm.example/tcp/4711/p2p/{PEER_ID}"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in [name for name in os.environ if name.startswith("SWARMD_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("swarm.doctor.driver.first_card", lambda: None)  # whatever this machine has
    monkeypatch.setattr("swarm.node.fetching.fetch_manifest_once", lambda swarm_id, addresses: None)  # nobody is there
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def swarmd(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def ok(*arguments: str) -> str:
    result = swarmd(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(code: int, *arguments: str) -> str:
    result = swarmd(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, "one sentence, no traceback"
    return result.stderr


def written(path: Path) -> dict[str, object]:
    return tomllib.loads((path / "node.toml").read_text())


def test_init_makes_a_home_and_says_what_comes_next(path: Path) -> None:
    output = ok("init")
    assert load_identity(path / "identity.key").peer_id in output
    assert f"swarmd --home {path} start" in output
    assert written(path) == {}
    ok("config", "check")


def test_init_writes_what_differs_only(path: Path) -> None:
    (path.parent / "rules.toml").write_text(built_in()["embedded"].to_toml())
    (path.parent / "model").mkdir()
    (path.parent / "model" / "config.json").write_text("{}")
    ok("init", "--manifest", "rules.toml", "--model", "model", "--profile", "laptop", "--listen", "/ip4/127.0.0.1/tcp/1")
    assert written(path) == {
        "swarm": {"manifest": str(path.parent / "rules.toml")},
        "policy": {"model": str(path.parent / "model")},
        "node": {"profile": "laptop"},
        "network": {"listen": ["/ip4/127.0.0.1/tcp/1"]},
    }
    ok("config", "check")


def test_init_by_invite(path: Path) -> None:
    ok("init", "--invite", Invite(bytes(32), (PEER,)).to_string())
    assert written(path) == {"swarm": {"manifest": "00" * 32, "bootstrap": [PEER]}}
    assert "fetched" in ok("config", "check")
    assert "neither" in fails(3, "init", "--home", "other", "--invite", "swarmd1:xyz")
    assert "the invite is empty" in fails(3, "init", "--home", "other", "--invite", "")
    assert swarmd("init", "--home", "other", "--invite", "x", "--manifest", "y").exit_code == 2
    assert not Path("other").exists()


def test_init_again_changes_nothing(path: Path) -> None:
    ok("init", "--profile", "laptop")
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    assert "exists and is left as it is" in fails(4, "init")
    fails(4, "init", "--profile", "gpu")
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


def test_init_completes_half_a_home(path: Path) -> None:
    path.mkdir()
    peer_id = create(path / "identity.key").peer_id
    assert peer_id in ok("init")
    (path / "identity.key").unlink()
    (path / "node.toml").write_text("[node]\nseed = 3\n")
    fails(4, "init", "--profile", "gpu")
    assert peer_id not in ok("init")
    assert written(path) == {"node": {"seed": 3}}


@pytest.mark.parametrize("arguments", [("--manifest", "nothing"), ("--manifest", "no.toml"), ("--listen", "localhost:80")])
def test_init_with_a_mistake_makes_nothing(path: Path, arguments: tuple[str, ...]) -> None:
    fails(3, "init", *arguments)
    assert not path.exists()


def test_init_where_nothing_can_be_made(path: Path) -> None:
    assert "choose another --home" in fails(4, "--home", "/dev/null/home", "init")


def test_id(path: Path) -> None:
    assert "restore" in fails(5, "id", "--home", str(create_home_without_key(path)))
    (path / "node.toml").unlink()
    assert "init" in fails(4, "id")
    ok("init")
    record = json.loads(ok("id", "--json"))
    assert record == {
        "peer_id": load_identity(path / "identity.key").peer_id,
        "public_key": load_identity(path / "identity.key").public_key.hex(),
        "home": str(path),
    }
    assert record["peer_id"] in ok("id")
    assert json.loads(ok("--home", str(path), "id", "--json")) == record
    (path / "identity.key").chmod(0o644)
    assert f"chmod 600 {path / 'identity.key'}" in fails(5, "id")


def create_home_without_key(path: Path) -> Path:
    path.mkdir()
    (path / "node.toml").write_text("")
    return path


def test_join_by_address_keeps_what_the_user_wrote(path: Path) -> None:
    ok("init")
    (path / "node.toml").write_text("# mine\n[swarm] # here\nbootstrap = [] # nobody yet\n[node]\nseed = 3\n")
    assert PEER in ok("join", PEER)
    ok("join", OTHER)
    ok("join", PEER)
    text = (path / "node.toml").read_text()
    assert text == f'# mine\n[swarm] # here\nbootstrap = ["{PEER}", "{OTHER}"]  # nobody yet\n[node]\nseed = 3\n'


def test_join_by_invite(path: Path) -> None:
    ok("init")
    ok("join", PEER)
    same = built_in()["embedded"].id
    ok("join", Invite(same, (OTHER,)).to_string())
    assert written(path) == {"swarm": {"bootstrap": [PEER, OTHER]}}, "the same swarm: its name and peers stay"
    ok("join", Invite(bytes(32), (OTHER,)).to_string())
    assert written(path) == {"swarm": {"manifest": "00" * 32, "bootstrap": [OTHER]}}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("/ip4/1.2.3.4/tcp/1", "/p2p/"),
        ("/ip4/1.2.3.4/tcp/1/p2p/xyz", "/p2p/"),
        ("hello", "neither an invite"),
        ("", "the invite is empty"),
        (" \n", "the invite is empty"),
        ("swarmd1:AAAA", "neither"),
    ],
)
def test_a_wrong_join_changes_nothing(path: Path, argument: str, message: str) -> None:
    ok("init")
    before = (path / "node.toml").read_bytes()
    assert message in fails(3, "join", argument)
    assert (path / "node.toml").read_bytes() == before


def test_join_refuses_the_node_itself_and_what_is_no_home(path: Path) -> None:
    fails(4, "join", PEER)
    ok("init")
    own = json.loads(ok("id", "--json"))["peer_id"]
    assert "itself" in fails(3, "join", f"/ip4/127.0.0.1/tcp/4711/p2p/{own}")


def test_a_home_without_a_daemon_invites_by_its_settings(path: Path) -> None:
    fails(4, "invite")
    ok("init", "--listen", "/ip4/127.0.0.1/tcp/4721", "--listen", "/ip4/127.0.0.1/tcp/0")
    own = json.loads(ok("id", "--json"))["peer_id"]
    result = swarmd("invite")
    address = f"/ip4/127.0.0.1/tcp/4721/p2p/{own}"
    assert Invite.from_string(result.stdout) == Invite(built_in()["embedded"].id, (address,))
    assert result.stderr == f"no daemon answers; node.toml gives {address}\n"
    told = json.loads(ok("invite", "--json"))
    assert told == {"invite": result.stdout.strip(), "swarm_id": built_in()["embedded"].swarm_id, "addresses": [address]}
    ok("init", "--home", "other", "--invite", told["invite"])
    assert written(Path("other"))["swarm"] == {"manifest": told["swarm_id"], "bootstrap": [address]}


def test_an_offline_invite_knows_wildcards_announced_addresses_and_swarms_not_yet_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("init", "--invite", Invite(bytes(32), (PEER,)).to_string())
    own = json.loads(ok("id", "--json"))["peer_id"]
    everywhere = Invite.from_string(swarmd("invite").stdout)
    assert everywhere.manifest_id == bytes(32)
    assert f"/ip4/127.0.0.1/tcp/4711/p2p/{own}" in everywhere.addresses, "a wildcard stands for every interface"
    assert not any("0.0.0.0" in address for address in everywhere.addresses)
    monkeypatch.setenv("SWARMD_NETWORK__ANNOUNCE", '["/dns4/swarm.example/tcp/80/p2p/' + PEER_ID + '"]')
    assert Invite.from_string(swarmd("invite").stdout).addresses == (f"/dns4/swarm.example/tcp/80/p2p/{own}",)


def test_a_port_that_changes_cannot_be_invited_to(path: Path) -> None:
    ok("init", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert "start the node first, or give it a fixed port" in fails(3, "invite")


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("announce", "/ip4/1.2.3.4/tcp/4711/"),
        ("announce", "/hello"),
        ("announce", "/ip4/1.2.3.4/tcp/0"),
        ("listen", "/ip4/0.0.0.0/udp/"),
    ],
)
def test_an_address_nobody_can_dial_is_not_invited_to(
    path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, address: str
) -> None:
    ok("init")
    monkeypatch.setenv(f"SWARMD_NETWORK__{setting.upper()}", json.dumps([address]))
    assert f"network.{setting}" in fails(3, "invite")


def test_a_daemon_that_does_not_answer_is_not_spoken_for(path: Path) -> None:
    ok("init", "--listen", "/ip4/127.0.0.1/tcp/4721")
    with Home(path).lock():
        assert swarmd("invite").exit_code == NotRunningError.exit_code


def test_join_tells_a_running_daemon_to_be_restarted(path: Path) -> None:
    ok("init")
    with Home(path).lock():
        result = swarmd("join", PEER)
    assert result.exit_code == 0
    assert "restart" in result.stderr


def test_config_explains_and_checks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("init", "--profile", "laptop")
    rows = json.loads(ok("config", "explain", "--all", "--json", "--set", "node.seed=4"))
    origins = {row["name"]: row["origin"] for row in rows}
    assert origins["node.seed"] == "command line"
    assert origins["policy.niceness"] == "profile laptop"
    assert "Seed of sampling" in ok("config", "explain", "node.seed")
    assert "max_groups" in ok("config", "explain", "--all")
    assert "did you mean node.seed" in fails(3, "config", "explain", "node.sed")
    assert "section.key=value" in fails(3, "config", "check", "--set", "nonsense")
    assert "did you mean embedded" in fails(3, "config", "check", "--set", "swarm.manifest=embeded")
    monkeypatch.setenv("SWARMD_NODE__SEDE", "1")
    assert "SWARMD_NODE__SEDE" in fails(3, "config", "check")


def test_both_commands_show_what_an_owner_decides_and_with_all_the_rest(path: Path) -> None:
    def explained(*options: str) -> list[str]:
        return [row["name"] for row in json.loads(ok("config", "explain", "--json", *options))]

    def written(*options: str) -> list[str]:
        text = ok("config", "example", *options)
        sections = re.split(r"(?m)^\[(\w+)\]$", text)
        return [
            f"{name}.{key}"
            for name, body in zip(sections[1::2], sections[2::2], strict=True)
            for key in re.findall(r"(?m)^# (\w+) = ", body)
        ]

    ok("init", "--profile", "default")
    assert explained() == written() == list(OWNERS)
    assert explained("--all") == written("--all") == list(FIELDS)
    rest = len(FIELDS) - len(OWNERS)
    assert ok("config", "explain").splitlines()[-1] == f"{rest} more settings: swarmd config explain --all"
    assert f"`swarmd config example --all` shows {rest} more" in " ".join(ok("config", "example").split("\n# "))
    assert "more settings" not in ok("config", "explain", "--all") + ok("config", "explain", "--json")
    assert "pool.max_groups = 20000" in ok("config", "explain", "pool.max_groups"), "any one by its name"


def test_the_example_is_a_valid_file(path: Path) -> None:
    path.mkdir()
    (path / "node.toml").write_text(ok("config", "example"))
    ok("config", "check")


def test_what_cannot_be_answered_without_a_daemon(path: Path) -> None:
    ok("init")
    for verb in ("status", "peers", "stop"):
        assert "no daemon is running" in fails(7, verb)
    assert "no rollouts yet" in ok("rollouts", "ls")
    next(path.rglob("pool.sqlite")).unlink()
    assert "no pool yet" in fails(4, "rollouts", "ls")
    assert "no whole checkpoint yet" in fails(4, "export", "--to", "out")
    assert not Path("out").exists()


def test_a_wrong_command_line_ends_with_2(path: Path) -> None:
    for arguments in (["nonsense"], ["init", "--nonsense"], ["join"], ["sim", "--nodes", "0"], ["rollouts", "show", "x"]):
        assert swarmd(*arguments).exit_code == 2


def test_tracebacks_are_for_debugging(path: Path) -> None:
    assert "Traceback" not in swarmd("id").stderr
    assert "Traceback" in swarmd("--log-level", "debug", "id").stderr


def test_no_message_carries_control_characters(path: Path) -> None:
    assert "\x1b" not in fails(3, "config", "check", "--set", "node.profile=\x1b[31m")


def test_errors_of_a_nursery_become_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cause = SwarmdError("the cause")
    cause.exit_code = 9

    def broken(*arguments: object) -> None:
        raise ExceptionGroup("nursery", [ExceptionGroup("inner", [cause]), SwarmdError("another")])

    monkeypatch.setattr("swarm.identity.load", broken)
    ok("init")
    assert "the cause" in fails(9, "id")

    def buggy(*arguments: object) -> None:
        raise ExceptionGroup("nursery", [cause, KeyError("bug")])

    monkeypatch.setattr("swarm.identity.load", buggy)
    assert isinstance(swarmd("id").exception, ExceptionGroup), "a bug is never hidden behind a foreseen error"


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("max = 2 } }", "max = 99 } }", "level"),
        ('["compact"]', '["compact", "sonnet"]', "sonnet"),
        ("reasoning_gym/ab", "reasoning_gym/nothing", "nothing"),
        ("0.1.25+3", "0.1.25+2", "0.1.25+2"),
    ],
    ids=["a level", "a rendering", "an environment", "a version"],
)
def test_a_swarm_whose_tasks_cannot_be_played_is_refused(path: Path, was: str, now: str, says: str) -> None:
    rules = path.parent / "own.toml"
    text = built_in()["embedded"].to_toml().replace('name = "embedded"', 'name = "own"')
    assert was in text
    rules.write_text(text.replace(was, now, 1))
    assert says in fails(ConfigError.exit_code, "init", "--manifest", str(rules))
    assert not path.exists()
    ok("init")
    with (path / "node.toml").open("a") as file:
        file.write(f'[swarm]\nmanifest = "{rules}"\n')
    assert says in fails(ConfigError.exit_code, "config", "check")
