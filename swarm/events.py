"""What a node tells while it works: frozen records, handed to whoever listens (the log file, the live table, a test)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """The node is on the network and about to begin round `round`."""

    peer_id: str
    round: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundFinished:
    """One pass of the loop. `reward_mean` is over all own completions of the round; `seconds` is split by what they went into.

    Per foreign signer (peer id): `trained_from` counts the groups drawn, `weight_from` is the part of the batch's weight that was
    learned from it, and `left_out_from` counts those of its groups in which nothing was plausible enough to learn from.
    `policy_age` is the mean age of the foreign groups, in updates of their signers; 0 without any.
    `took_s` is the time since the round before was finished (rounds may overlap, and then `seconds` do), `busy_s` what of it each
    process of the policy computed.
    """

    peer_id: str
    round: int
    reward_mean: float
    informative: int
    proposed: int
    trained_own: int
    trained_foreign: int
    trained_from: Mapping[str, int] = field(hash=False)
    generated_tokens: int
    peers: int
    loss: float
    seconds: Mapping[str, float] = field(hash=False)
    weight_from: Mapping[str, float] = field(default_factory=dict, hash=False)
    left_out_from: Mapping[str, int] = field(default_factory=dict, hash=False)
    policy_age: float = 0.0
    took_s: float = 0.0
    busy_s: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A message or group from the network was not admitted."""

    peer_id: str
    signer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """Everything up to `round` survives a kill from here on."""

    peer_id: str
    round: int
    path: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """By `round` the policy had unlearned (held-out accuracy of the node's own few tasks); it is that of `to_round` again."""

    peer_id: str
    round: int
    to_round: int
    best: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class PartRestarted:
    """The supervisor restarted a part of the node after `error`."""

    peer_id: str
    part: str
    error: str


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """The node has drained and left the network after `round` rounds."""

    peer_id: str
    round: int


Event = NodeStarted | RoundFinished | Refused | Checkpointed | RolledBack | PartRestarted | NodeStopped
Listener = Callable[[Event], None]


class EventLog:
    """A listener that appends JSON lines; a file over `max_bytes` is renamed to `.1`, replacing the one before."""

    def __init__(self, path: Path, max_bytes: int = 16 * 2**20) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def __call__(self, event: Event) -> None:
        """Append one event; a full or read-only disk loses the line, never the node."""
        line = json.dumps({"event": type(event).__name__, **asdict(event)}) + "\n"
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
                self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            return
