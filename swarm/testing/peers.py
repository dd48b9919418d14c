"""A scripted peer: it signs an honest peer's messages, and each part can be replaced by a false
one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import encode
from protocols.envelope import ENVELOPE_DOMAIN, NO_PREVIOUS, Envelope, seal
from protocols.manifest import EnvironmentRule, Manifest, Range, epoch_of
from protocols.messages import Announce, Body, Completion, PolicyTag, RolloutGroup, Share, pack_body
from protocols.recipe import Recipe

HOUR_MS = 3_600_000
EPOCH = 472_222
NOW_MS = EPOCH * HOUR_MS + HOUR_MS // 2  # in the middle of an epoch
POLICY = PolicyTag("embedded", bytes(32), 3)
# A small swarm; its environments need not exist for messages about them to be judged.
RULES = Manifest(
    name="toy",
    environments=(
        EnvironmentRule("toy/add", "1", {"level": Range(0, 2)}),
        EnvironmentRule("toy/sort", "1", {"level": Range(0, 0)}),
    ),
    renderings=("compact",),
    epoch_seconds=3600,
    tasks_per_epoch=100,
    min_group_size=2,
    max_group_size=8,
    max_completion_chars=16,
    max_completion_tokens=16,
    max_groups_per_share=4,
)


def rewards_of(texts: Sequence[str]) -> tuple[float, ...]:
    """Return the toy verifier's rewards: 1 for "right…", else 0."""
    return tuple(float(text.startswith("right")) for text in texts)


def answers(*texts: str, tokens: int = 5) -> tuple[Completion, ...]:
    """Return finished completions of these texts."""
    return tuple(Completion(text, True, tokens, -1.5) for text in texts)


@dataclass
class Peer:
    """One identity with its log. `number` (1 to 255) makes its key; `now_ms` is the time on its
    envelopes."""

    number: int = 1
    rules: Manifest = RULES
    now_ms: int = NOW_MS
    sequence: int = 0
    previous: bytes = NO_PREVIOUS
    next_index: int = 0

    def __post_init__(self) -> None:
        """Make the key."""
        self.private_key = Ed25519PrivateKey.from_private_bytes(bytes([self.number]) * 32)
        self.key = self.private_key.public_key().public_bytes_raw()

    def group(self, index: int, *texts: str, **changes: object) -> RolloutGroup:
        """Return a group with true rewards; changes named like a recipe's field go into it."""
        recipe = Recipe("toy/add", "1", (("level", 1),), epoch_of(self.rules, self.now_ms), self.key, index)
        of_recipe: dict[str, Any] = {name: changes.pop(name) for name in list(changes) if hasattr(recipe, name)}
        texts = texts or ("right", "wrong")
        group = RolloutGroup(replace(recipe, **of_recipe), "compact", POLICY, answers(*texts), rewards_of(texts))
        rest: dict[str, Any] = changes
        return replace(group, **rest)

    def share(self, *groups: RolloutGroup, **changes: Any) -> Share:
        """Return a share that joins the one before; without groups given it holds one."""
        groups = groups or (self.group(self.next_index),)
        first = self.next_index
        last = max((group.recipe.index for group in groups), default=first - 1)
        epoch = epoch_of(self.rules, self.now_ms)
        return replace(Share(self.sequence, epoch, first, max(last + 1 - first, 1), groups), **changes)

    def seal(self, body: Body, **changes: Any) -> Envelope:
        """Return the next envelope of the log; changes replace its place or time, and do not move
        the log's end."""
        place: dict[str, Any] = {"sequence": self.sequence, "previous": self.previous, "time_ms": self.now_ms} | changes
        return seal(self.private_key, body=body, swarm=self.rules.id, **place)

    def publish(self, *groups: RolloutGroup, **changes: Any) -> bytes:
        """Return the bytes of the next share; the log moves on."""
        share = self.share(*groups, **changes)
        return self.advance(self.seal(share), share)

    def announce(self, *groups: RolloutGroup) -> tuple[bytes, bytes]:
        """Return (envelope, body) of the next share, announced by hash; the log moves on."""
        share = self.share(*groups)
        body = pack_body(share)
        return self.advance(self.seal(Announce(hashlib.sha256(body).digest(), len(body))), share), body

    def advance(self, envelope: Envelope, share: Share) -> bytes:
        """Continue the log behind an envelope with this share. Returns the envelope's bytes."""
        self.sequence, self.previous = envelope.sequence + 1, envelope.id
        self.next_index = share.first_index + share.count
        return envelope.to_bytes()

    def sign_anything(self, kind: int, body: bytes, version: int = 1) -> bytes:
        """Return a well-signed envelope around bytes that `seal` would refuse."""
        signed = [version, int(kind), self.key, self.sequence, self.previous, self.now_ms, body]
        return encode([*signed, self.private_key.sign(ENVELOPE_DOMAIN + self.rules.id + encode(signed))])
