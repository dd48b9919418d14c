"""report.json: what a simulation measured. docs/report.md explains every key; `schema` changes when a key's meaning does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import swarm
from protocols.manifest import Manifest
from swarm.config.schema import Config
from swarm.sim.options import SimulationOptions
from swarm.sim.swarm import NodeResult, digest_of

SCHEMA = 1


def build_report(
    options: SimulationOptions, config: Config, manifest: Manifest, results: Sequence[NodeResult], wall_s: float
) -> dict[str, Any]:
    """The report of one run as plain JSON values."""
    rounds = min(len(result.rounds) for result in results)
    rewards = [[round.reward_mean for round in result.rounds] for result in results]
    environments = sorted(results[0].before)
    shared = sum(result.shared for result in results)
    expected = shared * (len(results) - 1) if config.tasks.share else 0
    delivered = sum(result.delivered for result in results)
    own = [sum(round.trained_own for round in result.rounds) for result in results]
    foreign = [sum(round.trained_foreign for round in result.rounds) for result in results]
    proposed = sum(round.proposed for result in results for round in result.rounds)
    informative = sum(round.informative for result in results for round in result.rounds)
    payload, wire = (sum(getattr(result, name) for result in results) for name in ("payload_bytes", "wire_bytes"))
    return {
        "schema": SCHEMA,
        "swarmd": swarm.__version__,
        "swarm_id": manifest.swarm_id,
        "nodes": len(results),
        "rounds": options.rounds,
        "seed": options.seed,
        "network": options.network,
        "model": options.model,
        "specialise": options.specialise,
        "local": config.training.local,
        "external": config.training.external,
        "sampler": config.sampling.sampler,
        "wall_s": round(wall_s, 2),
        "eval_before": _mean([_mean(list(result.before.values())) for result in results]),
        "eval_after": _mean([_mean(list(result.after.values())) for result in results]),
        "eval_per_task": {
            name: {
                "before": _mean([result.before[name] for result in results]),
                "after": _mean([result.after[name] for result in results]),
            }
            for name in environments
        },
        "eval_after_per_node": [_mean(list(result.after.values())) for result in results],
        "cumulative_reward": _mean([sum(each) for each in rewards]),
        "reward_per_round": [_mean([each[index] for each in rewards]) for index in range(rounds)],
        "reward_per_round_per_node": rewards,
        "generated_tokens": sum(round.generated_tokens for result in results for round in result.rounds),
        "groups_proposed": proposed,
        "zero_advantage_share": 1 - informative / proposed if proposed else None,
        "groups_shared": shared,
        "groups_delivered": delivered,
        "delivery_ratio": delivered / expected if expected else None,
        "groups_trained_own": sum(own),
        "groups_trained_foreign": sum(foreign),
        "groups_trained_per_node": [{"own": one, "foreign": other} for one, other in zip(own, foreign, strict=True)],
        "trained_from": _sources(results),
        "payload_bytes": payload,
        "wire_bytes": wire,
        "refused": dict(sorted(sum((Counter(result.refused) for result in results), Counter()).items())),
        "seconds_per_activity": _seconds(results),
        "digest": digest_of(results),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _sources(results: Sequence[NodeResult]) -> list[list[int]]:
    """Row i, column k: groups that node i trained on and node k solved."""
    position = {result.peer_id: index for index, result in enumerate(results)}
    matrix = [[0] * len(results) for _ in results]
    for index, result in enumerate(results):
        for finished in result.rounds:
            matrix[index][index] += finished.trained_own
            for peer, count in finished.trained_from.items():
                matrix[index][position[peer]] += count
    return matrix


def _seconds(results: Sequence[NodeResult]) -> dict[str, float]:
    """Seconds per activity, summed over nodes and rounds."""
    total: Counter[str] = Counter()
    for result in results:
        for finished in result.rounds:
            total.update(finished.seconds)
    return {what: round(seconds, 3) for what, seconds in sorted(total.items())}
