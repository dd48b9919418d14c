"""Every setting of a node: the sections, put together.

`node.toml.example` and `swarmd config explain` are made from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from swarm.config.model_sections import GenerationSection, PolicySection
from swarm.config.network_sections import NetworkSection, SwarmSection
from swarm.config.node_sections import CheckpointSection, GuestSection, NodeSection
from swarm.config.training_sections import SamplingSection, TasksSection, TrainingSection
from swarm.config.trust_sections import DefencesSection, PoolSection, ScoringSection

__all__ = [
    "SECTIONS",
    "CheckpointSection",
    "Config",
    "DefencesSection",
    "GenerationSection",
    "GuestSection",
    "NetworkSection",
    "NodeSection",
    "PolicySection",
    "PoolSection",
    "SamplingSection",
    "ScoringSection",
    "SwarmSection",
    "TasksSection",
    "TrainingSection",
]


@dataclass(frozen=True, slots=True)
class Config:
    """All sections. Built by `swarm.config.load`."""

    node: NodeSection = field(default_factory=NodeSection)
    guest: GuestSection = field(default_factory=GuestSection)
    swarm: SwarmSection = field(default_factory=SwarmSection)
    network: NetworkSection = field(default_factory=NetworkSection)
    policy: PolicySection = field(default_factory=PolicySection)
    generation: GenerationSection = field(default_factory=GenerationSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    tasks: TasksSection = field(default_factory=TasksSection)
    defences: DefencesSection = field(default_factory=DefencesSection)
    pool: PoolSection = field(default_factory=PoolSection)
    scoring: ScoringSection = field(default_factory=ScoringSection)
    checkpoint: CheckpointSection = field(default_factory=CheckpointSection)


SECTIONS: tuple[str, ...] = tuple(section.name for section in fields(Config))
