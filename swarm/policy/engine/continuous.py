"""Continuous batching: one completion per slot (slots.py); when it ends, the next one takes its
slot.

A round's groups wait in order. Prompts are forwarded a few groups ahead, in one batch, without the
completions. A free slot gets a copy of the next prompt. Every few steps the host looks which rows
have ended. When nothing waits, the rows that are left are moved together, so that the tail of a
round, a few long answers, is cheap.

Where memory runs out, in a prompt or in a step, everything is dropped and the slots are halved. The
completions that had not ended begin anew, and come out the same (slots.py says why).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from swarm.policy.engine.cache import Sampled, check_room
from swarm.policy.engine.ends import Ends
from swarm.policy.engine.slots import Slots
from swarm.policy.fit.memory import Attempt, Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.model.prefix import prefill

# Groups whose prompts are forwarded together, at least, and their tokens at most.
AHEAD = 8
PREFILL_TOKENS = 16384
# Steps of a GPU between two looks at what has ended: the host's work then hides behind the
# device's.
STRIDE = 8


# A prompt's number, and the numbers of its completions that are to be sampled.
Waiting = tuple[int, list[int]]


@dataclass(slots=True)
class _Occupied:
    """A completion in flight."""

    number: int
    prompt: int  # its length in tokens
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class SlotEngine:
    """An `Engine` for models whose attention goes by masks and positions alone
    (layout.takes_any_mask)."""

    def __init__(self, language_model: LanguageModel, ends: Ends, memory: Memory) -> None:
        self._lm = language_model
        self._ends = ends
        self._memory = memory
        self._slots: Slots | None = None
        memory.on_shortage(self.release)

    def release(self) -> None:
        """Free the cache; the next call makes it again."""
        self._slots = None

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """See `Engine`.

        Raises `PolicyError` when a prompt leaves no room for `max_tokens`, a weight is not finite,
        or the memory is too small for one completion.
        """
        if not prompts:
            return []
        check_room(self._lm, prompts, max_tokens)
        count = len(prompts) * num_generations
        generator = torch.Generator().manual_seed(seed)
        uniforms = torch.rand(count, max_tokens, dtype=torch.float64, generator=generator).to(self._lm.device)
        done: dict[int, Sampled] = {}
        for part in self._parts(prompts, num_generations, max_tokens):
            length = max(len(prompts[number]) for number in part) + max_tokens
            while waiting := _waiting(part, num_generations, done):
                slots = min(sum(len(numbers) for _, numbers in waiting), self._memory.slots(length))
                with Attempt() as tried:
                    run = self._run(slots, length, prompts, num_generations, max_tokens)
                    run.finish(waiting, done, uniforms, temperature)
                if tried.ran_out:
                    self._memory.fewer_slots(slots)
        self._memory.most_slots.passed()
        if self._slots is not None and not self._memory.holds(self._slots.size):
            self.release()
        return [[done[i] for i in range(first, first + num_generations)] for first in range(0, count, num_generations)]

    def _parts(self, prompts: Sequence[Sequence[int]], num_generations: int, max_tokens: int) -> list[list[int]]:
        """Divide the prompts, by number, among runs.

        One run, unless its rows do not all fit at the length of the longest. Then no row is more
        than twice as long as the shortest of its run, so that a long prompt takes no room of
        others.
        """
        needs = [len(prompt) + max_tokens for prompt in prompts]
        if len(prompts) * num_generations <= self._memory.slots(max(needs)):
            return [list(range(len(prompts)))]
        shortest = min(needs)
        classes: dict[int, list[int]] = {}
        for number, need in enumerate(needs):
            classes.setdefault((need // shortest).bit_length(), []).append(number)
        return [classes[size] for size in sorted(classes)]

    def _run(self, count: int, length: int, prompts: Sequence[Sequence[int]], num_generations: int, max_tokens: int) -> _Run:
        slots = self._slots
        if slots is None or slots.count < count or slots.length < length or slots.count > self._memory.slots(slots.length):
            self._slots = slots = None  # before its successor is made
            self._slots = slots = Slots(self._lm, count, length)
        return _Run(self._lm, self._ends, slots, prompts, num_generations, max_tokens)


def _waiting(part: Sequence[int], num_generations: int, done: dict[int, Sampled]) -> deque[Waiting]:
    """Return the prompts of `part`, each with its completions that are not in `done`."""
    all_ = ((prompt, range(prompt * num_generations, (prompt + 1) * num_generations)) for prompt in part)
    left = ((prompt, [number for number in numbers if number not in done]) for prompt, numbers in all_)
    return deque((prompt, numbers) for prompt, numbers in left if numbers)


class _Run:
    """One call's completions on their way through the slots."""

    def __init__(
        self,
        language_model: LanguageModel,
        ends: Ends,
        slots: Slots,
        prompts: Sequence[Sequence[int]],
        num_generations: int,
        max_tokens: int,
    ) -> None:
        self._lm = language_model
        self._ends = ends
        self._slots = slots
        self._prompts = prompts
        self._generations = num_generations
        self._max_tokens = max_tokens
        self._stride = min(STRIDE, max(1, max_tokens // 32)) if slots.replays else 1
        self._rows: list[_Occupied | None] = [None] * slots.count
        self._ready: deque[tuple[list[int], Tensor, Tensor]] = deque()  # completions to begin, keys and values, logits

    def finish(self, waiting: deque[Waiting], done: dict[int, Sampled], uniforms: Tensor, temperature: float) -> None:
        """Sample the completions of `waiting`, and put them into `done`."""
        while True:
            self._admit(waiting)
            if not any(self._rows):
                return
            rows = self._close_up() if not waiting and not self._ready else len(self._rows)
            live = [(slot, row) for slot, row in enumerate(self._rows) if row is not None]
            furthest = max(row.prompt + len(row.ids) for _, row in live)
            tokens, logprobs = self._slots.advance(rows, furthest, self._stride, uniforms, temperature)
            said, likely = tokens.tolist(), logprobs.tolist()
            for slot, row in live:
                if (sampled := self._look(row, said[slot], likely[slot])) is not None:
                    done[row.number] = sampled
                    self._rows[slot] = None

    def _look(self, row: _Occupied, tokens: list[int], logprobs: list[float]) -> Sampled | None:
        """Take a row's new tokens; return the completion if it ends in them."""
        seen = len(row.ids)
        row.ids += tokens
        row.logprobs += logprobs
        length = self._ends.length(row.ids[: self._max_tokens], seen)
        if length is None and len(row.ids) < self._max_tokens:
            return None
        kept = self._max_tokens if length is None else length
        return Sampled(row.ids[:kept], length is not None, sum(row.logprobs[:kept]))

    def _admit(self, waiting: deque[Waiting]) -> None:
        """Fill the free slots."""
        free = deque(slot for slot, row in enumerate(self._rows) if row is None)
        while free and (self._ready or waiting):
            if not self._ready:
                self._prefill(waiting, len(free))
            numbers, prompt, logits = self._ready[0]
            taken = [(free.popleft(), numbers.pop(0)) for _ in range(min(len(free), len(numbers)))]
            self._slots.fill([slot for slot, _ in taken], [number for _, number in taken], prompt, logits)
            for slot, number in taken:
                self._rows[slot] = _Occupied(number, prompt.shape[3])
            if not numbers:
                self._ready.popleft()

    def _prefill(self, waiting: deque[Waiting], free: int) -> None:
        """Forward the next groups' prompts: enough for the free slots, and a few ahead."""
        most = max(-(-free // self._generations), min(AHEAD, self._slots.count // self._generations))
        part: list[Waiting] = []
        width = 0
        while waiting and len(part) < most:
            width = max(width, len(self._prompts[waiting[0][0]]))
            if part and width * (len(part) + 1) > PREFILL_TOKENS:
                break
            part.append(waiting.popleft())
        prefix = prefill(self._lm, [self._prompts[prompt] for prompt, _ in part])
        for place, (prompt, numbers) in enumerate(part):
            length = len(self._prompts[prompt])
            pairs = [(layer.keys[place, :, -length:], layer.values[place, :, -length:]) for layer in prefix.cache.layers]
            self._ready.append((numbers, torch.stack([torch.stack(pair) for pair in pairs]), prefix.last[place]))

    def _close_up(self) -> int:
        """Move the rows that are left to the front; return how many slots take part in a step."""
        live = [slot for slot, row in enumerate(self._rows) if row is not None]
        wanted = len(live)
        if self._slots.replays:  # few shapes
            wanted = min(self._slots.count, 1 << (wanted - 1).bit_length())
        free = iter([slot for slot in range(wanted) if self._rows[slot] is None])
        for slot in live:
            if slot >= wanted:
                target = next(free)
                self._slots.move(slot, target)
                self._rows[target], self._rows[slot] = self._rows[slot], None
        return wanted
