from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import manifests

from protocols.drand import QUICKNET
from protocols.manifest import EnvironmentRule, Manifest, Range, epoch_of, permits, topic
from protocols.reasons import ManifestError, ProtocolError, Reason
from protocols.recipe import Recipe
from protocols.vectors.beacon_cases import TEST_CHAIN
from protocols.vectors.faults import MANIFEST, OWN_CHAIN

SMALLEST = Manifest.from_toml(MANIFEST)


@settings(max_examples=60)
@given(manifests())
def test_a_manifest_survives_its_text(manifest):
    again = Manifest.from_toml(manifest.to_toml())
    assert again == manifest
    assert again.id == manifest.id
    assert topic(manifest) == f"/swarmd/1/{manifest.swarm_id}/rollouts"


def test_every_value_is_part_of_the_id():
    rule = SMALLEST.environments[0]
    changes = {
        "name": "other",
        "environments": (replace(rule, version="0.1.26"),),
        "renderings": ("prose",),
        "epoch_seconds": 601,
        "tasks_per_epoch": 101,
        "min_group_size": 3,
        "max_group_size": 15,
        "max_completion_chars": 65,
        "max_completion_tokens": 33,
        "max_groups_per_share": 9,
        "description": "!",
        "beacon": "drand",
        "drand": QUICKNET,
    }
    assert set(changes) == {field.name for field in fields(Manifest)}
    del changes["drand"]
    ids = {replace(SMALLEST, **{name: value}, drand=QUICKNET if name == "beacon" else None).id for name, value in changes.items()}
    ids.add(replace(SMALLEST, beacon="drand", drand=TEST_CHAIN).id)
    for parameters in ({}, {"level": 1}, {"level": 1.0}, {"level": True}, {"level": Range(1, 1)}, {"size": Range(1, 5)}):
        ids.add(replace(SMALLEST, environments=(replace(rule, parameters=parameters),)).id)
    assert len(ids | {SMALLEST.id}) == 12 + 1 + 6 + 1


def test_the_order_of_lists_is_not():
    rules = [EnvironmentRule(f"a/{name}", "1") for name in "xyz"]
    one = replace(SMALLEST, environments=tuple(rules), renderings=("a", "b"))
    other = replace(SMALLEST, environments=tuple(reversed(rules)), renderings=("b", "a"))
    assert (one, one.id) == (other, other.id)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epoch_seconds", "epoch_second", "did you mean epoch_seconds?"),
        ("tasks_per_epoch = 100\n", "", "'tasks_per_epoch' is missing"),
        ("parameters", "parameter", "did you mean parameters?"),
        ("max = 5", "maximum = 5", "level: unknown key 'maximum'; did you mean max?"),
        ("epoch_seconds = 600", "epoch_seconds = 0", "epoch_seconds must be an integer of 1..31536000"),
        ("min = 2", "min = 20", "group_size.min must be an integer of 1..16"),
        ("protocol = 1", "protocol = 2", "protocol must be an integer of 1..1"),
        ("name = ", 'beacon = "drand"\nname = ', "drand_chain"),
        ("name = ", f'beacon = "drand"\ndrand_chain = "{"0" * 64}"\nname = ', "add drand_info with public_key, genesis_time"),
        ("name = ", OWN_CHAIN.replace("period = 5", "period = 6") + "name = ", "copy both from the chain's info"),
        ("epoch_seconds = 600", OWN_CHAIN + "epoch_seconds = 4", "at least the period of the drand chain, 5 s"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(old, new, message):
    with pytest.raises(ManifestError) as caught:
        Manifest.from_toml(MANIFEST.replace(old, new, 1))
    assert message in str(caught.value)
    assert caught.value.reason is Reason.MANIFEST
    assert isinstance(caught.value, ProtocolError)


@pytest.mark.parametrize(
    "text",
    ["", "a = " + "[" * 30_000, "a = " + "9" * 10_000, "x = '\ud800'", "a" * 70_000, "protocol = nan", MANIFEST + "\x00"],
    ids=["empty", "nested", "long number", "surrogate", "long", "nan", "null"],
)
def test_hostile_text_is_a_manifest_error(text):
    with pytest.raises(ManifestError):
        Manifest.from_toml(text)


@settings(max_examples=300)
@given(st.data())
def test_damaged_text_raises_nothing_but_manifest_errors(data):
    place = data.draw(st.integers(0, len(MANIFEST)))
    inserted = data.draw(
        st.one_of(
            st.text(max_size=4), st.sampled_from(["{}", "[]", "[[a]]", "true", '""', "1.5", "-1", "inf", ".", "1979-05-27"])
        )
    )
    text = MANIFEST[:place] + inserted + MANIFEST[place + data.draw(st.integers(0, 6)) :]
    try:
        manifest = Manifest.from_toml(text)
    except ManifestError:
        return
    assert Manifest.from_toml(manifest.to_toml()).id == manifest.id


def test_wrong_types_are_errors_when_built_by_hand_too():
    for change in ({"name": 5}, {"epoch_seconds": 1.0}, {"beacon": "dice"}, {"environments": ()}, {"renderings": ("A",)}):
        with pytest.raises(ManifestError):
            replace(SMALLEST, **change)
    for parameters in ({"level": Range(2, 1)}, {"level": float("nan")}, {"level": -0.0}, {"level": None}, {"Level": 1}):
        with pytest.raises(ProtocolError):
            EnvironmentRule("a/b", "1", parameters)


@given(st.integers(0, 2**53 - 1))
def test_epochs_follow_one_another(time_ms):
    epoch = epoch_of(SMALLEST, time_ms)
    assert epoch * 600_000 <= time_ms < (epoch + 1) * 600_000


def recipe(parameters, index=0):
    return Recipe("a/b", "1", parameters, 7, bytes(32), index)


@given(st.integers(-5, 5), st.one_of(st.integers(-8, 8), st.booleans(), st.floats(-8, 8), st.text(max_size=1)))
def test_parameters_are_compared_with_their_types(fixed, value):
    manifest = replace(SMALLEST, environments=(EnvironmentRule("a/b", "1", {"fixed": fixed, "range": Range(-2, 2)}),))
    allowed = type(value) is int and value == fixed
    assert permits(manifest, recipe((("fixed", value), ("range", 0)))) is (None if allowed else Reason.PARAMETER)
    allowed = type(value) is int and -2 <= value <= 2
    assert permits(manifest, recipe((("fixed", fixed), ("range", value)))) is (None if allowed else Reason.PARAMETER)
    assert permits(manifest, recipe((("range", 0), ("fixed", fixed)))) is Reason.PARAMETER
