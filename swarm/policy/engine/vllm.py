"""vLLM as the engine (`generation.engine = "vllm"`): faster for long answers and large models on a
CUDA card.

Experimental: not run on a GPU yet.

vLLM runs in this process, with its own copy of the weights and its own cache. Between two calls it
frees both (sleep mode, level 2), so that training has the card. Each call wakes it, copies the
present weights within the card's memory, and then lets it make its cache again, without prefixes of
older weights. An adapter is added to its base one layer at a time on the way.

vLLM's own kernels compute its log-probabilities, so they differ from training's by rounding. They
are those of the distribution that was sampled from, at its temperature (`logprobs_mode`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import platformdirs
import torch
from torch import Tensor

from swarm.errors import PolicyError
from swarm.policy.engine.cache import Sampled, check_room
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Memory, give_back
from swarm.policy.model.model import LanguageModel

# vLLM reads these when it is imported.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights can only be handed over inside one process
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers' server about this machine
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for what was asked for
}


class VllmEngine:
    """An `Engine`. Raises `PolicyError` where vLLM is not installed, or there is no CUDA card."""

    def __init__(self, language_model: LanguageModel, ends: Ends, stop: Sequence[str], memory: Memory) -> None:
        os.environ |= _ENVIRONMENT
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
        free = self._free()
        try:
            self._llm = vllm.LLM(
                model=str(model_folder(language_model)),
                load_format="dummy",  # the weights come with the first call
                dtype=str(language_model.dtype).removeprefix("torch."),
                max_model_len=-1,  # as long as its cache has room for, not the model's whole length or nothing
                gpu_memory_utilization=memory.share(),
                enable_sleep_mode=True,
                logprobs_mode="processed_logprobs",
            )
        # A model that it does not know, too little room for its cache, or another program that took
        # some.
        except (RuntimeError, ValueError, AssertionError, OSError) as error:
            raise PolicyError(f"vLLM does not start: {error}; set generation.engine = auto, or raise policy.memory") from error
        self._llm.sleep(level=2)
        memory.taken(free - self._free())  # graphs and workspaces stay while it sleeps

    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """See `Engine`."""
        if not prompts:
            return []
        self._check_room(prompts, max_tokens)
        copies = num_generations if temperature == 0 else 1  # vLLM refuses to say the likeliest answer twice
        seeds = Random(seed)
        settings = [
            self._vllm.SamplingParams(
                n=num_generations // copies,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seeds.getrandbits(31),
                logprobs=0,
                stop=self._stop,
                stop_token_ids=list(self._lm.stop_ids),
                detokenize=bool(self._stop),
            )
            for _ in prompts
        ]
        try:
            give_back(self._lm.device)  # what training cached is most of the card
            self._llm.wake_up(tags=["weights"])  # first, so that its cache is not there yet while there are two copies
            self._llm.apply_model(lambda model: model.load_weights(self._weights()))
            give_back(self._lm.device)
            self._llm.wake_up(tags=["kv_cache"])
            self._llm.reset_prefix_cache()
            requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
            outputs = self._llm.generate(requests, settings, use_tqdm=False)
        finally:
            self._llm.sleep(level=2)
        return [[sampled(each, self._ends, max_tokens) for each in output.outputs] * copies for output in outputs]

    def release(self) -> None:
        """Does nothing: vLLM sleeps between two calls."""

    def _check_room(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> None:
        longest, most = check_room(self._lm, prompts, max_tokens), self._llm.model_config.max_model_len
        if longest > most:
            raise PolicyError(
                f"a prompt and its answer of {longest} tokens do not fit vLLM's cache of {most}; raise policy.memory, lower "
                "generation.max_completion_length, or set generation.engine = auto"
            )

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        if self._lm.adapter is not None:
            return self._lm.adapter.merged_weights()
        return ((name, weight.detach()) for name, weight in self._lm.model.named_parameters())

    def _free(self) -> int:
        give_back(self._lm.device)
        return torch.cuda.mem_get_info(self._lm.device)[0]


def model_folder(language_model: LanguageModel) -> Path:
    """Return a folder with the model's shape and tokenizer, without weights.

    It stays in the user's cache under a hash of its content: vLLM compiles anew for every path.
    """
    kept = platformdirs.user_cache_path("swarmd", appauthor=False) / "vllm"
    kept.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".writing-", dir=kept))
    try:
        config = language_model.model.config
        # A base in 4 bits is handed over whole.
        whole = {name: value for name, value in config.to_dict().items() if name != "quantization_config"}
        type(config).from_dict(whole).save_pretrained(partial)
        language_model.tokenizer.save_pretrained(partial)
        digest = hashlib.sha256()
        for path in sorted(partial.iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        folder = kept / digest.hexdigest()[:16]
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def sampled(output: Any, ends: Ends, max_tokens: int) -> Sampled:
    """Convert one of vLLM's completions; tokens behind the one that ended it are left out."""
    ids = list(output.token_ids)
    length = ends.length(ids, 0)
    kept = ids[: min(length or max_tokens, max_tokens)]
    chosen = zip(kept, output.logprobs, strict=False)
    return Sampled(kept, length is not None, sum(each[token].logprob for token, each in chosen))
