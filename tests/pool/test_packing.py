"""Groups as bytes in the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from swarm_shapes import RULES, Peer

from protocols.envelope import open_envelope
from protocols.messages import Completion, PolicyTag
from protocols.recipe import Recipe
from swarm.pool.store.packing import pack_group, unpack_group
from swarm.records import ScoredGroup, Task

numbers = st.floats(allow_nan=False, allow_infinity=False)
hashes = st.binary(min_size=32, max_size=32)
counts = st.integers(0, 2**53 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
recipes = st.builds(
    Recipe,
    environment=texts,
    version=texts,
    parameters=st.dictionaries(texts, counts | numbers | texts | st.booleans(), max_size=3).map(lambda each: tuple(each.items())),
    epoch=counts,
    proposer=hashes,
    index=counts,
)
groups = st.builds(
    ScoredGroup,
    task=st.builds(Task, recipes, st.integers(0, 2**63 - 1), st.dictionaries(texts, texts, max_size=3), texts),
    rendering=texts,
    policy=st.builds(PolicyTag, texts, hashes, counts),
    completions=st.lists(st.builds(Completion, texts, st.booleans(), counts, numbers), max_size=3).map(tuple),
    rewards=st.lists(numbers, max_size=3).map(tuple),
    signer=hashes,
    envelope=hashes,
    received_ms=counts,
    token_ids=st.none() | st.lists(st.lists(st.integers(0, 2**20), max_size=4).map(tuple), max_size=3).map(tuple),
)


@given(groups)
def test_a_packed_group_comes_back_equal(group: ScoredGroup) -> None:
    again = unpack_group(pack_group(group))
    assert again == group
    kinds = [type(value) for _, value in group.task.recipe.parameters]
    assert [type(value) for _, value in again.task.recipe.parameters] == kinds, "1, 1.0 and true are three values"


def test_a_peers_log_is_what_the_writer_of_these_tests_thinks() -> None:
    peer = Peer()
    first = open_envelope(peer.publish(), RULES.id)
    second = open_envelope(peer.publish(), RULES.id)
    assert (first.sequence, second.sequence, second.previous) == (0, 1, first.id)
