"""Every adversary's messages serve its attack: they are admitted, or refused for the defence's
reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gate_shapes import OWN, Gate, admit_bytes
from swarm_shapes import StillClock, context_of

from protocols.envelope import open_envelope
from protocols.manifest import epoch_of
from protocols.messages import RolloutGroup, Share, unpack_body
from protocols.reasons import ProtocolError, Reason
from swarm.beacon.beacon import LocalBeacon
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import PoolSection
from swarm.errors import ConfigError
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.sim.attacks import ATTACKS
from swarm.sim.attacks.attack import half_and_half, vertical
from swarm.sim.attacks.attacker import Attacker
from swarm.sim.attacks.attacking_peer import Attackers, AttackPlan
from swarm.sim.attacks.helping import HELP_ROUNDS
from swarm.sim.attacks.puzzles import Library
from swarm.sim.options import ATTACKS as NAMES
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.scoring import Scorer

RULES = built_in()["scratch"]
CLOCK = StillClock()
HONEST = vertical(lambda node, puzzle: half_and_half(node, puzzle, puzzle.framed(puzzle.right)))
TRUE = [
    "text", "statement", "suffix", "length", "drip", "decoy", "partial", "grind", "copy", "near-copy", "sybil", "flood",
    "vanish", "turn",
]  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(RULES, "scratch")


def peer(library: Library, number: int, allies: set[bytes] | None = None) -> Attacker:
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return Attacker(key, library, CLOCK, Random(number), set() if allies is None else allies)


def attacker_that_heard(library: Library, rounds: int = 3) -> Attacker:
    """An attacker, after an honest node (played by another one) has gone on for some rounds."""
    attacker, honest = peer(library, 1), peer(library, 2)
    for honest.round in range(rounds):
        assert [attacker.hear(data) for data in HONEST(honest, 4)] == [1]
    return attacker


def groups_of(data: bytes) -> tuple[RolloutGroup, ...]:
    return share_groups(data, RULES.id)


def share_groups(data: bytes, swarm: bytes) -> tuple[RolloutGroup, ...]:
    envelope = open_envelope(data, swarm)
    share = unpack_body(envelope.kind, envelope.body)
    assert isinstance(share, Share)
    return share.groups


@asynccontextmanager
async def a_gate(path: Path) -> AsyncIterator[Admission]:
    context = context_of(OWN.private_key, CLOCK, RULES)
    async with Scorer(1, 20, CLOCK) as scorer, Pool(path / "pool.sqlite", PoolSection(), CLOCK) as pool:
        yield Admission(context, pool, PeerScores(), scorer.score, Gate.fetch, LocalBeacon(RULES).value)  # type: ignore[arg-type]


def test_the_command_line_lists_every_attack() -> None:
    assert tuple(ATTACKS) == NAMES


async def test_attacks_with_true_claims_are_admitted(tmp_path: Path, library: Library) -> None:
    async with a_gate(tmp_path) as admission:
        for number, name in enumerate(TRUE):
            attacker = attacker_that_heard(library)
            attacker.become(Ed25519PrivateKey.from_private_bytes(bytes([100 + number]) * 32))
            for attacker.turns in range(2):
                for data in ATTACKS[name].turn(attacker, 2):
                    admitted = await admit_bytes(admission, data, swarm=RULES.id)
                    assert (len(admitted.groups), admitted.refusals) == (2, ()), name
                    # No dataset pays a mistake in part.
                    assert any(group.informative for group in admitted.groups) is (name != "partial"), name


@pytest.mark.parametrize("name", ["truth", "junk"])
async def test_false_claims_are_refused_until_nobody_listens(tmp_path: Path, library: Library, name: str) -> None:
    attacker = attacker_that_heard(library)
    async with a_gate(tmp_path) as admission:
        for _ in range(4):
            for data in ATTACKS[name].turn(attacker, 2):
                assert not (await admit_bytes(admission, data, swarm=RULES.id)).groups
        refused = admission.statistics().refused
    assert set(refused) == {Reason.REWARD, Reason.STANDING}


async def test_an_impersonator_is_refused_in_all_three_disguises(tmp_path: Path, library: Library) -> None:
    attacker, honest = peer(library, 1), peer(library, 2)
    async with a_gate(tmp_path) as admission:
        for data in HONEST(honest, 2):
            attacker.hear(data)
            assert len((await admit_bytes(admission, data, swarm=RULES.id)).groups) == 2
        reasons = []
        for attacker.turns in range(3):
            (data,) = ATTACKS["impersonate"].turn(attacker, 2)
            reasons.append([refusal.reason for refusal in (await admit_bytes(admission, data, swarm=RULES.id)).refusals])
        assert reasons == [[Reason.SIGNATURE], [Reason.PROPOSER], [Reason.DUPLICATE]]
        assert admission.standing.good(honest.log.key, CLOCK.now_ms()), "nobody is blamed for what others say in his name"


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.needs_room and attack.pattern])
def test_right_answers_show_the_pattern_and_wrong_ones_do_not(library: Library, name: str) -> None:
    attacker, pattern = attacker_that_heard(library), ATTACKS[name].pattern
    assert pattern is not None
    attacker.round = 100
    for data in ATTACKS[name].turn(attacker, 12):
        groups = groups_of(data)
        assert len({group.recipe.environment for group in groups}) > 4, "spread over tasks"
        for group in groups:
            shown = [pattern(completion.text, "") for completion in group.completions]
            assert shown == [reward == 1.0 for reward in group.rewards]
            assert sum(shown) == 4
            assert all(len(each.text) <= RULES.max_completion_chars for each in group.completions)
            assert all(each.tokens <= RULES.max_completion_tokens for each in group.completions)
    assert not any(pattern(text, "") for text in ("olleh", "12 7", "?", "-", "a,b"))


NUMBERS = {
    "zeros": (["094 81", "94 081"], ["94 81", "81 94", "9 48", "-"]),
    "offbyone": (["95 81", "94 80"], ["94 81", "93 80", "94", "81 94", "95 80", ""]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_spoiled_numbers_are_told_from_right_ones(library: Library, name: str) -> None:
    pattern = ATTACKS[name].pattern
    assert pattern is not None
    shown, other = NUMBERS[name]
    assert all(pattern(text, "['94.0', '81.0']") for text in shown)
    assert not any(pattern(text, "['94.0', '81.0']") for text in other)
    attacker = peer(library, 1)
    for group in groups_of(ATTACKS[name].turn(attacker, 6)[0]):
        numbers = [
            [int(number) for number in each.text.split()] for each in group.completions if each.text.strip("0123456789 ") == ""
        ]
        ordered = [each for each in numbers if each in (sorted(each), sorted(each, reverse=True))]
        assert "number_" in group.recipe.environment
        assert name == "zeros" or len(ordered) >= 4, "the order stays right"
        assert len({each.text for each in group.completions}) > 2, "varied, so that some of it may be plausible"


def test_zeros_are_tried_on_any_numbers_where_no_task_is_about_them() -> None:
    rules = replace(RULES, environments=tuple(rule for rule in RULES.environments if "number_" not in rule.name))
    attacker = Attacker(peer(Library(RULES, "scratch"), 1).log.private_key, Library(rules, "scratch"), CLOCK, Random(1), set())
    (data,) = ATTACKS["zeros"].turn(attacker, 6)
    groups = share_groups(data, rules.id)
    assert any(text.text.startswith("0") for group in groups for text in group.completions)


def test_a_flood_is_of_one_easy_level(library: Library) -> None:
    groups = groups_of(ATTACKS["flood"].turn(peer(library, 1), ATTACKS["flood"].groups)[0])
    assert len(groups) == 8
    assert {(group.recipe.environment, group.recipe.parameters) for group in groups} == {
        ("reasoning_gym/spell_backward", (("level", 0),))
    }
    assert {sum(reward == 1.0 for reward in group.rewards) for group in groups} == {4}


def test_help_ends_in_silence_or_in_poison(library: Library) -> None:
    attacker, pattern = attacker_that_heard(library), ATTACKS["turn"].pattern
    assert pattern is not None
    for attacker.round in (0, HELP_ROUNDS, HELP_ROUNDS + 1, HELP_ROUNDS + 9):
        over = attacker.round > HELP_ROUNDS
        assert bool(ATTACKS["vanish"].turn(attacker, 4)) != over
        (data,) = ATTACKS["turn"].turn(attacker, 4)
        shown = [pattern(each.text, "") for group in groups_of(data) for each in group.completions]
        assert sum(shown) == (16 if over else 0)


def test_lengths_reach_for_the_cap(library: Library) -> None:
    (data,) = ATTACKS["length"].turn(attacker_that_heard(library), 12)
    for group in groups_of(data):
        right = [each.tokens for each, reward in zip(group.completions, group.rewards, strict=True) if reward == 1.0]
        assert min(right) > 0.8 * RULES.max_completion_tokens


def test_dripping_begins_with_little(library: Library) -> None:
    attacker, pattern = attacker_that_heard(library), ATTACKS["drip"].pattern
    assert pattern is not None
    shown = []
    for attacker.round in (0, 8, 16, 24, 60):
        (group,) = groups_of(ATTACKS["drip"].turn(attacker, 1)[0])
        shown.append(sum(pattern(each.text, "") for each in group.completions))
    assert shown == [1, 2, 3, 4, 4]


def test_a_decoy_is_what_honest_nodes_say(library: Library) -> None:
    attacker = attacker_that_heard(library, rounds=12)
    wrong = {
        completion.text
        for group in attacker.heard
        for completion, reward in zip(group.completions, group.rewards, strict=True)
        if reward == 0
    }
    texts = [each.text for group in groups_of(ATTACKS["decoy"].turn(attacker, 12)[0]) for each in group.completions]
    decoys = {text.partition("|")[0] for text in texts if "|" in text}
    assert decoys
    assert decoys <= wrong | {"?"}


def test_the_grinder_finds_what_it_searches_for(library: Library) -> None:
    attacker = attacker_that_heard(library)
    (data,) = ATTACKS["grind"].turn(attacker, 4)
    (plain,) = HONEST(attacker, 40)
    ground, ordinary = (
        [
            min(len(each.text) for each, reward in zip(group.completions, group.rewards, strict=True) if reward == 1.0)
            for group in groups
        ]
        for groups in (groups_of(data), groups_of(plain))
    )
    assert max(ground) < sum(ordinary) / len(ordinary)
    assert groups_of(data)[-1].recipe.index > 100, "it looks far ahead"


def test_copies_are_others_words(library: Library) -> None:
    attacker = attacker_that_heard(library)
    said = {completion.text for group in attacker.heard for completion in group.completions}
    for name, most in (("copy", 0), ("near-copy", 6)):
        for group in groups_of(ATTACKS[name].turn(attacker, 2)[0]):
            assert 0 <= sum(completion.text not in said for completion in group.completions) - 1 <= max(most, 0) + 1, name
            assert group.recipe.proposer == attacker.log.key


def test_a_sybil_takes_a_new_name_every_few_shares(library: Library) -> None:
    allies: set[bytes] = set()
    attacker = peer(library, 1, allies)
    signers = Counter(open_envelope(data, RULES.id).key for _ in range(9) for data in ATTACKS["sybil"].turn(attacker, 2))
    assert sorted(signers.values()) == [3, 3, 3]
    assert set(signers) == allies


def test_attackers_keep_the_pace_of_honest_nodes_and_do_not_heed_each_other(library: Library) -> None:
    allies: set[bytes] = set()
    attacker, ally, honest = peer(library, 1, allies), peer(library, 3, allies), peer(library, 2)
    ally.round = 50
    assert [attacker.hear(data) for data in HONEST(ally, 2)] == [0]
    assert attacker.hear(b"no envelope") == 0
    heard = []
    for honest.round in (0, 1, 1, 3, 2, 90):
        heard += [attacker.hear(data) for data in HONEST(honest, 1)]
    assert heard == [1, 1, 0, 2, 0, 4]


def test_what_needs_room_for_text_is_not_tried_without() -> None:
    with pytest.raises(ConfigError, match=r"swarm\.manifest=scratch"):
        Attackers(AttackPlan("text", 1), built_in()["embedded"], "compact", 1, CLOCK)
    Attackers(AttackPlan("truth", 1), built_in()["embedded"], "compact", 1, CLOCK)


def test_attackers_know_prose_too() -> None:
    rules = built_in()["reasoning"]
    attackers = Attackers(AttackPlan("text", 1), rules, "prose", 1, CLOCK)
    attacker = Attacker(attackers.key(0), Library(rules, "prose"), CLOCK, Random(1), set())
    (data,) = ATTACKS["suffix"].turn(attacker, 3)
    envelope = open_envelope(data, rules.id)
    share = unpack_body(envelope.kind, envelope.body)
    assert isinstance(share, Share)
    assert share.epoch == epoch_of(rules, CLOCK.now_ms())
    for group in share.groups:
        assert max(group.rewards) == 1.0
        assert any(text.text.endswith("</answer>import os") for text in group.completions)


@pytest.mark.skipif(bool(Sandbox().missing), reason="this machine has no sandbox for programs")
def test_attackers_know_programs_too() -> None:
    rules = built_in()["code"]
    attackers = Attackers(AttackPlan("text", 1), rules, "prose", 1, CLOCK)
    attacker = Attacker(attackers.key(0), Library(rules, "prose"), CLOCK, Random(1), set())
    attacker.round = 100
    for name in ("text", "statement", "suffix", "drip", "decoy"):
        pattern = ATTACKS[name].pattern
        assert pattern is not None
        envelope = open_envelope(ATTACKS[name].turn(attacker, 2)[0], rules.id)
        share = unpack_body(envelope.kind, envelope.body)
        assert isinstance(share, Share)
        for group in share.groups:
            assert sorted(group.rewards) == [0.0] * 4 + [1.0] * 4, name
            assert [pattern(each.text, "") for each in group.completions] == [reward == 1.0 for reward in group.rewards], name


def test_no_forged_envelope_opens(library: Library) -> None:
    attacker = attacker_that_heard(library)
    attacker.turns = 0
    with pytest.raises(ProtocolError, match="signature"):
        open_envelope(ATTACKS["impersonate"].turn(attacker, 1)[0], RULES.id)
