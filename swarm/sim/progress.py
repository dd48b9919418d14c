"""The progress of a simulation on standard error: a live table on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swarm.events import Event, PartRestarted, RoundFinished

Progress = Callable[[int, Event], None]


@dataclass(slots=True)
class _Line:
    last: RoundFinished | None = None
    rounds: int = 0
    own: int = 0
    foreign: int = 0
    tokens: int = 0


class _Board:
    """The newest figures of every node."""

    def __init__(self, rounds: Sequence[int], label: str) -> None:
        self.rows = [_Line() for _ in rounds]
        self.rounds = rounds
        self.label = label
        self.begun: float | None = None

    def take(self, index: int, event: RoundFinished) -> None:
        now = time.monotonic()
        self.begun = self.begun or now
        row = self.rows[index]
        row.last = event
        row.rounds += 1
        row.own += event.trained_own
        row.foreign += event.trained_foreign
        row.tokens += event.generated_tokens

    @property
    def done(self) -> float:
        return sum(row.rounds for row in self.rows) / sum(self.rounds)

    @property
    def slowest(self) -> int:
        """The rounds of the slowest of the nodes that do all rounds."""
        return min(row.rounds for row, rounds in zip(self.rows, self.rounds, strict=True) if rounds == max(self.rounds))

    def elapsed(self) -> float:
        return time.monotonic() - self.begun if self.begun else 0.0

    def left(self) -> str:
        if self.done == 0:
            return "?"
        seconds = int(self.elapsed() * (1 - self.done) / self.done)
        return f"{seconds // 60}:{seconds % 60:02}"

    def line(self) -> str:
        last = [row.last for row in self.rows if row.last]
        reward = sum(each.reward_mean for each in last) / len(last)
        peers = sum(each.peers for each in last) / len(last)
        tokens = sum(row.tokens for row in self.rows) / max(self.elapsed(), 1e-9)
        own, foreign = sum(row.own for row in self.rows), sum(row.foreign for row in self.rows)
        name = f"{self.label}: " if self.label else ""
        return (
            f"{name}round {self.slowest}/{max(self.rounds)}  reward {reward:.3f}  trained {own} own + {foreign} foreign groups  "
            f"{peers:.1f} peers  {tokens:.0f} tokens/s  {self.left()} left"
        )

    def table(self) -> Group:
        table = Table(box=None, padding=(0, 2))
        for name in ("node", "round", "reward", "own", "foreign", "peers", "tokens/s"):
            table.add_column(name, justify="left" if name == "node" else "right")
        for index, row in enumerate(self.rows):
            last = row.last
            table.add_row(
                f"{index} …{last.peer_id[-6:]}" if last else str(index),
                f"{row.rounds}/{self.rounds[index]}",
                f"{last.reward_mean:.3f}" if last else "",
                str(row.own),
                str(row.foreign),
                str(last.peers) if last else "",
                f"{row.tokens / max(self.elapsed(), 1e-9):.0f}",
            )
        foot = Table.grid(padding=(0, 1))
        foot.add_row(ProgressBar(total=1.0, completed=self.done, width=50), Text(f"{self.done:.0%}  {self.left()} left"))
        return Group(Text(self.label), table, foot) if self.label else Group(table, foot)


@contextmanager
def show_progress(rounds: Sequence[int], label: str, *, plain: bool) -> Iterator[Progress]:
    """Show the progress of nodes towards their `rounds` while the context lasts.

    Yields the listener for their events.
    """
    board = _Board(rounds, label)
    if plain:
        yield _plain(board)
        return
    with Live(board.table(), console=Console(stderr=True), refresh_per_second=4) as live:

        def listen(index: int, event: Event) -> None:
            if isinstance(event, RoundFinished):
                board.take(index, event)
                live.update(board.table())

        yield listen


def _plain(board: _Board) -> Progress:
    shown = 0

    def listen(index: int, event: Event) -> None:
        nonlocal shown
        if isinstance(event, PartRestarted):
            print(f"node {index}: {event.part} began again after {event.error}", file=sys.stderr, flush=True)
        if isinstance(event, RoundFinished):
            board.take(index, event)
            if board.slowest > shown:
                shown = board.slowest
                print(board.line(), file=sys.stderr, flush=True)

    return listen
