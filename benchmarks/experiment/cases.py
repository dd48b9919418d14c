"""Which simulations an experiment compares: each is a command line of `swarmd sim`.

The paper's controlled experiment (arXiv 2509.08721, section 4, its table as `PAPER`): 8 nodes, one
question per node and round, 8 completions per question, 8 rollouts trained per round, of which J
are foreign; tasks as they come. Settings that would make it another experiment are set back: J as
given and one update a round, at a constant rate; foreign tokens not weighed by their plausibility,
no quota per signer or for newcomers, no return to a checkpoint after unlearning, and only rollouts
of the others' newest policies, as in rounds in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.experiment.runs import Command, sim_command
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
# Of one question there is one own group to train on; the defaults' other places are for foreign
# ones.
OURS = GENERATION | {
    "training.local": "1",
    "training.external": str(TrainingSection().local + TrainingSection().external - 1),
}
NOT_NICE = {"policy.niceness": "0"}
ALONE = {"training.external": "0", "tasks.share": "false"}

# The rows of `benchmarks.swarm`. The last two generate as much as the paper's, with this project's
# defaults otherwise.
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

# What a lone node may choose: tasks generated per round, and how many of the informative ones are
# trained on.
OVERSAMPLING = [(per_round, local) for per_round in (1, 2, 4, 8, 16) for local in (1, 2, 4, 8) if local <= per_round]


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation in memory. With `until` above 0 it ends at that held-out accuracy."""

    settings: Mapping[str, str]
    nodes: int
    rounds: int
    seed: int
    evaluate_every: int
    until: float = 0.0

    def command(self) -> Command:
        """Return the command line of `swarmd`."""
        asked = {"--nodes": self.nodes, "--rounds": self.rounds, "--seed": self.seed, "--evaluate-every": self.evaluate_every}
        goal = {"--until": self.until} if self.until else {}
        # As nice as the experiment itself: policies that yield to all others would starve on a busy
        # machine.
        return sim_command({"--network": "memory", **asked, **goal}, {**NOT_NICE, **self.settings})


def lone_settings(per_round: int, local: int) -> dict[str, str]:
    """Settings of a lone node that trains on up to `local` informative groups of `per_round`."""
    return ALONE | {"tasks.per_round": str(per_round), "training.local": str(local)}


def marks(rounds: int) -> int:
    """Return the rounds between the points of a curve of about ten, since each costs seconds."""
    return max(1, rounds // 8)
