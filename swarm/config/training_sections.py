"""The settings of a round: the tasks proposed, the groups drawn, and the training on them.

Training keys carry TRL's names and meanings.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import Allowed, setting


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """What a round trains on, and how."""

    local: int = setting(
        2, "Own groups trained per round (I of swarm sampling); at least as many tasks are proposed.", Allowed(minimum=0)
    )
    external: int = setting(
        30,
        "Foreign groups trained per round at most (J of swarm sampling); 0 is ordinary reinforcement learning. A round draws fewer where they would take more than three quarters of its time.",
        Allowed(minimum=0),
    )
    groups_per_update: int = setting(
        3,
        "Groups per optimizer step; 0 makes one step of all. Fewer groups per step learn faster at first and end noisier.",
        Allowed(minimum=0),
    )
    learning_rate: float = setting(
        1e-4,
        "Step size of AdamW; at 4e-4 the embedded model soon unlearns again. 0, the default of all other models, takes 1e-6 for all weights and 5e-5 for an adapter.",
        Allowed(minimum=0),
    )
    warmup_steps: int = setting(5, "Updates over which the learning rate rises from 0 to its value.", Allowed(minimum=0))
    constant_steps: int = setting(
        120,
        "Updates after which the learning rate falls and groups_per_update grows, both with the square root of their number. 0, the default of all but the embedded model, keeps both.",
        Allowed(minimum=0),
    )
    weight_decay: float = setting(
        0.0, "Decoupled weight decay of AdamW per step, as a fraction of the learning rate.", Allowed(minimum=0)
    )
    max_grad_norm: float = setting(
        1.0,
        "Norm to which the gradient is clipped. 0 never clips, at the risk of one bad batch ruining the policy.",
        Allowed(minimum=0),
    )
    num_iterations: int = setting(1, "Passes over each batch; from the second on the ratio clip is active.", Allowed(minimum=1))
    epsilon: float = setting(0.2, "Lower clip of the probability ratio.", Allowed(above=0))
    epsilon_high: float = setting(
        0.28, "Upper clip of the probability ratio; above epsilon lets unlikely tokens grow (clip-higher).", Allowed(above=0)
    )
    beta: float = setting(
        0.0, "Weight of the KL penalty to the base model; above 0 keeps a copy of that in memory.", Allowed(minimum=0)
    )
    scale_rewards: str = setting(
        "group",
        "Scale of advantages: group divides them by the group's standard deviation (GRPO), none does not (Dr. GRPO).",
        Allowed(choices=("group", "none")),
    )
    loss_type: str = setting(
        "dapo",
        "Average of token losses: dapo over all tokens of the batch, grpo within each completion first.",
        Allowed(choices=("dapo", "grpo")),
    )
    mask_truncated_completions: bool = setting(False, "Leave completions that were cut at the length cap out of the loss.")
    max_versions_behind: int = setting(
        0,
        "Rounds that may be generated before the ones before them were trained on; 0 does one thing after the other. 1 keeps the device busy while answers are verified and shared, and trains on answers one version old.",
        Allowed(minimum=0, maximum=8),
    )


@dataclass(frozen=True, slots=True)
class SamplingSection:
    """Which groups are trained on."""

    sampler: str = setting(
        "useful",
        "Rule of the draw: useful (informative own groups, better-than-average foreign answers), uniform (the paper's, for whole groups), rollouts (the paper's own). With rollouts, training.local and training.external count completions, so set tasks.per_round.",
        Allowed(choices=("useful", "uniform", "rollouts")),
    )
    max_policy_age: int = setting(
        24,
        "Policy age up to which foreign groups are drawn: updates of their signer since. Groups received more than an hour ago are never drawn.",
        Allowed(minimum=0),
    )
    wait_s: float = setting(
        0.0,
        "Seconds that a round waits at most for as many foreign groups as it draws; 0 trains on what is there. A few rounds' time makes training steadier, and as slow as the swarm.",
        Allowed(minimum=0),
    )


@dataclass(frozen=True, slots=True)
class TasksSection:
    """What the node proposes to itself."""

    environments: tuple[str, ...] = setting(
        (), "Environments to propose from, a subset of the manifest's; empty takes all of them."
    )
    per_round: int = setting(
        0,
        "Tasks proposed and solved per round; 0 takes training.local. More let the sampler choose the informative ones.",
        Allowed(minimum=0),
    )
    curriculum: bool = setting(
        True,
        "Propose environments and levels whose groups are likely neither solved nor hopeless, by own groups and foreign ones. Off draws uniformly.",
    )
    choices: int = setting(
        4,
        "Tasks looked at for each that is solved: the policy should give the solution about half of the time. More find more informative ones and cost a forward pass each; 1 takes what comes.",
        Allowed(minimum=1, maximum=8),
    )
    share: bool = setting(True, "Publish own groups. Off learns from others without giving anything back.", owner=True)
    share_uninformative: bool = setting(
        False, "Publish groups whose rewards are all equal, too; they teach nothing and cost bandwidth."
    )
