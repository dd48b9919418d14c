"""The policy's child process: holds model, optimizer and engine, and answers the handle's requests (policy.py).

The fork server imports this module once for all children, so importing it must neither run a torch operation nor start a
thread nor touch a GPU: a fork would inherit half of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.models.auto import modeling_auto  # noqa: F401 - what follows is imported lazily, seconds per child
from transformers.models.llama import modeling_llama  # noqa: F401
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from protocols.messages import Completion
from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import HomeError, PolicyError
from swarm.policy import checkpoint
from swarm.policy.generation import CacheEngine, Engine
from swarm.policy.model import LanguageModel, load, load_base, public_name
from swarm.policy.optimizer import Optimizer
from swarm.policy.updates import train
from swarm.records import TrainingGroup

# Above this many weights hashing them takes longer than a fair share of a step, so the digest in the policy tag is
# that of the last load or checkpoint.
DIGEST_EVERY_STEP_BELOW = 50_000_000


def main(arguments: Mapping[str, Any]) -> Mapping[str, Callable[[Any], Any]]:
    """Make the handlers. `arguments`: sections `policy`, `generation`, `training` as mappings; `checkpoint`, a path or None."""
    config = PolicySection(**arguments["policy"])
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its thread pool would fight the other processes for the cores
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(config.threads)
    worker = Worker(config, GenerationSection(**arguments["generation"]), TrainingSection(**arguments["training"]))
    worker.open(arguments["checkpoint"])
    return {
        "hello": worker.hello,
        "generate": worker.generate,
        "train": worker.train,
        "save": worker.save,
        "export": worker.export,
    }


class Worker:
    """The policy's state and what can be asked of it. Bodies and answers are plain values for MessagePack."""

    def __init__(self, config: PolicySection, generation: GenerationSection, training: TrainingSection) -> None:
        self._config = config
        self._temperature = generation.temperature
        self._training = training

    def open(self, path: str | None) -> None:
        """Load the base model, or continue from a checkpoint."""
        if path is None:
            self._policy = load_base(self._config)
            self._base_digest = self._policy.digest().hex()
        else:
            meta = checkpoint.meta(Path(path))
            self._check_base(meta, path)
            self._policy = load(Path(path) / checkpoint.MODEL, self._config)
            self._base_digest = meta["base_digest"]
        # Bit-exact resuming needs it; on a GPU some operations have no deterministic form and would be refused.
        torch.use_deterministic_algorithms(self._policy.device.type == "cpu")
        self._optimizer = Optimizer(self._policy.parameters, self._training)
        if path is not None:
            self._restore_optimizer(Path(path) / checkpoint.OPTIMIZER, meta["step"])
        self._engine: Engine = CacheEngine(self._policy)
        self._reference = self._load_reference() if self._training.beta > 0 else None
        self._digest = self._policy.digest()

    def hello(self, _: Any) -> dict[str, Any]:
        """What the handle needs to know: the tag and the number of weights."""
        return {"tag": self._tag(), "parameters": self._policy.size}

    def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Per prompt, the samples as [text, finished, log-probability, token ids]."""
        started = time.perf_counter()
        prompts = self._policy.encode_prompts(body["prompts"])
        groups = self._engine.sample(
            prompts,
            num_generations=body["num_generations"],
            max_tokens=body["max_completion_length"],
            temperature=body["temperature"],
            seed=body["seed"],
        )
        texts = iter(self._policy.decode([sampled.token_ids for group in groups for sampled in group]))
        rows = [[[next(texts), s.finished, s.logprob, s.token_ids] for s in group] for group in groups]
        return {"groups": rows, "seconds": time.perf_counter() - started}

    def train(self, body: list[dict[str, Any]]) -> dict[str, Any]:
        """One round's updates on the groups."""
        started = time.perf_counter()
        figures = train(
            self._policy,
            self._reference,
            self._optimizer,
            [_training_group(fields) for fields in body],
            self._training,
            self._temperature,
        )
        if self._policy.size < DIGEST_EVERY_STEP_BELOW:
            self._digest = self._policy.digest()
        return {
            "tag": self._tag(),
            **asdict(figures),
            "seconds": time.perf_counter() - started,
        }

    def save(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write a checkpoint below the folder `directory`."""
        started = time.perf_counter()
        self._digest = self._policy.digest()
        meta = {
            "base_model": self._config.model,
            "base_revision": self._config.revision,
            "base_digest": self._base_digest,
            "digest": self._digest.hex(),
            "settings_digest": hashlib.sha256(json.dumps(asdict(self._training), sort_keys=True).encode()).hexdigest(),
        }
        path = checkpoint.write(Path(body["directory"]), self._optimizer.steps, meta, body["node_state"], self._fill)
        return {"tag": self._tag(), "path": str(path), "seconds": time.perf_counter() - started}

    def export(self, directory: str) -> None:
        """Write a plain Hugging Face folder; refuses one that holds anything, and leaves nothing behind if it fails."""
        target = Path(directory)
        partial = target.with_name(f".writing-{target.name}")
        try:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise PolicyError(f"{target} exists and is not an empty folder; name a new one")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            self._policy.save(partial)
            if target.exists():
                target.rmdir()
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise HomeError(f"cannot write {target}: {error}; free space or choose another folder") from None

    def _tag(self) -> list[Any]:
        return [public_name(self._config), self._digest, self._optimizer.steps]

    def _fill(self, folder: Path) -> None:
        tensors = {f"optimizer:{name}": tensor for name, tensor in self._optimizer.state().items()}
        tensors["random:cpu"] = torch.get_rng_state()
        if self._policy.device.type == "cuda":
            tensors["random:cuda"] = torch.cuda.get_rng_state(self._policy.device)
        self._policy.save(folder / checkpoint.MODEL)
        try:
            save_file(tensors, folder / checkpoint.OPTIMIZER)
        except SafetensorError as error:  # the library's own wrapping of an operating system error
            raise OSError(str(error)) from error

    def _restore_optimizer(self, path: Path, steps: int) -> None:
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise PolicyError(f"cannot read {path}: {error}; remove that checkpoint to continue from the one before") from None
        torch.set_rng_state(tensors["random:cpu"])
        if self._policy.device.type == "cuda" and "random:cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random:cuda"], self._policy.device)
        prefix = "optimizer:"
        self._optimizer.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, steps)

    def _check_base(self, meta: Mapping[str, Any], path: str) -> None:
        if (meta["base_model"], meta["base_revision"]) != (self._config.model, self._config.revision):
            raise PolicyError(
                f"the checkpoint {path} continues {meta['base_model']} {meta['base_revision']}, but policy.model is "
                f"{self._config.model} {self._config.revision}; set it back or move the checkpoints away"
            )

    def _load_reference(self) -> LanguageModel:
        reference = load_base(self._config)
        if reference.digest().hex() != self._base_digest:
            raise PolicyError(
                f"the base model {self._config.model} is not the one that training began with, and training.beta > 0 needs that "
                "one; pin policy.revision, or set training.beta = 0"
            )
        for parameter in reference.model.parameters():
            parameter.requires_grad_(False)
        return reference


def _training_group(fields: Mapping[str, Any]) -> TrainingGroup:
    return TrainingGroup(
        prompt=fields["prompt"],
        completions=tuple(Completion(*completion) for completion in fields["completions"]),
        rewards=tuple(fields["rewards"]),
        weights=tuple(fields["weights"]),
        foreign=fields["foreign"],
        token_ids=None if fields["token_ids"] is None else tuple(map(tuple, fields["token_ids"])),
        min_probability=fields["min_probability"],
    )
