"""Events of a node: frozen records for its listeners (the log file, the live table, a test)."""

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
    """One pass of the loop. `reward_mean` is over all own completions; `seconds` are per step.

    Per foreign signer (peer id): `trained_from` counts the groups drawn. `weight_from` is the
    signer's part of the batch's weight. `left_out_from` counts its groups with weight but without a
    plausible token.

    `policy_age` is the mean age of the foreign groups, in updates of their signers; 0 without any.
    `took_s` is the time since the end of the round before; rounds may overlap, and then `seconds`
    do. `busy_s` is the part of `took_s` for which each process of the policy computed.
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
    """A checkpoint was written: everything up to `round` now survives a kill."""

    peer_id: str
    round: int
    path: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The regression guard saw at `round` that the policy had unlearned, and restored `to_round`'s.

    `best` and `accuracy` are held-out accuracies on the node's own tasks: the best so far, and now.
    """

    peer_id: str
    round: int
    to_round: int
    best: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TooLong:
    """Tasks of an environment were passed over for the first time: the policy's model has no room
    for the prompt and an answer."""

    peer_id: str
    round: int
    environment: str


@dataclass(frozen=True, slots=True)
class MostlyCut:
    """Most of a round's own answers, the `share`, were cut at the cap of tokens. Said once, and
    again only after it was better."""

    peer_id: str
    round: int
    share: float
    cap: int


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


Event = NodeStarted | RoundFinished | Refused | Checkpointed | RolledBack | TooLong | MostlyCut | PartRestarted | NodeStopped
Listener = Callable[[Event], None]


class EventLog:
    """A listener that appends JSON lines, and renames a file over `max_bytes` to `.1`."""

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
