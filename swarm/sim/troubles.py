"""The report's parts about a swarm's troubles: an attack, nodes that come and go, a partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from swarm.sim.options import SimulationOptions
from swarm.sim.results import NodeResult, Regard
from swarm.sim.simulated_swarm import Outcome
from swarm.sim.weather import Divider, side_of


def attack_report(options: SimulationOptions, outcome: Outcome) -> dict[str, Any] | None:
    """Return how far the attackers got with the honest nodes; None without an attack."""
    record = outcome.attack
    if record is None:
        return None
    results = outcome.results
    refused: tuple[Counter[str], Counter[str]] = (Counter(), Counter())  # of honest signers, of attackers
    for result in results:
        for (signer, reason), count in result.refused_from.items():
            refused[signer in record.peer_ids][reason] += count
    trained = sum(
        count
        for result in results
        for round in result.rounds
        for signer, count in round.trained_from.items()
        if signer in record.peer_ids
    )
    foreign = sum(round.trained_foreign for result in results for round in result.rounds)
    left_out = [0, 0]  # groups of honest signers, of attackers
    for signer, count in (item for result in results for round in result.rounds for item in round.left_out_from.items()):
        left_out[signer in record.peer_ids] += count
    thirds = [_weights(results, record.peer_ids, third) for third in range(3)]
    regards = [(peer in record.peer_ids, regard) for result in outcome.present for peer, regard in result.regards.items()]
    return {
        "name": options.attack,
        "attackers": options.attackers,
        "identities": len(record.peer_ids),
        "groups_sent": record.sent,
        "groups_delivered": record.delivered,
        "groups_admitted": sum(n for result in results for signer, n in result.admitted.items() if signer in record.peer_ids),
        "messages_turned_away": record.turned_away,
        "refused": dict(sorted(refused[True].items())),
        "refused_honest": dict(sorted(refused[False].items())),
        "groups_trained": trained,
        "groups_left_out": left_out[True],
        "groups_left_out_honest": left_out[False],
        "trained_share": trained / foreign if foreign else None,
        "weight_share": _attackers_share(_Weights(*map(sum, zip(*thirds, strict=True)))),
        "weight_share_per_third": [_attackers_share(third) for third in thirds],
        "honest_share_per_round_per_node": [
            [
                round(sum(weight for signer, weight in each.weight_from.items() if signer not in record.peer_ids), 3)
                for each in result.rounds
            ]
            for result in outcome.present
        ],
        "standing": {"attackers": _standing(regards, among=True), "honest": _standing(regards, among=False)},
    }


class _Weights(NamedTuple):
    """What was learned from foreign groups, in parts of batches."""

    honest: float
    attackers: float


def _weights(results: Sequence[NodeResult], attackers: Collection[str], third: int) -> _Weights:
    """Add up a third of every node's rounds."""
    weights = [0.0, 0.0]
    for result in results:
        for number, finished in enumerate(result.rounds):
            if 3 * number // len(result.rounds) == third:
                for signer, weight in finished.weight_from.items():
                    weights[signer in attackers] += weight
    return _Weights(*weights)


def _attackers_share(weights: _Weights) -> float | None:
    return weights.attackers / sum(weights) if sum(weights) else None


def _standing(regards: Sequence[tuple[bool, Regard]], *, among: bool) -> dict[str, Any]:
    """Count pairs of an honest node and a signer known to it, among attackers or not."""
    known = [regard for is_attacker, regard in regards if is_attacker == among]
    return {
        "pairs": len(known),
        "silenced": sum(not each.heeded for each in known),
        "established": sum(each.established for each in known),
        "credit_minutes": round(sum(each.credit for each in known), 4),
    }


def weather_report(options: SimulationOptions, outcome: Outcome) -> dict[str, Any] | None:
    """Return each stay, and how the halves of a partition went on; None in fair weather."""
    if not (options.churn or options.partition or options.loss):
        return None
    stays = [
        {"node": each.stay.number, "place": each.stay.place, "first_round": each.stay.first, "rounds": len(each.rounds)}
        for each in sorted(outcome.results, key=lambda result: result.stay.number)
    ]
    return {
        "churn": options.churn,
        "loss": options.loss,
        "stays": stays,
        "partition": _partition_report(options, outcome.present) if options.partition else None,
    }


def _partition_report(options: SimulationOptions, present: Sequence[NodeResult]) -> dict[str, Any]:
    cut, healed = Divider.rounds_of(options.rounds)
    sides = [[each for each in present if side_of(each.stay.place, len(present)) == side] for side in (0, 1)]
    return {"cut_at": cut, "healed_at": healed, "halves": [_half(side, cut, healed) for side in sides if side]}


def _half(side: Sequence[NodeResult], cut: int, healed: int) -> dict[str, Any]:
    width = max(1, (healed - cut) // 2)
    names = {result.peer_id for result in side}
    apart = [round for result in side for round in result.rounds[cut:healed]]
    return {
        "places": [result.stay.place for result in side],
        "reward_before": _reward(side, max(0, cut - width), cut),
        "reward_early_apart": _reward(side, cut, cut + width),
        "reward_late_apart": _reward(side, healed - width, healed),
        "groups_trained_from_other_half": sum(
            count for round in apart for peer, count in round.trained_from.items() if peer not in names
        ),
        "eval_after": sum(result.after.accuracy for result in side) / len(side),
    }


def _reward(side: Sequence[NodeResult], begin: int, end: int) -> float:
    """Return the mean reward of these nodes' own answers from round `begin` to before `end`."""
    rewards = [round.reward_mean for result in side for round in result.rounds[begin:end]]
    return sum(rewards) / max(len(rewards), 1)
