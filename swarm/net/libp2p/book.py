"""The address book: known peers, when to dial them next, and its copy on disk.

Addresses are claims of their senders. The Noise handshake proves the peer id when one is dialled.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import HomeError, NetworkError
from swarm.home import write_atomically
from swarm.net.libp2p.addresses import parse

MAX_PEERS = 256
MAX_ADDRESSES = 8  # per peer
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0  # pause after the first failure; it doubles up to the last
FORGET_AFTER = 8  # failures in a row, about four minutes
FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """One peer. `next_dial_s` is on trio's clock.

    `lasting` entries (bootstrap peers) are never forgotten.
    """

    addresses: tuple[str, ...]
    lasting: bool = False
    failures: int = 0
    next_dial_s: float = 0.0


class AddressBook:
    """Addresses and dialling state by peer id, bounded in number."""

    def __init__(self, own_id: str, path: Path | None) -> None:
        self._own_id = own_id
        self._path = path
        self._changed = False
        self.entries: dict[str, Entry] = {}
        if path is not None:
            self._load(path)

    def learn(self, address: str, *, first_dial_s: float = 0.0, lasting: bool = False) -> None:
        """Take in one address with /p2p/<peer id>. Raises `NetworkError` if it is not dialable."""
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
            # Of too many, the oldest claims go; a bootstrap peer's first ones were configured.
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
        """Return unconnected peers whose pause is over, fewest failures first, else at random."""
        here = set(connected)
        due = [peer_id for peer_id, entry in self.entries.items() if peer_id not in here and entry.next_dial_s <= now_s]
        random.shuffle(due)
        return sorted(due, key=lambda peer_id: self.entries[peer_id].failures)

    def answered(self, peer_id: str, address: str) -> None:
        """Note that a dial succeeded: this address is tried first next time."""
        if (entry := self.entries.get(peer_id)) and address in entry.addresses:
            others = [other for other in entry.addresses if other != address]
            self._changed |= entry.addresses[0] != address
            entry.addresses = (address, *others)

    def proved(self, peer_id: str) -> None:
        """Note that the peer is connected and in this swarm, which a dial alone does not show."""
        if entry := self.entries.get(peer_id):
            entry.failures = 0

    def failed(self, peer_id: str, now_s: float, *, alone: bool) -> None:
        """Note that no address answered: pause longer each time, with jitter, then forget the peer.

        If this node is `alone`, the fault is rather its own, and nothing is forgotten.
        """
        if entry := self.entries.get(peer_id):
            entry.failures += 1
            pause = min(FIRST_RETRY_S * 2 ** (entry.failures - 1), LAST_RETRY_S)
            entry.next_dial_s = now_s + pause * random.uniform(0.5, 1.5)
            if entry.failures >= FORGET_AFTER and not entry.lasting and not alone:
                self.forget(peer_id)

    def dismiss(self, peer_id: str, now_s: float) -> None:
        """Forget a peer of another swarm or, if it was configured, dial it again in a while."""
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
        """Write the book if it has changed; a kill leaves the old file or the new one.

        Blocks: call it in a thread.
        """
        if self._path is None or not self._changed:
            return
        self._changed = False
        peers = [{"peer_id": peer_id, "addresses": list(entry.addresses)} for peer_id, entry in list(self.entries.items())]
        try:
            write_atomically(self._path, json.dumps({"format": FORMAT, "peers": peers}, indent=1).encode())
        except HomeError as error:
            # The network works without the book; the node's other files report a full disk.
            logger.warning("cannot save the address book %s: %s", self._path, error)
