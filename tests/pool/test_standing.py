"""Standing is lost at once, earned slowly, fades with time and survives a restart."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_shapes import HOUR_MS, NOW_MS

from protocols.reasons import Reason
from swarm.config.schema import PoolSection
from swarm.pool.standing.density import ENOUGH, FEWEST, density_weight
from swarm.pool.standing.peer_scores import (
    BLAMED,
    CREDIT_HALF_LIFE_S,
    FEW,
    HALF_LIFE_S,
    HELP_SCALE,
    MAX_SIGNERS,
    YOUNG_MINUTES,
    PeerScores,
)
from swarm.pool.standing.worth import LEAST_WEIGHT, worth_weight
from swarm.pool.store import standing_table
from swarm.pool.store.store import Store

MINUTE_MS = 60_000
# What a group of somebody of whom none was drawn yet counts.
STRANGER = worth_weight(0, 0)
OLD = [bytes([number]) * 32 for number in range(1, 9)]
NEW = b"n" * 32


def shared(standing: PeerScores, signers: Iterable[bytes], now_ms: int) -> None:
    for signer in signers:
        standing.proposed(signer, 2, 1, now_ms)


def grown_up(hours: float = 2, share: float = 0.09) -> tuple[PeerScores, int]:
    """A standing that eight signers have taught evenly, and the time it is then."""
    standing, now_ms = PeerScores(), NOW_MS
    for _ in range(int(hours * 60) + 1):
        shared(standing, OLD, now_ms)
        standing.trained(dict.fromkeys(OLD, share), now_ms)
        now_ms += MINUTE_MS
    return standing, now_ms


def test_failed_checks_silence_and_fade() -> None:
    standing = PeerScores()
    for _ in range(3):
        assert standing.good(NEW, NOW_MS)
        standing.refused(NEW, Reason.REWARD, NOW_MS)
    assert not standing.good(NEW, NOW_MS)
    assert standing.weight(NEW, NOW_MS) == 0
    assert standing.describe(NEW, NOW_MS).standing == "silenced"
    assert standing.describe(NEW, NOW_MS).reasons == {"reward": 3}
    later = NOW_MS + int(HALF_LIFE_S * 1000)
    assert standing.points(NEW, later) == pytest.approx(1.5)
    assert 0 < standing.weight(NEW, later) < 0.5, "good again, and not as before"


@pytest.mark.parametrize("reason", sorted(set(Reason) - BLAMED - {Reason.VERIFIER_TIMEOUT}))
def test_what_an_honest_signer_can_cause_costs_nothing(reason: Reason) -> None:
    standing = PeerScores()
    for _ in range(100):
        standing.refused(NEW, reason, NOW_MS)
    assert standing.points(NEW, NOW_MS) == 0


def test_one_verifier_timeout_is_bad_luck_and_more_are_not() -> None:
    standing = PeerScores()
    standing.refused(NEW, Reason.VERIFIER_TIMEOUT, NOW_MS)
    assert standing.points(NEW, NOW_MS) == 0
    standing.refused(NEW, Reason.VERIFIER_TIMEOUT, NOW_MS + HOUR_MS)
    assert standing.points(NEW, NOW_MS + HOUR_MS) == 0, "the first is forgotten after an hour"
    for _ in range(4):
        standing.refused(NEW, Reason.VERIFIER_TIMEOUT, NOW_MS + HOUR_MS)
    assert not standing.good(NEW, NOW_MS + HOUR_MS)


def test_nobody_is_established_while_the_node_is_young() -> None:
    standing, now_ms = grown_up(hours=YOUNG_MINUTES / 60 / 2)
    assert standing.established_signers(now_ms) == frozenset()
    assert standing.weight(NEW, now_ms) == STRANGER, "who taught nothing yet is drawn less, but held back by nothing else"
    two = PeerScores()
    for minute in range(600):
        shared(two, OLD, NOW_MS + minute * MINUTE_MS)
        two.trained(dict.fromkeys(OLD[: FEW - 1], 0.3), NOW_MS + minute * MINUTE_MS)
    assert two.established_signers(NOW_MS + 600 * MINUTE_MS) == frozenset(), f"fewer than {FEW} are nobody to compare with"


def test_those_who_taught_nearly_everything_are_established() -> None:
    standing, now_ms = grown_up()
    assert standing.established_signers(now_ms) == frozenset(OLD)
    assert standing.weight(OLD[0], now_ms) > 0.85
    assert standing.weight(NEW, now_ms) == STRANGER
    assert [standing.describe(each, now_ms).standing for each in (OLD[0], NEW)] == ["established", "unknown"]


def test_the_speed_of_rounds_earns_nothing() -> None:
    slow, fast = PeerScores(), PeerScores()
    for minute in range(61):
        slow.trained({NEW: 0.1}, NOW_MS + minute * MINUTE_MS)
    for second in range(3601):
        fast.trained({NEW: 0.1}, NOW_MS + second * 1000)
    end = NOW_MS + HOUR_MS
    assert slow.credit(NEW, end) == pytest.approx(fast.credit(NEW, end), rel=0.02)
    assert slow.credit(NEW, end) == pytest.approx(6, rel=0.1), "a tenth of an hour's minutes"


def test_a_pause_earns_nothing() -> None:
    standing = PeerScores()
    standing.trained({NEW: 1.0}, NOW_MS)
    standing.trained({NEW: 1.0}, NOW_MS + 10 * HOUR_MS)
    assert standing.credit(NEW, NOW_MS + 10 * HOUR_MS) <= 5


def test_newcomers_need_hours_whatever_they_send_and_however_many_they_are() -> None:
    """A coalition at its best: all of the newcomers' tenth goes to one identity."""
    standing, now_ms = grown_up(hours=12)
    hours = 0.0
    while not standing.established(NEW, now_ms):
        shared(standing, [*OLD, NEW], now_ms)
        standing.trained({**dict.fromkeys(OLD, 0.65 / 8), NEW: 0.1}, now_ms)
        now_ms += MINUTE_MS
        hours += 1 / 60
        assert hours < 100
    assert hours > 5


def test_who_is_gone_is_not_established_and_not_forgotten() -> None:
    standing, now_ms = grown_up(hours=12)
    assert len(standing.established_signers(now_ms + MINUTE_MS)) == 8
    now_ms += 8 * MINUTE_MS
    shared(standing, OLD[:5], now_ms)
    assert standing.established_signers(now_ms) == frozenset(OLD[:5])
    assert standing.established_signers(now_ms + 12 * MINUTE_MS) == frozenset(), "a node whose peers are all gone begins anew"
    now_ms += 13 * MINUTE_MS
    shared(standing, OLD, now_ms)
    assert standing.established_signers(now_ms + MINUTE_MS) == frozenset(OLD), "what they earned is remembered"


def test_who_speaks_rarely_is_gone_later() -> None:
    standing, now_ms = PeerScores(), NOW_MS
    for _ in range(24):
        shared(standing, OLD, now_ms)
        for minute in range(10):
            standing.trained(dict.fromkeys(OLD, 0.09), now_ms + minute * MINUTE_MS)
        now_ms += 10 * MINUTE_MS
    assert standing.established_signers(now_ms + 12 * MINUTE_MS) == frozenset(OLD)
    assert standing.established_signers(now_ms + 30 * MINUTE_MS) == frozenset()


def test_nobody_is_gone_while_this_node_was_away(tmp_path: Path) -> None:
    standing, now_ms = grown_up()
    again = PeerScores()
    again.restore((signer, record) for signer, record in standing.take_changed(100) if record is not None)
    back_ms = now_ms + 2 * HOUR_MS
    assert again.established_signers(back_ms) == frozenset(OLD)
    assert again.established_signers(back_ms + 8 * MINUTE_MS) == frozenset()


def test_a_failed_check_halves_what_was_earned() -> None:
    standing, now_ms = grown_up()
    before = standing.credit(OLD[0], now_ms)
    standing.refused(OLD[0], Reason.REWARD, now_ms)
    assert standing.credit(OLD[0], now_ms) == pytest.approx(before / 2)
    assert standing.weight(OLD[0], now_ms) < 0.6
    for _ in range(3):
        standing.refused(OLD[0], Reason.REWARD, now_ms)
    assert not standing.established(OLD[0], now_ms)


def test_help_at_most_doubles_a_window_and_harm_takes_more() -> None:
    def after(change: float) -> PeerScores:
        standing, now_ms = grown_up(hours=1)
        standing.helped(NEW, 0.0, now_ms)
        standing.trained({NEW: 0.0}, now_ms)
        for minute in range(1, 11):
            standing.trained({NEW: 0.1}, now_ms + minute * MINUTE_MS)
        standing.helped(NEW, change, now_ms + 10 * MINUTE_MS)
        standing.helped(NEW, change, now_ms + 10 * MINUTE_MS)
        return standing

    now_ms = grown_up(hours=1)[1] + 10 * MINUTE_MS
    plain = after(0.0).credit(NEW, now_ms)
    assert after(HELP_SCALE / 2).credit(NEW, now_ms) == pytest.approx(1.5 * plain)
    assert after(1.0).credit(NEW, now_ms) == pytest.approx(2 * plain), "luck is bounded, and a window counts once"
    assert after(-HELP_SCALE / 2).credit(NEW, now_ms) == pytest.approx(plain / 2)
    assert after(-1.0).credit(NEW, now_ms) == 0
    assert after(-1.0).points(NEW, now_ms) == 0, "one loss does not say who it was"


def test_a_loss_takes_the_same_part_of_what_everybody_earned_meanwhile() -> None:
    standing, now_ms = PeerScores(), NOW_MS
    for minute in range(121):
        now_ms = NOW_MS + minute * MINUTE_MS
        standing.trained({OLD[0]: 0.34, OLD[1]: 0.05}, now_ms)
        if minute % 10 == 0 and minute < 120:
            for signer in OLD[:2]:
                standing.helped(signer, 0.0, now_ms)
    before = [standing.credit(signer, now_ms) for signer in OLD[:2]]
    for signer in OLD[:2]:
        standing.helped(signer, -0.2, now_ms)
    kept = [standing.credit(signer, now_ms) / was for signer, was in zip(OLD[:2], before, strict=True)]
    assert kept[0] == pytest.approx(kept[1]), "not more of those who taught much"
    assert 0.85 < kept[0] < 0.95


def test_who_is_blamed_for_losses_is_drawn_less_and_soon_not_heard() -> None:
    standing, now_ms = grown_up()
    weight, credit = standing.weight(OLD[0], now_ms), standing.credit(OLD[0], now_ms)
    standing.harmed(OLD[0], now_ms)
    assert standing.weight(OLD[0], now_ms) < 0.3 * weight
    assert standing.credit(OLD[0], now_ms) == pytest.approx(credit / 2)
    standing.harmed(OLD[0], now_ms)
    assert not standing.good(OLD[0], now_ms)
    assert standing.describe(OLD[0], now_ms).reasons == {"harm": 2}


def test_a_signer_that_turned_is_drawn_less_within_rounds() -> None:
    standing = PeerScores()
    for minute in range(120):
        standing.trained({NEW: 0.1}, NOW_MS + minute * MINUTE_MS, {NEW: [1.0] * 5})
    assert standing.weight(NEW, NOW_MS + 120 * MINUTE_MS) > 0.85
    for minute in range(120, 125):
        standing.trained({NEW: 0.1}, NOW_MS + minute * MINUTE_MS, {NEW: [0.0] * 5})
    assert standing.weight(NEW, NOW_MS + 125 * MINUTE_MS) < 0.25


def test_a_flood_is_cut_off_at_once() -> None:
    standing = PeerScores()
    standing.flooded(NEW, NOW_MS)
    assert not standing.good(NEW, NOW_MS + int(HALF_LIFE_S * 900))
    assert standing.describe(NEW, NOW_MS).reasons == {"quota": 1}


def test_grinding_lowers_the_weight_in_proportion() -> None:
    assert density_weight(ENOUGH - 1, 0) == 1, "too few to say"
    assert density_weight(1000, 1000 * FEWEST) == 1
    assert density_weight(1000, 1000 * FEWEST / 4) == pytest.approx(0.25)
    standing = PeerScores()
    standing.proposed(NEW, 2000, 10, NOW_MS)
    assert standing.weight(NEW, NOW_MS) == pytest.approx(STRANGER * 10 / 2000 / FEWEST)
    standing.proposed(NEW, 1000, 800, NOW_MS)
    assert standing.weight(NEW, NOW_MS) == STRANGER


def test_a_crowd_makes_the_node_forget_its_own() -> None:
    standing, now_ms = grown_up()
    standing.refused(NEW, Reason.REWARD, now_ms)
    for number in range(MAX_SIGNERS + 500):
        standing.proposed(number.to_bytes(32), 1, 1, now_ms)
    assert standing.statistics(now_ms).known <= MAX_SIGNERS
    assert standing.established_signers(now_ms) == frozenset(OLD)
    assert standing.points(NEW, now_ms) == 1


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    standing, now_ms = grown_up()
    standing.refused(NEW, Reason.REWARD, now_ms)
    standing.proposed(OLD[1], 1000, 3, now_ms)
    with closing(Store(tmp_path / "pool.sqlite", PoolSection(max_groups=9, max_bytes=2**20, groups_per_peer=9))) as store:
        while changed := standing.take_changed(4):
            assert len(changed) <= 4
            standing_table.keep(store, changed)
        again = PeerScores()
        again.restore(standing_table.load(store))
        for signer in [*OLD, NEW]:
            assert again.describe(signer, now_ms) == standing.describe(signer, now_ms)
        assert again.established_signers(now_ms) == standing.established_signers(now_ms)
        standing_table.keep(store, [(NEW, None)])
        assert NEW not in dict(standing_table.load(store))


@given(st.floats(0, CREDIT_HALF_LIFE_S * 10), st.floats(-1, 1), st.floats(0, 1), st.integers(-(10**6), 10**9))
def test_weights_stay_between_0_and_1(seconds: float, change: float, share: float, jump_ms: int) -> None:
    standing, now_ms = grown_up(hours=1)
    now_ms += int(seconds * 1000)
    standing.trained({NEW: share}, now_ms)
    standing.helped(NEW, change, now_ms + jump_ms)
    standing.refused(NEW, Reason.REWARD, now_ms)
    assert 0 <= standing.weight(NEW, now_ms) <= 1
    assert standing.credit(NEW, now_ms) >= 0
    assert standing.statistics(now_ms).known == 9


def test_what_was_left_out_earns_nothing_and_is_drawn_less():
    smuggler, other = PeerScores(), PeerScores()
    for minute in range(10):
        now_ms = NOW_MS + minute * MINUTE_MS
        smuggler.trained({NEW: 0.5}, now_ms, {NEW: [0.0, 0.0]})
        other.trained({NEW: 0.5}, now_ms, {NEW: [0.5, 1.0]})
    assert smuggler.credit(NEW, now_ms) == 0
    assert smuggler.weight(NEW, now_ms) == pytest.approx(LEAST_WEIGHT)
    assert other.credit(NEW, now_ms) == pytest.approx(0.75 * 4.5, rel=0.02)
    assert 0.65 < other.weight(NEW, now_ms) < 0.75, "what it taught, and a little less for what is not known yet"
    once = PeerScores()
    once.trained({NEW: 0.5}, NOW_MS, {NEW: [0.0]})
    assert LEAST_WEIGHT < once.weight(NEW, NOW_MS) < STRANGER, "one group says little"
    once.trained({NEW: 0.5}, NOW_MS, {NEW: [1.0] * 40})
    assert once.weight(NEW, NOW_MS) > 0.85, "a policy changes its mind"


def test_a_crowd_that_displaces_itself_leaves_no_more_to_write_than_one_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.pool.standing.peer_scores.MAX_SIGNERS", 20)
    standing = PeerScores()
    for number in range(500):
        standing.proposed(number.to_bytes(32), 1, 1, NOW_MS + number)
    assert len(standing.take_changed(20)) > 400
    assert len(standing.take_changed(20)) <= 20
    assert standing.take_changed(20) == []
