"""The settings of what a round trains on."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import setting


@dataclass(frozen=True, slots=True)
class SamplingSection:
    """Which groups are trained on."""

    sampler: str = setting(
        "useful",
        "How groups are drawn: useful (informative own groups first, better-than-average foreign answers), uniform (the paper's, for whole groups) or rollouts (the paper's own: training.local and training.external then count completions, so set tasks.per_round).",
        choices=("useful", "uniform", "rollouts"),
    )
    max_policy_age: int = setting(
        24,
        "Foreign groups whose policy is more than this many of its own updates behind its signer's newest are not drawn.",
        minimum=0,
    )
    max_uses: int = setting(
        3,
        "How often a foreign group may be drawn, fresh ones first; above 1 a node of few peers fills its places, at the risk of learning a few texts by heart.",
        minimum=1,
    )
    max_age_s: float = setting(3600.0, "Foreign groups received longer ago than this many seconds are not drawn.", above=0)
    freshness: str = setting(
        "available",
        "available trains on what is there; fresh first waits for as many foreign groups within max_policy_age as it draws: steadier, and as slow as the swarm.",
        choices=("available", "fresh"),
    )
    max_wait_s: float = setting(
        30.0,
        "Seconds that a round waits for fresh groups at most, before it trains on what is there; take a few rounds' time.",
        above=0,
    )
