import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.config.load import FIELDS, TYPES, load, resolve
from swarm.config.profiles import PROFILES
from swarm.config.removed import REMOVED
from swarm.config.schema import SECTIONS, Config
from swarm.errors import ConfigError

PEER = "/ip4/10.0.0.1/tcp/4711/p2p/12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


def settings(home: Path, text: str = "", environ: dict[str, str] | None = None, **overrides: str) -> Config:
    (home / "node.toml").write_text(text)
    return load(home, {name.replace("__", "."): value for name, value in overrides.items()}, environ or {})


def test_a_home_without_node_toml_has_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, environ={}) == Config()


def test_later_sources_win(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[node]\nprofile = "laptop"\nseed = 1\nrounds = 2\n[pool]\nmax_groups = 7\n')
    environ = {"SWARMD_NODE__SEED": "3", "SWARMD_HOME": "/elsewhere", "PATH": "/bin"}
    resolved = resolve(tmp_path, {"node.seed": "4"}, environ)
    expected = {
        "node.seed": (4, "command line"),
        "node.rounds": (2, f"{tmp_path / 'node.toml'}, line 4"),
        "network.max_connections": (16, "profile laptop"),
        "pool.max_groups": (7, f"{tmp_path / 'node.toml'}, line 6"),  # the profile's 5000 is weaker
        "training.local": (2, "default"),
    }
    assert {name: (resolved.settings[name].value, resolved.settings[name].origin) for name in expected} == expected
    assert resolved.config.node.seed == 4
    assert resolve(tmp_path, {}, environ).settings["node.seed"].origin == "SWARMD_NODE__SEED"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainning]\nlocal = 1", "line 2: there is no section 'trainning'; did you mean training?"),
        (
            "[training]\nlocal = 1\nlearning_rat = 1",
            "line 3: there is no setting 'training.learning_rat'; did you mean training.learning_rate?",
        ),
        ("[node]\nlearning_rate = 1.0", "did you mean training.learning_rate?"),
        ("seed = 1", "did you mean node.seed?"),
        ("[elsewhere]\nseed = 1", "did you mean node.seed?"),
        ("[trainin]", "line 1: there is no section 'trainin'"),
        ("[pool]\nxyzzy = 1", "[pool] has max_groups, max_bytes"),
        ("[node.seed]\nx = 1", "node.seed.x"),
        ("[node]\nseed = 1.5", "line 2: node.seed must be a whole number, not 1.5"),
        ("[node]\nseed = true", "must be a whole number, not true"),
        ("[node]\nmin_round_s = false", "must be a number, not false"),
        ("[network]\nmdns = 1", "must be true or false, not 1"),
        ('[network]\nlisten = "/ip4/0.0.0.0/tcp/1"', "must be a list of texts"),
        ("[network]\nlisten = [1]", "must be a list of texts"),
        ("[swarm]\nmanifest = 2020-01-01", "must be a text"),
        ("[node]\nmin_round_s = nan", "must be finite"),
        ("[node]\nmin_round_s = inf", "must be finite"),
        ("[training]\nepsilon = 0", "must be above 0"),
        ("[policy]\nniceness = 20", "must be at most 19"),
        ("[scoring]\nworkers = 0", "must be at least 1"),
        ('[training]\nloss_type = "dappo"', "did you mean dapo?"),
        ('[sampling]\nsampler = "x"', "must be one of useful, uniform"),
        ('[node]\nprofile = "lap"', "did you mean laptop?"),
        ("[training]\nlocal = 0\nexternal = 0", "nothing would ever be trained"),
        ("[training]\nepsilon = 0.5", "epsilon_high is below"),
        ("[training]\nlocal = 4\n[tasks]\nper_round = 2", "tasks.per_round is below training.local"),
        ("[network]\nlisten = []", "network.listen is empty"),
        ('[network]\nannounce = ["example.org:80"]', "line 2: 'example.org:80' in network.announce is no multiaddr"),
        ('[swarm]\nbootstrap = ["/ip4/1.2.3.4/tcp/1"]', "must end with /p2p/ and a peer id"),
        ('[swarm]\nbootstrap = ["/ip4/1.2.3.4/tcp/1/p2p/12D3Koo"]', "must end with /p2p/ and a peer id"),
        ("[node\n", "not valid TOML"),
        ("[node]\nseed = 1\nseed = 2", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place_and_a_way_out(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        settings(tmp_path, text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SWARMD_NODE__SEDE": "1"}, "SWARMD_NODE__SEDE: there is no setting 'node.sede'; did you mean node.seed?"),
        ({"SWARMD_NODE_SEED": "1"}, "did you mean SWARMD_NODE__SEED, with two underscores?"),
        ({"SWARMD_NODE__SEED": "many"}, "SWARMD_NODE__SEED: node.seed must be a whole number, not 'many'"),
        ({"SWARMD_NETWORK__MDNS": "yes"}, "must be true or false"),
        ({"SWARMD_NODE__SEED": "1\n[x]\ny=2"}, "must be a whole number"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        settings(tmp_path, environ=environ)


def test_a_mistake_is_reported_even_where_a_later_source_overrides_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        settings(tmp_path, "[node]\nseed = -1", node__seed="3")


def test_texts_need_no_quotes_and_lists_no_brackets(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        environ={"SWARMD_SWARM__BOOTSTRAP": f"{PEER}, {PEER}", "SWARMD_NETWORK__MDNS": "false"},
        policy__model="org/true",
        network__listen='["/ip4/1.2.3.4/tcp/5"]',
        network__announce="",
        training__learning_rate="1e-5",
        node__min_round_s="2",
    )
    assert config.swarm.bootstrap == (PEER, PEER)
    assert config.network.mdns is False
    assert config.policy.model == "org/true"
    assert config.network.listen == ("/ip4/1.2.3.4/tcp/5",)
    assert config.network.announce == ()
    assert config.training.learning_rate == 1e-5
    assert config.node.min_round_s == 2.0
    assert type(config.node.min_round_s) is float


def test_an_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path, environ={})
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "node.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "directory", environ={})


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_differs_from_the_defaults_in_known_and_allowed_settings(tmp_path: Path, profile: str) -> None:
    for name, value in PROFILES[profile].items():
        assert value != FIELDS[name].default
        assert type(value) is TYPES[name]
    as_texts = {name: str(value).lower() if type(value) is bool else str(value) for name, value in PROFILES[profile].items()}
    by_profile = load(tmp_path, {"node.profile": profile}, {})
    assert load(tmp_path, as_texts | {"node.profile": profile}, {}) == by_profile


def test_profiles_and_schema_name_the_same_profiles() -> None:
    assert FIELDS["node.profile"].metadata["allowed"].choices == tuple(PROFILES)


def test_every_setting_has_a_sentence_and_a_default_that_is_allowed(tmp_path: Path) -> None:
    assert [section.name for section in fields(Config)] == list(SECTIONS)
    for name, field in FIELDS.items():
        sentence = field.metadata["help"]
        assert len(sentence) > 20, name
        assert sentence.endswith("."), name
        assert len(set(re.findall(r"\n", sentence))) == 0, name
        if not isinstance(field.default, str | tuple | bool):
            load(tmp_path, {"training.epsilon_high": "0.28", name: repr(field.default)}, {})


def test_sentences_of_settings_are_short() -> None:
    for name, field in FIELDS.items():
        for sentence in re.split(r"[.]\s", field.metadata["help"]):
            assert len(sentence.split()) <= 25, f"{name}: {sentence}"


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_setting_says_what_to_do(tmp_path: Path, name: str) -> None:
    assert name not in FIELDS
    section, _, key = name.partition(".")
    sources: list[dict[str, Any]] = [
        {"text": f"[{section}]\n{key} = 1\n"},
        {"environ": {f"SWARMD_{section.upper()}__{key.upper()}": "1"}},
        {name.replace(".", "__"): "1"},
    ]
    for source in sources:
        with pytest.raises(ConfigError, match=f"{name} is no longer a setting; (remove it|set )"):
            settings(tmp_path, **source)
    for known in re.findall(r"\b(?:network|policy|training|sampling)\.\w+", REMOVED[name]):
        assert known in FIELDS


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(name=st.sampled_from(sorted(FIELDS)) | st.text(), text=st.text() | values.map(repr))
def test_any_text_is_a_value_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, name: str, text: str) -> None:
    home = tmp_path_factory.getbasetemp()
    try:
        value: Any = resolve(home, {name: text}, {}).settings[name].value
    except ConfigError:
        return
    hint = TYPES[name]
    assert type(value) is (tuple if hint == tuple[str, ...] else hint)
