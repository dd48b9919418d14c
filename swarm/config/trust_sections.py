"""The settings of what strangers send: how it is checked, how much counts, and how much is kept."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import Allowed, setting


@dataclass(frozen=True, slots=True)
class DefencesSection:
    """What keeps strangers from teaching this node something bad.

    Each defence can be turned off, to measure its worth.
    """

    verify: bool = setting(
        True,
        "Rebuild every foreign task and score its answers. Off believes the rewards that peers claim, which only a simulation may do.",
        off=False,
    )
    min_probability: float = setting(
        1e-3,
        "Least probability, by the own policy, of foreign tokens that are trained on; 0 trains on all. Answers with many tokens below it are left out.",
        Allowed(minimum=0, maximum=1),
        off=0.0,
    )
    newcomer_share: float = setting(
        0.1,
        "Part of a batch's weight for all signers together who are not yet established with this node; 1 sets no limit. Lower holds crowds of strangers back, and honest newcomers too.",
        Allowed(above=0, maximum=1),
        off=1.0,
    )
    signer_share: float = setting(
        0.34,
        "Part of a batch's foreign groups for any one signer at most. It is twice an equal part where more than six are heard, and an equal part where fewer than three are. 1 sets no limit, and lets numbers count.",
        Allowed(above=0, maximum=1),
        off=1.0,
    )
    canary_tasks: int = setting(
        48,
        "Held-out tasks answered before each checkpoint; 0 never looks. Where the policy has clearly unlearned, the node goes back to the checkpoint before.",
        Allowed(minimum=0),
        off=0,
    )


@dataclass(frozen=True, slots=True)
class PoolSection:
    """The store of received and own groups."""

    max_groups: int = setting(
        20000,
        "Foreign groups kept. Above that the oldest of newcomers are removed first, then those of the biggest holders.",
        Allowed(minimum=1),
    )
    max_bytes: int = setting(
        512 * 2**20,
        "Bytes of foreign envelopes kept on disk. Above that a tenth is removed at once: the oldest of newcomers first, then those of the biggest holders.",
        Allowed(minimum=2**20),
        owner=True,
    )
    commit_every_s: float = setting(
        60.0,
        "Seconds of changes that are written at once; 0 writes each at once, ten times as much in all. A kill loses that much of what peers have sent, and they send it again; nothing of the own log.",
        Allowed(minimum=0, maximum=3600),
    )
    groups_per_peer: int = setting(
        2000, "Groups kept of any one signer, so that one cannot push out the others.", Allowed(minimum=1)
    )


@dataclass(frozen=True, slots=True)
class ScoringSection:
    """The verifiers."""

    workers: int = setting(
        2,
        "Worker processes that rebuild tasks and score answers, about 30 MB each. From two on, a stranger's slow group holds up nobody.",
        Allowed(minimum=1),
    )
