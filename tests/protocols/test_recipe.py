from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import hashes, recipes

from protocols.reasons import ProtocolError
from protocols.recipe import Recipe, local_beacon, seed

BEACON = bytes(range(32))
RECIPE = Recipe("gym/spell", "1", (("level", 1),), 7, b"p" * 32, 0)


@given(recipes(), hashes)
def test_a_seed_has_63_bits_and_depends_on_nothing_else(recipe, beacon):
    assert 0 <= seed(recipe, beacon) < 2**63
    assert seed(recipe, beacon) == seed(
        Recipe.from_array([*recipe.to_array()[:2], pairs(recipe), *recipe.to_array()[3:]]), beacon
    )


def pairs(recipe):
    return [list(pair) for pair in recipe.parameters]


@given(recipes(), recipes(), hashes, hashes)
def test_different_tasks_have_different_seeds(one, other, beacon, another):
    assert (seed(one, beacon) == seed(other, beacon)) == (repr(one) == repr(other))
    assert (seed(one, beacon) == seed(one, another)) == (beacon == another)


@pytest.mark.parametrize("value", [1.0, True, "1", 2])
def test_a_value_of_another_type_is_another_task(value):
    assert seed(replace(RECIPE, parameters=(("level", value),)), BEACON) != seed(RECIPE, BEACON)


def test_every_field_counts():
    changes = ["gym/other", "2", (), 8, b"q" * 32, 1]
    seeds = {seed(replace(RECIPE, **{field.name: value}), BEACON) for field, value in zip(fields(Recipe), changes, strict=True)}
    assert len(seeds | {seed(RECIPE, BEACON)}) == 7


def test_neighbouring_indices_share_no_neighbouring_seeds():
    seeds = sorted(seed(replace(RECIPE, index=index), BEACON) for index in range(2000))
    assert min(later - earlier for earlier, later in pairwise(seeds)) > 10**6
    assert 0.45 < sum(value >> 62 for value in seeds) / 2000 < 0.55


@given(hashes, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_every_epoch_has_its_beacon(manifest_id, epoch, other):
    assert len(local_beacon(manifest_id, epoch)) == 32
    assert (local_beacon(manifest_id, epoch) == local_beacon(manifest_id, other)) == (epoch == other)


@pytest.mark.parametrize("call", [lambda: seed(RECIPE, b"short"), lambda: local_beacon(b"", 0), lambda: local_beacon(BEACON, -1)])
def test_wrong_arguments_are_named(call):
    with pytest.raises(ProtocolError, match="must be"):
        call()
