"""Hypothesis strategies for everything that travels."""

import string
from dataclasses import replace

from hypothesis import strategies as st

from protocols.drand import QUICKNET, Chain
from protocols.limits import MAX_INTEGER
from protocols.manifest import EnvironmentRule, Manifest, Range
from protocols.messages import Announce, Completion, PolicyTag, Proof, RolloutGroup, Share
from protocols.recipe import Recipe
from protocols.vectors.make import _share

counts = st.integers(0, 2**40)
hashes = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
names = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=12)
labels = st.tuples(st.sampled_from(string.ascii_lowercase), names).map("".join)
environments = st.tuples(names, names).map("/".join)
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
settings = st.one_of(integers, floats, st.booleans(), texts)
parameters = st.dictionaries(labels, settings, max_size=4).map(lambda items: tuple(sorted(items.items())))

completions = st.builds(
    Completion,
    text=texts,
    finished=st.booleans(),
    tokens=counts,
    logprob=floats.map(lambda number: -abs(number) + 0.0),
)
policies = st.builds(PolicyTag, model=names, digest=hashes, step=counts)


@st.composite
def recipes(draw, epoch=counts, proposer=hashes, index=counts):
    return Recipe(draw(environments), draw(names), draw(parameters), draw(epoch), draw(proposer), draw(index))


@st.composite
def groups(draw, epoch, proposer, index):
    answers = draw(st.lists(completions, min_size=1, max_size=3))
    rewards = st.floats(-1000, 1000).map(lambda number: number + 0.0)
    return RolloutGroup(
        recipe=draw(recipes(st.just(epoch), st.just(proposer), st.just(index))),
        rendering=draw(labels),
        policy=draw(policies),
        completions=tuple(answers),
        rewards=tuple(draw(rewards) for _ in answers),
    )


@st.composite
def shares(draw, proposer=hashes):
    epoch, first, key = draw(counts), draw(counts), draw(proposer)
    offsets = sorted(draw(st.sets(st.integers(0, 20), max_size=3)))
    shared = tuple(draw(groups(epoch, key, first + offset)) for offset in offsets)
    return Share(draw(counts), epoch, first, draw(st.integers(21, 100)), shared)


announces = st.builds(Announce, body_hash=hashes, body_bytes=st.integers(1, 8 * 2**20))
proofs = st.lists(st.binary(max_size=40), min_size=2, max_size=2, unique=True).map(lambda pair: Proof(*sorted(pair)))
bodies = st.one_of(shares(), announces, proofs)


@st.composite
def ranges(draw):
    least = draw(integers)
    return Range(least, draw(st.integers(least, MAX_INTEGER)))


rules = st.builds(
    EnvironmentRule,
    name=environments,
    version=names,
    parameters=st.dictionaries(labels, st.one_of(settings, ranges()), max_size=4),
)


chains = st.builds(
    Chain,
    public_key=st.binary(min_size=96, max_size=96),
    genesis_time=st.integers(0, MAX_INTEGER),
    period=st.integers(1, 31_536_000),
    group_hash=hashes,
    beacon_id=st.text("".join(map(chr, range(33, 127))), min_size=1, max_size=64),
)


@st.composite
def manifests(draw):
    chain = draw(st.one_of(st.none(), st.just(QUICKNET), chains))
    least = draw(st.integers(1, 64))
    return Manifest(
        name=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=16)),
        description=draw(texts),
        environments=tuple(draw(st.lists(rules, min_size=1, max_size=3, unique_by=lambda rule: rule.name))),
        renderings=tuple(draw(st.sets(labels, min_size=1, max_size=3))),
        epoch_seconds=draw(st.integers(chain.period if chain else 1, 31_536_000)),
        tasks_per_epoch=draw(st.integers(1, MAX_INTEGER)),
        min_group_size=least,
        max_group_size=draw(st.integers(least, 64)),
        max_completion_chars=draw(st.integers(1, 262_144)),
        max_completion_tokens=draw(st.integers(1, MAX_INTEGER)),
        max_groups_per_share=draw(st.integers(1, 128)),
        beacon="drand" if chain else "local",
        drand=chain,
    )


def one_group(**changes):
    """The vectors' share with its first group alone, changed."""
    share = _share()
    return replace(share, groups=(replace(share.groups[0], **changes),))
