"""The address book: peers this node has heard of, when to dial them next, and its copy on disk.

Addresses are claims of whoever sent them; the Noise handshake proves the peer id when they are dialled.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import NetworkError
from swarm.net.libp2p.addresses import parse

MAX_PEERS = 256
MAX_ADDRESSES = 8  # per peer
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # pause after the first failure; it doubles up to the last
FORGET_AFTER = 8  # failures in a row, about four minutes
FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """One peer. `next_dial_s` is on trio's clock; `lasting` entries (bootstrap peers) are never forgotten."""

    addresses: tuple[str, ...]
    lasting: bool = False
    failures: int = 0
    next_dial_s: float = 0.0


class AddressBook:
    """Peer id → addresses and dialling state; bounded."""

    def __init__(self, own_id: str, path: Path | None) -> None:
        self._own_id = own_id
        self._path = path
        self._changed = False
        self.entries: dict[str, Entry] = {}
        if path is not None:
            self._load(path)

    def learn(self, address: str, *, first_dial_s: float = 0.0, lasting: bool = False) -> None:
        """Take in one address with /p2p/<peer id>; raises `NetworkError` if it cannot be dialled."""
        transport, peer_id = parse(address)
        if peer_id == self._own_id:
            return
        entry = self.entries.get(peer_id)
        if entry is None:
            self._make_room()
            entry = self.entries[peer_id] = Entry((), lasting, next_dial_s=first_dial_s)
        entry.lasting |= lasting
        full = f"{transport}/p2p/{peer_id}"
        if full not in entry.addresses:
            # Of too many, the oldest claims go; those of bootstrap peers were configured and stay in front.
            kept = entry.addresses[: MAX_ADDRESSES - 1] if lasting or entry.lasting else entry.addresses[1 - MAX_ADDRESSES :]
            entry.addresses = (*kept, full)
            self._changed = True

    def _make_room(self) -> None:
        if len(self.entries) >= MAX_PEERS:
            loose = [peer_id for peer_id, entry in self.entries.items() if not entry.lasting]
            worst = max(loose, key=lambda peer_id: self.entries[peer_id].failures, default=None)
            if worst is not None:
                self.forget(worst)

    def due(self, now_s: float, connected: Iterable[str]) -> list[str]:
        """Unconnected peers whose pause is over, in random order, those that never failed first."""
        here = set(connected)
        due = [peer_id for peer_id, entry in self.entries.items() if peer_id not in here and entry.next_dial_s <= now_s]
        random.shuffle(due)
        return sorted(due, key=lambda peer_id: self.entries[peer_id].failures)

    def answered(self, peer_id: str, address: str) -> None:
        """A dial succeeded: this address is the one to try first next time."""
        if (entry := self.entries.get(peer_id)) and address in entry.addresses:
            others = [other for other in entry.addresses if other != address]
            self._changed |= entry.addresses[0] != address
            entry.addresses = (address, *others)

    def proved(self, peer_id: str) -> None:
        """The peer is connected and in this swarm; a dial alone does not show that."""
        if entry := self.entries.get(peer_id):
            entry.failures = 0

    def failed(self, peer_id: str, now_s: float, *, alone: bool) -> None:
        """No address answered: pause longer each time, with jitter, and in the end forget the peer.

        When this node is `alone`, the fault is rather its own, and nothing is forgotten.
        """
        if entry := self.entries.get(peer_id):
            entry.failures += 1
            pause = min(FIRST_RETRY_S * 2 ** (entry.failures - 1), LAST_RETRY_S)
            entry.next_dial_s = now_s + pause * random.uniform(0.5, 1.5)
            if entry.failures >= FORGET_AFTER and not entry.lasting and not alone:
                self.forget(peer_id)

    def dismiss(self, peer_id: str, now_s: float) -> None:
        """A peer that answers but is in another swarm: forget it or, if it was configured, look again in a while."""
        if (entry := self.entries.get(peer_id)) and entry.lasting:
            entry.next_dial_s = now_s + LAST_RETRY_S
        else:
            self.forget(peer_id)

    def forget(self, peer_id: str) -> None:
        """Remove a peer."""
        self._changed |= self.entries.pop(peer_id, None) is not None

    def _load(self, path: Path) -> None:
        try:
            stored = json.loads(path.read_bytes())
            addresses = [address for peer in stored["peers"][:MAX_PEERS] for address in peer["addresses"][:MAX_ADDRESSES]]
            for address in addresses:
                self.learn(address)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, NetworkError) as error:
            logger.warning("the address book %s is unreadable and starts empty: %s", path, error)
        self._changed = False

    def save(self) -> None:
        """Write what changed; a kill leaves the old file or the new one. Blocks: call it in a thread."""
        if self._path is None or not self._changed:
            return
        self._changed = False
        peers = [{"peer_id": peer_id, "addresses": list(entry.addresses)} for peer_id, entry in list(self.entries.items())]
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("w") as file:
                json.dump({"format": FORMAT, "peers": peers}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            # The network works without the book; the node's other files will say that the disk is full.
            logger.warning("cannot save the address book %s: %s", self._path, error)
