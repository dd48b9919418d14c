"""Which simulations a benchmark compares: each is a command line of `swarmd sim`, so that anybody can repeat one alone.

The paper's controlled experiment (arXiv 2509.08721, section 4, its table as `PAPER`): 8 nodes, one question per node and round,
8 completions per question, 8 rollouts trained per round, of which J are foreign; tasks as they come. Settings that would make it
another experiment are set back: J as given and one update a round, at a constant rate; no weighing of foreign tokens by their
plausibility, no quota per signer or for newcomers, no return to a checkpoint after unlearning, and only what the others' newest
policies wrote, as in rounds in step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.config.schema import TrainingSection

ROLLOUTS = 8
# J to the cumulative reward that the paper reports, Qwen2.5-0.5B over 2000 rounds.
PAPER = {0: 561.79, 2: 854.43, 4: 1093.31, 6: 945.87}

# Tasks as they come: among chosen ones rewards would say more of the choice than of the policy.
GENERATION = {"tasks.per_round": "1", "tasks.curriculum": "false", "tasks.choices": "1"}
PROTOCOL = GENERATION | {
    "training.groups_per_update": "0",
    "training.constant_steps": "0",
    "sampling.sampler": "rollouts",
    "sampling.max_policy_age": "1",
    "defences.min_probability": "0",
    "defences.signer_share": "1",
    "defences.newcomer_share": "1",
    "defences.canary_tasks": "0",
}
# Of one question there is one own group to train on; the defaults' other places are for foreign ones.
OURS = GENERATION | {
    "training.local": "1",
    "training.external": str(TrainingSection().local + TrainingSection().external - 1),
}
ALONE = {"training.external": "0", "tasks.share": "false"}

# The rows of `swarmd bench swarm`. The last two generate as much as the paper's, with this project's defaults otherwise.
SWARM: dict[str, Mapping[str, str]] = {
    **{
        f"{ROLLOUTS - external}/{external}": PROTOCOL
        | {"training.local": str(ROLLOUTS - external), "training.external": str(external)}
        for external in PAPER
    },
    "defaults": OURS,
    "alone": OURS | ALONE,
}
REFERENCE = f"{ROLLOUTS}/0"

# What a lone node may choose: tasks generated per round, and how many of the informative ones are trained on.
OVERSAMPLING = [(per_round, local) for per_round in (1, 2, 4, 8, 16) for local in (1, 2, 4, 8) if local <= per_round]


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation in memory. With `until` above 0 it ends early, once that held-out accuracy is reached."""

    settings: Mapping[str, str]
    nodes: int
    rounds: int
    seed: int
    evaluate_every: int
    until: float = 0.0

    def arguments(self) -> list[str]:
        """Of `swarmd`."""
        return [
            *("sim", "--network", "memory", "--nodes", str(self.nodes), "--rounds", str(self.rounds), "--seed", str(self.seed)),
            # As nice as the benchmark itself: policies that yield to everybody would never get done on a busy machine.
            *("--evaluate-every", str(self.evaluate_every), "--set", "policy.niceness=0"),
            *(("--until", str(self.until)) if self.until else ()),
            *(text for name, value in self.settings.items() for text in ("--set", f"{name}={value}")),
        ]


def lone_settings(per_round: int, local: int) -> dict[str, str]:
    """A node alone that generates `per_round` groups a round and trains on up to `local` informative ones."""
    return ALONE | {"tasks.per_round": str(per_round), "training.local": str(local)}


def marks(rounds: int) -> int:
    """How many rounds apart a curve of about ten points is measured: most of a short run's seconds are evaluation."""
    return max(1, rounds // 8)


def chosen(rows: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """The named rows of the paper's table, all of them where none is named."""
    return {name: settings for name, settings in SWARM.items() if not rows or name in rows}
