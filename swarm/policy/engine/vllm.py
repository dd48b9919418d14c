"""vLLM as the engine (`generation.engine = "vllm"`): faster for long answers and large models on a
CUDA card.

Experimental: not run on a GPU yet.

vLLM runs in this process, with its own copy of the weights and its own cache. Between two calls it
frees both (sleep mode, level 2), so that training has the card. Each call wakes it, copies the
present weights from GPU memory to GPU memory, and then lets it make its cache again, without
prefixes of older weights. Of a policy with an adapter it gets the merged model.

vLLM's own kernels compute its log-probabilities, so they differ from training's by rounding. They
are those of the distribution that was sampled from, at its temperature (`logprobs_mode`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from torch import Tensor

from swarm.errors import PolicyError
from swarm.policy.engine.cache import Sampled, check_room
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel


class VllmEngine:
    """An `Engine`. Raises `PolicyError` where vLLM is not installed, or there is no CUDA card."""

    def __init__(self, language_model: LanguageModel, ends: Ends, stop: Sequence[str], memory: Memory) -> None:
        # Weights can only be handed over inside one process. vLLM reads this when it is imported.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            import vllm
        except ImportError as error:
            raise PolicyError(
                f"generation.engine = vllm needs vLLM ({error}); install it with: pip install 'swarmd[vllm]', or set it to auto"
            ) from None
        if language_model.device.type != "cuda":
            raise PolicyError(
                "generation.engine = vllm runs on a CUDA card; set policy.device = cuda, or generation.engine = auto"
            )
        if language_model.device.index:
            raise PolicyError(
                f"generation.engine = vllm takes the first card it sees, and the policy is on {language_model.device}; set "
                "policy.device = cuda:0 and the environment's CUDA_VISIBLE_DEVICES to the card that is meant"
            )
        self._lm = language_model
        self._ends = ends
        self._stop = list(stop)
        self._vllm = vllm
        with tempfile.TemporaryDirectory() as folder:  # the shape and the tokenizer; the weights come with the first call
            language_model.model.config.save_pretrained(folder)
            language_model.tokenizer.save_pretrained(folder)
            try:
                self._llm = vllm.LLM(
                    model=folder,
                    load_format="dummy",
                    dtype=str(language_model.dtype).removeprefix("torch."),
                    gpu_memory_utilization=memory.share(),
                    enable_sleep_mode=True,
                    logprobs_mode="processed_logprobs",
                )
            except (RuntimeError, ValueError) as error:  # a model that it does not know, or too little room for its cache
                raise PolicyError(
                    f"vLLM does not start: {error}; set generation.engine = auto, or raise policy.memory"
                ) from error
        self._llm.sleep(level=2)

    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """See `Engine`."""
        if not prompts:
            return []
        check_room(self._lm, prompts, max_tokens)
        seeds = Random(seed)
        settings = [
            self._vllm.SamplingParams(
                n=num_generations,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seeds.getrandbits(31),
                logprobs=0,
                stop=self._stop,
                stop_token_ids=list(self._lm.stop_ids),
            )
            for _ in prompts
        ]
        try:
            self._llm.wake_up(tags=["weights"])  # first, so that its cache is not there yet while there are two copies
            self._hand_over()
            self._llm.wake_up(tags=["kv_cache"])
            self._llm.reset_prefix_cache()
            requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
            outputs = self._llm.generate(requests, settings, use_tqdm=False)
        finally:
            self._llm.sleep(level=2)
        return [[sampled(each, self._ends, max_tokens) for each in output.outputs] for output in outputs]

    def release(self) -> None:
        """Does nothing: vLLM sleeps between two calls."""

    def _hand_over(self) -> None:
        weights = list(self._weights())
        self._llm.apply_model(lambda model: model.load_weights(weights))

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        model = self._lm.model if self._lm.adapter is None else self._lm.adapter.merged()
        for name, weight in model.named_parameters():
            yield name, weight.detach()


def sampled(output: Any, ends: Ends, max_tokens: int) -> Sampled:
    """Convert one of vLLM's completions; tokens behind the one that ended it are left out."""
    ids = list(output.token_ids)
    length = ends.length(ids, 0)
    kept = ids[: min(length or max_tokens, max_tokens)]
    chosen = zip(kept, output.logprobs, strict=False)
    return Sampled(kept, length is not None, sum(each[token].logprob for token, each in chosen))
