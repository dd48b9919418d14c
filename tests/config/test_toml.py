import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.config.toml import edit, flatten, literal, positions
from swarm.errors import ConfigError

TEXT = """\
# my node   # "with" a note
title = "x"

[swarm]  # which
# the peers I trust
bootstrap = [
  "/a", # first ]
  "/b#c",
]  # end
manifest = 'embedded' # "quoted" # twice

[ node ]
note = '''
[swarm]
bootstrap = "not this"
'''
seed = 3
"""


def test_every_key_is_found_on_its_line() -> None:
    assert positions(TEXT) == {
        "title": 2, "swarm.": 4, "swarm.bootstrap": 6, "swarm.manifest": 10, "node.": 12, "node.note": 13, "node.seed": 17,
    }  # fmt: skip


def test_an_edit_touches_nothing_else() -> None:
    edited = edit(TEXT, {"swarm.bootstrap": ("/c",), "swarm.manifest": "ff"}, "node.toml")
    assert edited == TEXT.replace('bootstrap = [\n  "/a", # first ]\n  "/b#c",\n]  # end', 'bootstrap = ["/c"]  # end').replace(
        "manifest = 'embedded' # \"quoted\" # twice", 'manifest = "ff"  # "quoted" # twice'
    )


def test_a_new_key_goes_to_the_end_of_its_section() -> None:
    assert edit("[a]\nx = 1\n\n# about b\n[b]\ny = 2\n", {"a.z": 3}, "f") == "[a]\nx = 1\nz = 3\n\n# about b\n[b]\ny = 2\n"
    assert edit("[a]\n", {"a.z": 3}, "f") == "[a]\nz = 3\n"


def test_a_new_section_goes_to_the_end() -> None:
    assert edit("# hello\n", {"a.z": True, "a.y": ["p"]}, "f") == '# hello\n\n[a]\nz = true\ny = ["p"]\n'
    assert edit("", {"a.z": True}, "f") == "[a]\nz = true\n"
    assert edit("[a]\nx = 1", {"b.z": 1}, "f") == "[a]\nx = 1\n\n[b]\nz = 1\n"


def test_line_ends_of_other_systems_are_understood() -> None:
    assert edit("[a]\r\nx = 1\r\n", {"a.x": 2}, "f") == "[a]\nx = 2\n"


@pytest.mark.parametrize("text", ['swarm = {manifest = "x"}', 'swarm.manifest = "x"', '["swarm"]\n"mani\\u0066est" = "x"'])
def test_an_unusual_form_is_edited_rightly_or_left_to_a_hand(text: str) -> None:
    try:
        edited = edit(text, {"swarm.manifest": "y"}, "node.toml")
    except ConfigError as refusal:
        assert "by hand" in str(refusal)  # noqa: PT017
    else:
        assert tomllib.loads(edited) == {"swarm": {"manifest": "y"}}


def test_an_invalid_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"node.toml is not valid TOML: .*line 2"):
        edit("[a]\nx = =\n", {"a.x": 1}, "node.toml")


scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


@given(scalars | st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_literal_is_read_back(value: object) -> None:
    read = tomllib.loads(f"x = {literal(value)}")["x"]
    assert read == value
    assert type(read) is type(value)


names = st.sampled_from(["a.x", "a.y", "b.x", "b.z"])
lines = st.sampled_from(
    [
        "",
        "# note",
        "[a]",
        "[b]",
        "[c]  # [a]",
        "x = 1",
        "y = [1,\n 2] # y",
        'z = "# no"',
        'q = """\n[a]\nx = 9\n"""',
        "a.x = 1",
        "b = {x = 1}",
    ]
)


@given(st.lists(lines, max_size=12).map("\n".join), st.dictionaries(names, scalars, min_size=1))
def test_any_edit_means_what_it_says_or_is_refused(text: str, changes: dict[str, object]) -> None:
    try:
        before = flatten(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        before = None
    try:
        edited = edit(text, changes, "f")
    except ConfigError:
        return
    assert before is not None
    after = flatten(tomllib.loads(edited))
    assert {name: value for name, value in after.items() if not name.endswith(".")} == {
        name: value for name, value in (before | changes).items() if not name.endswith(".")
    }
    kept = [line for line in edited.split("\n") if "note" in line]
    assert kept == [line for line in text.split("\n") if "note" in line]
