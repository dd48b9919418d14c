"""How much of the device's memory the policy may use, and what happens when there is less.

One dial, `policy.memory`, gives a budget in bytes. Weights, gradients and the optimizer's state
always take their part. The rest decides how many completions are sampled at once (`slots`) and how
many tokens a training pass has (`micro_batch_tokens`). Both are estimates from the model's shape.
Where an estimate was too high, or another program took the memory, the device runs out. Then the
work at hand is dropped (`Attempt`), the size is lowered (`fewer_slots`, `smaller_micro_batch`), and
the same work is done in smaller pieces. It costs only time, and every shortage is counted. After
some work without one the size grows again (limit.py).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from swarm.errors import PolicyError
from swarm.policy.fit.estimate import GIB, TRAINED_BYTES, Shape, shape_of
from swarm.policy.fit.limit import Limit
from swarm.policy.model.logprobs import worth_slicing
from swarm.policy.model.model import LanguageModel

# Rows sampled at once: more need memory and gain nothing, since the arithmetic is busy by then.
MAX_ROWS = 1024
# Texts scored at once at most, and their tokens with prompts and padding: of 16,384 the mask of a
# pass takes up to half a GiB.
SCORED_ROWS, SCORED_TOKENS = 64, 16_384
# Tokens of a training pass at most, padding included.
PASS_TOKENS, PASS_TOKENS_CUDA = 16_384, 32_768
# Tokens of a training pass with room for which nothing is thrown away that sampling needs again.
BESIDE = 8192
# The part that estimates leave free for fragments, the libraries' workspaces and one slice of
# logits.
MARGIN = 0.1
# A process's context on a GPU.
CONTEXT = int(0.4 * GIB)


class Memory:
    """The sizes that the policy's memory allows.

    A shortage lowers a size and is counted; at the smallest size it raises `PolicyError`.
    """

    def __init__(self, language_model: LanguageModel, share: float, *, trained: bool = True) -> None:
        self._device = language_model.device
        spare = budget(language_model.device, share) - resident_bytes(language_model, trained=trained)
        spare -= head_bytes(language_model) if trained else 0
        self._free = spare * (1 - MARGIN)  # bytes for what comes and goes
        self._slot_bytes, self._place_bytes = slot_bytes(language_model)
        self._token_bytes = token_bytes(language_model)
        self._scored_bytes = scored_bytes(language_model)
        self.most_slots = Limit(MAX_ROWS)
        self.most_scored = Limit(SCORED_TOKENS)
        self.most_tokens = Limit(PASS_TOKENS_CUDA if language_model.device.type == "cuda" else PASS_TOKENS)
        self._shortages = 0
        self._kept = 0  # bytes that stay while something else is done
        self._held: list[Callable[[], None]] = []

    def take_shortages(self) -> int:
        """Return how often memory ran out since the last call."""
        taken, self._shortages = self._shortages, 0
        return taken

    def on_shortage(self, drop: Callable[[], None]) -> None:
        """Call `drop`, which frees what can be made again, whenever memory has run out."""
        self._held.append(drop)

    def slots(self, length: int) -> int:
        """Return how many completions may be sampled at once, each with its prompt of at most
        `length` tokens."""
        return max(1, min(self.most_slots.now, int(self._free // (self._slot_bytes + self._place_bytes * length))))

    def share(self) -> float:
        """Return the part of a GPU's memory that generation may take beside the policy's own
        weights while nothing is trained."""
        return max(0.05, self._free / torch.cuda.mem_get_info(self._device)[1])

    def taken(self, size: int) -> None:
        """Leave out `size` bytes that something else in this process keeps from now on."""
        self._free -= max(0, size)

    def holds(self, size: int) -> bool:
        """Whether `size` bytes may stay allocated between two calls of sampling; training then has
        that much less, and must have room for a good pass."""
        self._kept = size if size <= max(self._free // 4, self._free - BESIDE * self._token_bytes) else 0
        return self._kept == size

    def micro_batch_tokens(self) -> int:
        """Return the tokens of one forward and backward pass."""
        return max(1, min(self.most_tokens.now, int((self._free - self._kept) // self._token_bytes)))

    def scored_tokens(self) -> int:
        """Return the tokens of texts scored in one pass, prompts and padding included."""
        return max(1, min(self.most_scored.now, int((self._free - self._kept) // self._scored_bytes)))

    def fewer_slots(self, now: int) -> None:
        """Halve the slots after `now` of them ran out of memory.

        Raises `PolicyError` if it was one.
        """
        self._shortage()
        if now <= 1:
            raise PolicyError(
                "the device has too little memory to sample even one completion; lower generation.max_completion_length, give "
                "policy.memory more, or take a smaller policy.model"
            )
        self.most_slots.lower(now)

    def fewer_scored(self, tokens: int, texts: int) -> None:
        """Halve the pass that scores texts after one of `tokens` tokens ran out of memory.

        Raises `PolicyError` if it had one text only.
        """
        self._shortage()
        if texts <= 1:
            raise PolicyError(
                "the device has too little memory for even one answer; give policy.memory more, or take a smaller policy.model"
            )
        self.most_scored.lower(tokens)

    def smaller_micro_batch(self, tokens: int, rows: int, *, again: bool) -> None:
        """Halve the micro-batch after a pass ran out of memory.

        Raises `PolicyError` if one completion alone failed twice (`again`).
        """
        self._shortage()
        if rows <= 1 and again:
            raise PolicyError(
                "the device has too little memory to train on even one completion; lower generation.max_completion_length, give "
                "policy.memory more, or train adapters instead of all weights, or a smaller policy.model"
            )
        self.most_tokens.lower(tokens)

    def step_failed(self, again: bool) -> None:
        """Free memory after the optimizer's step ran out of it.

        Raises `PolicyError` the second time (`again`).
        """
        self._shortage()
        if again:
            raise PolicyError(
                "the device has too little memory for the optimizer; train adapters instead of all weights, or a smaller "
                "policy.model"
            )

    def _shortage(self) -> None:
        self._shortages += 1
        for drop in self._held:
            drop()
        self._kept = 0
        give_back(self._device)


class Attempt:
    """Work that may run out of memory: `with Attempt() as tried:` ends quietly then.

    Afterwards `tried.ran_out` says whether it did; every other error passes. Make room only after
    the block: inside it the error still holds the tensors of all frames that it came through.
    """

    ran_out = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.ran_out = error is not None and ran_out(error)
        return self.ran_out


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    # The CPU's allocator and Apple's GPU have no class of their own for it, nor have NVIDIA's
    # libraries.
    words = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def give_back(device: torch.device) -> None:
    """Return unreferenced memory to the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def budget(device: torch.device, share: float) -> int:
    """Return the bytes that the policy may use on this device: the setting `policy.memory`."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        ours = torch.cuda.memory_reserved(device)
        free += ours
    else:
        total = machine_bytes()
        free = total * 5 // 9  # nine tenths of which are half of the machine's
    if share == 0:
        return int(free * 0.9)
    return int(total * share) if share <= 1 else int(share * GIB)


def room(device: torch.device, share: float) -> int:
    """Return the bytes that a whole estimate has to fit into.

    An estimate counts the process with its context. What is free on a GPU is counted beside a
    context that is there already.
    """
    return budget(device, share) + (CONTEXT if device.type == "cuda" and share == 0 else 0)


def machine_bytes() -> int:
    """Return the bytes of the machine's memory, or of a container's limit; 8 GiB where the system
    does not say."""
    names = getattr(os, "sysconf_names", {})
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else 8 * GIB
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no such limit, or "max"
        return total


def resident_bytes(language_model: LanguageModel, *, trained: bool = True) -> int:
    """Return the bytes of the weights, and with `trained` of what training keeps beside them."""
    total = 0
    for weight in language_model.model.parameters():
        total += weight.numel() * weight.element_size()
        if trained and weight.requires_grad:
            total += weight.numel() * TRAINED_BYTES
    return total


def slot_bytes(language_model: LanguageModel) -> tuple[int, int]:
    """Bytes of a completion that is sampled: a fixed part, and a part per token of it and its
    prompt."""
    shape, size = _shape(language_model), language_model.dtype.itemsize
    # The fixed part: logits, and in float32 what draws from them.
    return shape.vocabulary * (size + 5 * 4), shape.cache_bytes(size)


def token_bytes(language_model: LanguageModel) -> int:
    """Bytes that a training pass keeps for each token, roughly."""
    recompute, adapter = checkpoints_layers(language_model), language_model.adapter is not None
    return _shape(language_model).pass_bytes(language_model.dtype.itemsize, recompute=recompute, adapter=adapter)


def head_bytes(language_model: LanguageModel) -> int:
    """Bytes of the head's gradient as it is added up; 0 where the head is not trained, or its table
    of logits is small."""
    shape = _shape(language_model)
    trained = language_model.model.get_output_embeddings().weight.requires_grad
    return shape.head_bytes(language_model.dtype.itemsize) if trained and worth_slicing(PASS_TOKENS, shape.vocabulary) else 0


def scored_bytes(language_model: LanguageModel) -> int:
    """Bytes of a token that is scored without a gradient: its keys and values, and one layer's
    work."""
    return _shape(language_model).scored_bytes(language_model.dtype.itemsize)


def checkpoints_layers(language_model: LanguageModel) -> bool:
    """Whether layers are forwarded again in the backward pass instead of being remembered (gradient
    checkpointing)."""
    return any(getattr(module, "gradient_checkpointing", False) for module in language_model.model.modules())


def _shape(language_model: LanguageModel) -> Shape:
    return shape_of(language_model.model.config.to_dict())
