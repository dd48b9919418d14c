"""report.json: a simulation's figures, whose keys docs/report.md explains.

`schema` changes when a key's meaning does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import swarm
from protocols.manifest import Manifest
from swarm.config.schema import Config
from swarm.events import RoundFinished
from swarm.sim.options import SimulationOptions
from swarm.sim.results import NodeResult, Rollouts, digest_of, total, zero_advantage_share
from swarm.sim.simulated_swarm import Outcome
from swarm.sim.troubles import attack_report, weather_report

SCHEMA = 2


def build_report(
    options: SimulationOptions, config: Config, manifest: Manifest, outcome: Outcome, wall_s: float
) -> dict[str, Any]:
    """Return one run's report as plain JSON values; attackers are counted under `attack` only."""
    results, present = outcome.results, outcome.present
    places = [sorted((each for each in results if each.stay.place == last.stay.place), key=_first) for last in present]
    finished = [[round for result in place for round in result.rounds] for place in places]
    rewards = [[round.reward_mean for round in each] for each in finished]
    environments = sorted(present[0].before.accuracies)
    shared = sum(result.shared for result in results)
    # Of those who came or left in the middle nobody knows what should have reached them.
    expected = sum(result.shared for result in present) * (len(present) - 1) if config.tasks.share else 0
    delivered = sum(_delivered(result, present) for result in present)
    own = [sum(round.trained_own for round in each) for each in finished]
    foreign = [sum(round.trained_foreign for round in each) for each in finished]
    proposed = sum(round.proposed for each in finished for round in each)
    payload, wire = (sum(getattr(result, name) for result in results) for name in ("payload_bytes", "wire_bytes"))
    return {
        "schema": SCHEMA,
        "swarmd": swarm.__version__,
        "swarm_id": manifest.swarm_id,
        "nodes": len(present),
        "rounds": options.rounds,
        "seed": options.seed,
        "network": options.network,
        "model": ", ".join(options.models),
        "specialise": options.specialise,
        "models_per_node": [options.model_of(place) for place in range(len(places))],
        "speeds": [pace.speed for pace in options.paces(len(places))],
        "rounds_per_node": [len(each) for each in finished],
        "undefended": options.undefended,
        "local": config.training.local,
        "external": config.training.external,
        "sampler": config.sampling.sampler,
        "wall_s": round(wall_s, 2),
        "eval_before": _mean([place[0].before.accuracy for place in places]),
        "eval_after": _mean([result.after.accuracy for result in present]),
        "eval_per_task": {
            name: {
                "before": _mean([place[0].before.accuracies[name] for place in places]),
                "after": _mean([result.after.accuracies[name] for result in present]),
            }
            for name in environments
        },
        "eval_before_per_node": [place[0].before.accuracy for place in places],
        "eval_after_per_node": [result.after.accuracy for result in present],
        "eval_answer_chars_before": _mean([place[0].before.answer_chars for place in places]),
        "eval_answer_chars_after": _mean([result.after.answer_chars for result in present]),
        "cumulative_reward": _mean([sum(each) for each in rewards]),
        "reward_per_round": [
            _mean([each[index] for each in rewards if index < len(each)]) for index in range(max(map(len, rewards)))
        ],
        "reward_per_round_per_node": rewards,
        "curve": _curve(outcome, finished) if options.evaluate_every else None,
        "completion_tokens_first": _mean_tokens([place[0].early for place in places]),
        "completion_tokens_last": _mean_tokens([result.late for result in present]),
        "patterns_first": _pattern_rates([place[0].early for place in places]),
        "patterns_last": _pattern_rates([result.late for result in present]),
        "generated_tokens": sum(round.generated_tokens for each in finished for round in each),
        "groups_proposed": proposed,
        "zero_advantage_share": zero_advantage_share([round for each in finished for round in each]),
        "zero_advantage_share_per_half": [
            zero_advantage_share([round for each in finished for round in each[: len(each) // 2]]),
            zero_advantage_share([round for each in finished for round in each[len(each) // 2 :]]),
        ],
        "groups_shared": shared,
        "groups_delivered": delivered,
        "delivery_ratio": delivered / expected if expected else None,
        "logs_complete": _logs_complete(present),
        "groups_trained_own": sum(own),
        "groups_trained_foreign": sum(foreign),
        "groups_left_out": sum(sum(round.left_out_from.values()) for each in finished for round in each),
        "groups_trained_per_node": [{"own": one, "foreign": other} for one, other in zip(own, foreign, strict=True)],
        "trained_from": _sources(places),
        "policy_age": _policy_age(finished),
        "policy_age_per_node": [_policy_age([each]) for each in finished],
        "payload_bytes": payload,
        "wire_bytes": wire,
        "refused": total([result.refused for result in results]),
        "rollbacks": sum(result.rollbacks for result in results),
        "seconds_per_activity": _seconds(results),
        "attack": attack_report(options, outcome),
        "weather": weather_report(options, outcome),
        "digest": digest_of(results),
    }


def _curve(outcome: Outcome, finished: Sequence[Sequence[RoundFinished]]) -> dict[str, list[Any]]:
    """Return held-out accuracy over rounds, and one node's tokens and CPU seconds until then."""
    points = outcome.curve
    return {
        "rounds": [point.rounds for point in points],
        "accuracy": [_mean(point.accuracies) for point in points],
        "accuracy_per_node": [list(point.accuracies) for point in points],
        "generated_tokens": [
            _mean([sum(round.generated_tokens for round in place[: point.rounds]) for place in finished]) for point in points
        ],
        "cpu_s": [None if point.cpu_s is None else round(point.cpu_s / len(finished), 3) for point in points],
    }


def _first(result: NodeResult) -> int:
    return result.stay.first


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_tokens(rollouts: Sequence[Rollouts]) -> float:
    completions = sum(each.completions for each in rollouts)
    return sum(each.tokens for each in rollouts) / max(completions, 1)


def _pattern_rates(rollouts: Sequence[Rollouts]) -> dict[str, float]:
    """Return the rate of every attack's pattern, also where nobody attacked."""
    completions = sum(each.completions for each in rollouts)
    return {name: sum(each.patterned[name] for each in rollouts) / max(completions, 1) for name in rollouts[0].patterned}


def _delivered(receiver: NodeResult, signers: Sequence[NodeResult]) -> int:
    """Count the groups of the signers' logs that a receiver holds."""
    return sum(
        groups
        for signer in signers
        if signer is not receiver
        for envelope, groups in signer.written.items()
        if envelope in receiver.held
    )


def _logs_complete(present: Sequence[NodeResult]) -> float | None:
    pairs = [signer.written.keys() <= node.held for node in present for signer in present if signer is not node]
    return sum(pairs) / len(pairs) if pairs else None


def _sources(places: Sequence[Sequence[NodeResult]]) -> list[list[int]]:
    """Count in row i, column k the groups that place i trained on and place k solved."""
    position = {result.peer_id: index for index, place in enumerate(places) for result in place}
    matrix = [[0] * len(places) for _ in places]
    for index, place in enumerate(places):
        for finished in (round for result in place for round in result.rounds):
            matrix[index][index] += finished.trained_own
            for peer, count in finished.trained_from.items():
                if peer in position:
                    matrix[index][position[peer]] += count
    return matrix


def _policy_age(finished: Sequence[Sequence[RoundFinished]]) -> float | None:
    """Return the mean over the foreign groups trained on; None without any."""
    foreign = sum(round.trained_foreign for each in finished for round in each)
    return sum(round.policy_age * round.trained_foreign for each in finished for round in each) / foreign if foreign else None


def _seconds(results: Sequence[NodeResult]) -> dict[str, float]:
    """Return the seconds per activity, summed over nodes and rounds."""
    seconds: Counter[str] = Counter()
    for result in results:
        for finished in result.rounds:
            seconds.update(finished.seconds)
    return {what: round(each, 3) for what, each in sorted(seconds.items())}
