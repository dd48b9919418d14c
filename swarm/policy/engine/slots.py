"""A fixed number of completions in flight, each in a slot of one key-value cache that is allocated
once.

On a GPU decoding steps are recorded as CUDA graphs. Experimental: not run on a GPU yet.

A slot's keys and values lie from its first place on, prompt and completion without a gap:

    slot 0  [prompt][completion ........]
    slot 1  [prompt][completion ...]
    slot 2  [prompt][completion ............]

so a token's place is its position, and a row sees all places up to its own. A slot is filled by
copying its prompt's keys and values, which were computed once for the group. Nothing here ever
moves in memory, so a CUDA device can record one decoding step (some 600 kernels for 24 layers) as a
graph and replay it; launching the kernels one by one takes several times as long as they run. A
graph has fixed shapes: there is one for each number of rows and width of cache, both rounded up.

One uniform number per completion and place decides its token, through the cumulated distribution.
So the seed alone decides what is sampled. The number of slots, the slot of a completion, and a
second beginning after memory ran out change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swarm.errors import PolicyError
from swarm.policy.fit.memory import ran_out
from swarm.policy.model.model import LanguageModel

logger = logging.getLogger(__name__)

# Places by which the width of the cache that a step looks at grows.
WIDTH = 64


class SlotCache:
    """A cache as Hugging Face models take it: S slots of L places, of which a step sees the first
    rows and places."""

    def __init__(self, keys_and_values: Tensor) -> None:
        self.whole = keys_and_values  # [layers, 2, S, heads, L, head width]
        self.rows = self.width = 0
        self.places = torch.empty(0)

    def show(self, rows: int, width: int, places: Tensor) -> None:
        """Set the part that the next step reads; it writes at `places` [rows]."""
        self.rows, self.width, self.places = rows, width, places

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values of one place [rows, heads, 1, head width]; return all that
        the step sees."""
        where = self.places[:, None, None, None].expand_as(keys)
        held = self.whole[layer, :, : self.rows]
        held[0].scatter_(2, where, keys)
        held[1].scatter_(2, where, values)
        return held[0, :, :, : self.width], held[1, :, :, : self.width]

    def get_seq_length(self, *_: Any) -> int:
        """Unused: positions and masks are given."""
        return 0


class Slots:
    """S rows of at most L tokens, prompts included. The first R of them take part in a step."""

    def __init__(self, language_model: LanguageModel, count: int, length: int) -> None:
        self._lm = language_model
        self.count = count
        self.length = -(-length // WIDTH) * WIDTH
        self._last = min(self.length, language_model.max_length) - 1
        config = language_model.model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        device = language_model.device
        vocabulary = language_model.model.get_input_embeddings().num_embeddings
        # Zeros: unseen places are multiplied by 0, and uninitialised memory may hold a NaN.
        whole = torch.zeros(
            config.num_hidden_layers, 2, count, heads, self.length, width, dtype=language_model.dtype, device=device
        )
        self._cache = SlotCache(whole)
        self._logits = torch.zeros(count, vocabulary, dtype=language_model.dtype, device=device)
        self._tokens = torch.zeros(count, dtype=torch.long, device=device)
        self._places = torch.zeros(count, dtype=torch.long, device=device)  # of the row's next token
        self._completions = torch.zeros(count, dtype=torch.long, device=device)  # which one a slot holds
        self._steps = torch.zeros(count, dtype=torch.long, device=device)  # how many tokens of it there are
        self._graphs: dict[tuple[int, int], Any] | None = {} if device.type == "cuda" else None
        self._pool: Any = None

    @property
    def size(self) -> int:
        """Bytes of the cache and of the distributions."""
        return sum(each.numel() * each.element_size() for each in (self._cache.whole, self._logits))

    @property
    def replays(self) -> bool:
        """Whether steps are replayed from graphs, so that their shapes should be few."""
        return self._graphs is not None

    def fill(self, slots: Sequence[int], completions: Sequence[int], prompt: Tensor, logits: Tensor) -> None:
        """Put completions of one prompt into free slots.

        `prompt` is its keys and values [layers, 2, heads, P, head width], `logits` [V] those of the
        next token.
        """
        where = torch.tensor(slots, device=self._lm.device)
        width = prompt.shape[3]
        self._cache.whole[:, :, where, :, :width] = prompt[:, :, None]
        self._logits[where] = logits
        self._places[where] = width
        self._completions[where] = torch.tensor(completions, device=self._lm.device)
        self._steps[where] = 0

    def move(self, source: int, target: int) -> None:
        """Move a row to a free slot."""
        self._cache.whole[:, :, target] = self._cache.whole[:, :, source]
        for each in (self._logits, self._tokens, self._places, self._completions, self._steps):
            each[target] = each[source]

    def advance(self, rows: int, furthest: int, steps: int, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Sample `steps` tokens of each of the first `rows` slots, the longest of which has
        `furthest` places.

        Returns tokens and their log-probabilities, [rows, steps] on the CPU. `uniforms` is
        [completions, places], in [0, 1).
        """
        tokens = torch.empty(rows, steps, dtype=torch.long, device=self._lm.device)
        logprobs = torch.empty(rows, steps, device=self._lm.device)
        sound = torch.ones((), dtype=torch.bool, device=self._lm.device)
        for step in range(steps):
            places = self._steps[:rows].clamp(max=uniforms.shape[1] - 1)
            uniform = uniforms[self._completions[:rows], places]
            token, logprob = draw(self._logits[:rows], temperature, uniform)
            tokens[:, step], logprobs[:, step] = token, logprob
            sound &= logprob.isfinite().all()
            self._tokens[:rows] = token
            width = min(self.length, -(-(furthest + step + 1) // WIDTH) * WIDTH)
            self._forward(rows, width)
            # A row that has ended writes on until somebody looks, but never outside its own slot.
            self._places[:rows] = (self._places[:rows] + 1).clamp(max=self._last)
            self._steps[:rows] += 1
        if not sound:
            raise PolicyError("the policy's weights give no finite probabilities; go back to an earlier checkpoint")
        return tokens.cpu(), logprobs.cpu()

    def _forward(self, rows: int, width: int) -> None:
        """Forward the tokens of the first `rows` slots behind the first `width` places, and keep
        their logits."""
        if self._graphs is None:
            self._plain(rows, width)
            return
        graph = self._graphs.get((rows, width))
        if graph is None:
            try:
                graph = self._graphs[rows, width] = self._record(rows, width)
            except RuntimeError as error:
                if ran_out(error):
                    raise
                logger.warning("decoding steps cannot be recorded as CUDA graphs, so they are slower: %s", error)
                self._graphs = None
                self._plain(rows, width)
                return
        graph.replay()

    def _plain(self, rows: int, width: int) -> None:
        places = self._places[:rows]
        self._cache.show(rows, width, places)
        sees = torch.arange(width, device=self._lm.device) <= places[:, None]  # [R, W]
        ids, positions = self._tokens[:rows, None], places[:, None]
        logits = self._lm.logits(ids, sees[:, None, None], positions, self._cache, last_only=True)
        self._logits[:rows] = logits[:, 0]

    def _record(self, rows: int, width: int) -> Any:
        # Recording needs a first run on a side stream, in which libraries make their workspaces. A
        # step may be repeated: it writes the same again.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._plain(rows, width)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._plain(rows, width)
        self._pool = self._pool or graph.pool()
        return graph


def draw(logits: Tensor, temperature: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token per row of `logits` [R, V] by `uniform` [R]; return tokens and their
    log-probabilities, each [R]."""
    scaled = logits.float()
    if temperature not in (0, 1):
        scaled = scaled / temperature
    normaliser = scaled.logsumexp(-1, keepdim=True)
    if temperature == 0:
        token = scaled.argmax(-1, keepdim=True)
    else:
        # In float64: 150,000 float32 additions would lose the likes of a token of probability 1e-7.
        cumulated = (scaled - normaliser).exp_().cumsum(-1, dtype=torch.float64)
        threshold = uniform[:, None] * cumulated[:, -1:]
        token = (cumulated <= threshold).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    return token[:, 0], (scaled.gather(-1, token) - normaliser)[:, 0]
