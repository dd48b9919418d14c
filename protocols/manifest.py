"""A swarm's rules: TOML for people, canonical MessagePack for the hash that names the swarm.

Whoever has the 32-byte id can take the text from anybody and check it. Formatting, comments and the
order of keys, environments and renderings do not change the id; every value does, the description
included.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protocols import fields, manifest_toml
from protocols.codec import encode
from protocols.drand import Chain
from protocols.limits import (
    MAX_COMPLETIONS,
    MAX_DESCRIPTION_BYTES,
    MAX_ENVIRONMENTS,
    MAX_EPOCH_SECONDS,
    MAX_GROUPS,
    MAX_NAME_BYTES,
    MAX_RENDERINGS,
    MAX_TEXT_BYTES,
    PROTOCOL_VERSION,
)
from protocols.reasons import ManifestError, ProtocolError, Reason
from protocols.recipe import Parameter, Recipe
from protocols.rules import EnvironmentRule, Range

__all__ = ["EnvironmentRule", "Manifest", "Range", "epoch_of", "permits", "topic"]

MANIFEST_DOMAIN = b"swarmd/1/manifest\x00"
BEACONS = ("local", "drand")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rules of one swarm; all limits are caps that admission enforces.

    `epoch_seconds` is the length of an epoch, counted from 1970; `beacon` is "local" or "drand",
    the latter with the chain; `tasks_per_epoch` caps the indices of one proposer in one epoch;
    `max_completion_chars` are Unicode code points.
    """

    name: str
    environments: tuple[EnvironmentRule, ...]
    renderings: tuple[str, ...]
    epoch_seconds: int
    tasks_per_epoch: int
    min_group_size: int
    max_group_size: int
    max_completion_chars: int
    max_completion_tokens: int
    max_groups_per_share: int
    description: str = ""
    beacon: str = "local"
    drand: Chain | None = None

    def __post_init__(self) -> None:
        # The lists in order, so that equal rules are equal manifests.
        object.__setattr__(self, "environments", tuple(sorted(self.environments, key=lambda rule: rule.name)))
        object.__setattr__(self, "renderings", tuple(sorted(self.renderings)))
        try:
            _check(self)
        except ProtocolError as error:
            raise ManifestError(error.message) from None

    @classmethod
    def from_toml(cls, text: str) -> Manifest:
        """Read a manifest. Raises ManifestError, which names the key and says what to write."""
        return cls(**manifest_toml.parse(text))

    def to_toml(self) -> str:
        """The manifest as text that `from_toml` reads back to an equal one."""
        return manifest_toml.write({each.name: getattr(self, each.name) for each in dataclasses.fields(self)})

    @property
    def id(self) -> bytes:
        """SHA-256 (32 bytes) of the domain and the canonical form."""
        return hashlib.sha256(MANIFEST_DOMAIN + encode(self.to_array())).digest()

    @property
    def swarm_id(self) -> str:
        """The id as 64 hexadecimal digits."""
        return self.id.hex()

    def to_array(self) -> list[Any]:
        """The normalised form: lists sorted; a range is [min, max], a fixed value [value]."""
        return [
            PROTOCOL_VERSION,
            self.name,
            self.description,
            self.epoch_seconds,
            # The chain's hash covers its key and times, so that they are part of the id without
            # standing here.
            [self.beacon, self.drand.hash if self.drand else b""],
            self.tasks_per_epoch,
            [self.min_group_size, self.max_group_size],
            self.max_completion_chars,
            self.max_completion_tokens,
            self.max_groups_per_share,
            self.renderings,
            [
                [rule.name, rule.version, [[name, _setting_array(rule.parameters[name])] for name in sorted(rule.parameters)]]
                for rule in self.environments
            ],
        ]


def topic(manifest: Manifest) -> str:
    """The GossipSub topic of the swarm's envelopes."""
    return topic_of(manifest.swarm_id)


def topic_of(swarm_id: str) -> str:
    """The topic of the swarm with this id (64 hexadecimal digits), for who has no manifest yet."""
    return f"/swarmd/{PROTOCOL_VERSION}/{swarm_id}/rollouts"


def epoch_of(manifest: Manifest, time_ms: int) -> int:
    """The epoch, from 0, in which a moment (ms since 1970) lies."""
    return time_ms // (manifest.epoch_seconds * 1000)


def permits(manifest: Manifest, recipe: Recipe) -> Reason | None:
    """Why the manifest refuses a recipe, or None. Whether its epoch is now is not asked here."""
    rule = next((rule for rule in manifest.environments if rule.name == recipe.environment), None)
    if rule is None:
        return Reason.UNKNOWN_ENVIRONMENT
    if rule.version != recipe.version:
        return Reason.ENVIRONMENT_VERSION
    if not rule.allows(recipe.parameters):
        return Reason.PARAMETER
    if recipe.index >= manifest.tasks_per_epoch:
        return Reason.INDEX
    return None


def _setting_array(setting: Range | Parameter) -> list[Parameter]:
    return [setting.min, setting.max] if isinstance(setting, Range) else [setting]


def _check(manifest: Manifest) -> None:
    """Every value within its limits, and no contradictions."""
    fields.text(manifest.name, "name", MAX_NAME_BYTES)
    fields.text(manifest.description, "description", MAX_DESCRIPTION_BYTES)
    fields.integer(manifest.epoch_seconds, "epoch_seconds", 1, MAX_EPOCH_SECONDS)
    fields.integer(manifest.tasks_per_epoch, "tasks_per_epoch", 1)
    fields.integer(manifest.max_group_size, "group_size.max", 1, MAX_COMPLETIONS)
    fields.integer(manifest.min_group_size, "group_size.min", 1, manifest.max_group_size)
    fields.integer(manifest.max_completion_chars, "max_completion_chars", 1, MAX_TEXT_BYTES)
    fields.integer(manifest.max_completion_tokens, "max_completion_tokens", 1)
    fields.integer(manifest.max_groups_per_share, "max_groups_per_share", 1, MAX_GROUPS)
    if manifest.beacon not in BEACONS:
        raise ManifestError(f'beacon must be "local" or "drand", not {manifest.beacon!r}')
    if (manifest.drand is not None) != (manifest.beacon == "drand"):
        raise ManifestError('drand_chain goes with beacon = "drand", and only with it')
    if manifest.drand is not None and manifest.epoch_seconds < manifest.drand.period:
        raise ManifestError(f"epoch_seconds must be at least the period of the drand chain, {manifest.drand.period} s")
    fields.array(list(manifest.renderings), "renderings", 1, MAX_RENDERINGS)
    for rendering in manifest.renderings:
        fields.name(rendering, "rendering", fields.RENDERING)
    fields.array(list(manifest.environments), "environment", 1, MAX_ENVIRONMENTS)
    _refuse_twins("renderings", manifest.renderings)
    _refuse_twins("environment", [rule.name for rule in manifest.environments])


def _refuse_twins(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ManifestError(f"{what}: {name!r} is named twice; keep one")
        seen.add(name)
