"""The gate before bytes of any kind, and with the real verifier behind it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import trio
from gate_shapes import OWN, Gate, admit_bytes, gate_at
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_shapes import Peer, answers, context_of, task_of

from protocols.messages import Kind, pack_body
from protocols.reasons import Reason
from protocols.recipe import local_beacon, seed
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import PoolSection
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.opened import Opened
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.tasks.scoring import Scorer

VALID = [Peer(number).publish() for number in range(1, 4)]


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut])


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=300)
    | st.builds(
        mutated,
        st.sampled_from(VALID),
        st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4),
        st.integers(0, 3),
    )
)
def test_no_bytes_raise_and_none_but_valid_ones_are_admitted(data: bytes) -> None:
    async def main() -> None:
        async with gate_at(Path(directory)) as gate:
            screened = gate.admission.screen(data)
            admitted = await gate.admit(data)
            assert isinstance(screened, Opened) == (data in VALID)
            assert bool(admitted.groups) == (data in VALID)
            assert bool(admitted.refusals) == (data not in VALID)

    with tempfile.TemporaryDirectory() as directory:
        trio.run(main)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_signed_bodies_of_any_shape_never_raise(data: st.DataObject) -> None:
    """The signer may put anything into a body that it signs well."""
    peer = Peer()
    body = pack_body(peer.share(peer.group(0, "right", "wrong", "x"), peer.group(1)))
    changes = data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), min_size=1, max_size=5))
    envelope = peer.sign_anything(Kind.SHARE, mutated(body, changes, 0))

    async def main() -> None:
        async with gate_at(Path(directory)) as gate:
            for group in (await gate.admit(envelope)).groups:
                assert group.rewards == tuple(float(each.text.startswith("right")) for each in group.completions)
                assert group.task == task_of(group.task.recipe, group.task.seed)

    with tempfile.TemporaryDirectory() as directory:
        trio.run(main)


async def test_the_real_verifier_judges(tmp_path: Path) -> None:
    rules = built_in()["embedded"]
    clock = WallClock()
    now = clock.now_ms()
    epoch = now // (rules.epoch_seconds * 1000)
    peer = Peer(rules=rules, now_ms=now)
    rule = next(rule for rule in rules.environments if rule.name == "reasoning_gym/spell_backward")

    def beacon(epoch: int) -> bytes:
        return local_beacon(rules.id, epoch)

    async with Scorer(1, 20, clock) as scorer, Pool(tmp_path / "pool.sqlite", PoolSection(), clock) as pool:
        context = context_of(OWN.private_key, clock, rules)
        admission = Admission(context, pool, PeerScores(), scorer.score, Gate.fetch, beacon)  # type: ignore[arg-type]

        async def group(index: int):
            recipe = replace(
                peer.group(index).recipe, environment=rule.name, version=rule.version, parameters=(("level", 0),), epoch=epoch
            )
            (task,) = await scorer.build([(recipe, seed(recipe, beacon(epoch)))])
            word = task.prompts["compact"].removeprefix("rev:").removesuffix("=")
            texts = (word[::-1], "zzz", word + "x", "")
            return replace(peer.group(index), recipe=recipe, completions=answers(*texts), rewards=(1.0, 0.0, 0.0, 0.0))

        honest, boasting = await group(0), await group(1)
        true = honest.completions
        partial = (
            await scorer.score(honest.recipe, seed(honest.recipe, beacon(epoch)), "compact", [t.text for t in true])
        ).rewards
        assert partial[0] == 1.0
        honest = replace(honest, rewards=partial)
        boasting = replace(boasting, rewards=(1.0,) * 4)
        admitted = await admit_bytes(admission, peer.publish(honest, boasting, epoch=epoch), swarm=rules.id)
        assert [refusal.reason for refusal in admitted.refusals] == [Reason.REWARD]
        assert [group.rewards for group in admitted.groups] == [partial]
