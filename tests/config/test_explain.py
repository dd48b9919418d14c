import re
import tomllib
from pathlib import Path

import pytest

from swarm.config.explain import OWNERS, example, explain
from swarm.config.load import FIELDS, check_text, load, resolve
from swarm.config.toml import flatten
from swarm.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "node.toml.example"


def test_the_example_file_is_current() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == example(), "run: make docs"


def test_the_example_states_every_default(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(example(every=True))
    assert load(tmp_path, environ={}) == load(tmp_path / "nowhere", environ={})
    uncommented = re.sub(r"(?m)^# (\w+ = )", r"\1", example(every=True))
    check_text(uncommented, "example")
    written = flatten(tomllib.loads(uncommented))
    assert written == {
        name: list(field.default) if isinstance(field.default, tuple) else field.default for name, field in FIELDS.items()
    }


def test_all_one_section_or_one_setting(tmp_path: Path) -> None:
    resolved = resolve(tmp_path, {"node.seed": "4"}, {})
    assert [record["name"] for record in explain(resolved, every=True)] == list(FIELDS)
    assert [record["name"] for record in explain(resolved)] == list(OWNERS)
    assert [record["name"] for record in explain(resolved, "pool.max_groups")] == ["pool.max_groups"]
    assert {record["name"].partition(".")[0] for record in explain(resolved, "pool")} == {"pool"}
    (record,) = explain(resolved, "node.seed")
    assert (record["value"], record["origin"], record["default"], record["allowed"]) == (4, "command line", 0, "at least 0")


@pytest.mark.parametrize("name", ["node.sed", "nod", "seed"])
def test_an_unknown_name_gets_a_suggestion(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="did you mean node"):
        explain(resolve(tmp_path, {}, {}), name)


def test_an_owner_decides_few_settings() -> None:
    assert len(OWNERS) <= 16
    assert {"node.profile", "swarm.manifest", "network.max_bytes_per_s", "policy.memory", "tasks.share"} <= set(OWNERS)


@pytest.mark.parametrize("every", [False, True])
def test_the_example_is_wrapped(every: bool) -> None:
    assert max(len(line) for line in example(every=every).splitlines() if " = " not in line) <= 100
