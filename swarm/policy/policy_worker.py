"""The policy's child process: holds model, optimizer and engine, and answers the handle's requests
(policy.py).

The fork server imports this module once for all children, so importing it must neither run a torch
operation nor start a thread nor touch a GPU: a fork would inherit half of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.models.auto import modeling_auto  # noqa: F401 - what follows is imported lazily, seconds per child
from transformers.models.llama import modeling_llama  # noqa: F401
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from protocols.messages import Completion
from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import HomeError, PolicyError
from swarm.policy import checkpoint
from swarm.policy.engine.choose import ends_of, open_engine
from swarm.policy.engine.likelihood import log_likelihoods
from swarm.policy.engine.room import fits
from swarm.policy.fit.fitting import RATES, kind_of_training, recomputes
from swarm.policy.fit.memory import Memory, machine_bytes
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.merging import Merging
from swarm.policy.model.model import LanguageModel, device_for, dtype_of, load, load_base
from swarm.policy.model.tensor_file import write_tensors
from swarm.policy.public_name import public_name
from swarm.policy.update.loss_scale import LossScale
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.rounds import train
from swarm.policy.update.trainer import Trainer
from swarm.records import Prompt, TrainingGroup, Turn

# Above this many weights hashing them takes longer than a fair share of a step, so the digest in
# the policy tag is that of the last load or checkpoint.
DIGEST_EVERY_STEP_BELOW = 50_000_000


def main(arguments: Mapping[str, Any]) -> Mapping[str, Callable[[Any], Any]]:
    """Make the handlers of requests from `arguments`.

    policy, generation, training   sections of settings, as mappings
    checkpoint                     a path, or None for the base model
    trained                        whether the policy will be trained
    handover                       files for the weights after every update, the best place first
    """
    config = PolicySection(**arguments["policy"])
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its thread pool would fight the other processes for the cores
    # Passes of ever other sizes would cut a full card's memory into pieces too small for the next.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    disable_progress_bar()
    set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)  # of libraries about each other
    torch.set_num_threads(config.threads)
    generation, training = GenerationSection(**arguments["generation"]), TrainingSection(**arguments["training"])
    worker = Worker(config, generation, training, handover=arguments.get("handover", ()))
    worker.open(arguments["checkpoint"], trained=arguments.get("trained", True))
    return {
        "hello": worker.hello,
        "generate": worker.generate,
        "converse": worker.converse,
        "fits": worker.fits,
        "log_likelihoods": worker.log_likelihoods,
        "train": worker.train,
        "take": worker.take,
        "save": worker.save,
        "export": worker.export,
    }


class Worker:
    """The policy's state, and a method for each request.

    Bodies and answers are plain values for MessagePack.
    """

    def __init__(
        self, config: PolicySection, generation: GenerationSection, training: TrainingSection, *, handover: Sequence[str] = ()
    ) -> None:
        self._config = config
        self._generation = generation
        self._training = training
        self._handover = list(map(Path, handover))

    def open(self, path: str | None, *, trained: bool = True) -> None:
        """Load the base model or a checkpoint; the optimizer's state only where the policy will be
        `trained`."""
        device = device_for(self._config)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # streams, graphs and Triton's kernels go by the current one
        if path is None:
            # A policy that only answers gets no adapter of "auto": that depends on what is free
            # beside a daemon.
            as_it_is = "none" if self._config.adapter == "auto" else self._config.adapter
            self._recipe = AdapterSpec.of(self._config, kind_of_training(self._config) if trained else as_it_is)
            self._settle_dtype(device, trained=trained)
            self._policy = load_base(self._config, quantised=self._recipe.kind == "qlora")
            self._base_digest = self._policy.digest().hex()
            self._base_dtype: torch.dtype | None = self._policy.dtype
            if self._recipe.kind != "none":
                self._policy.adapt(self._recipe)
        else:
            meta = checkpoint.meta(Path(path))
            self._check_base(meta, path)
            self._recipe = self._recorded_recipe(meta, path)
            self._base_digest, self._base_dtype = meta["base_digest"], _dtype(meta.get("base_dtype"))
            self._settle_dtype(device, trained=trained)
            self._policy = self._continued(Path(path) / checkpoint.MODEL)
        self._policy.end_by(self._generation.stop)
        if trained and recomputes(self._config, self._recipe):
            self._policy.recompute()
        if self._policy.device.type == "cuda" and self._policy.dtype != torch.float32:
            torch.set_float32_matmul_precision("high")  # an adapter's products, which are finer than its base all the same
        # Bit-exact resuming needs it; on a GPU some operations have no deterministic form and would
        # be refused.
        torch.use_deterministic_algorithms(self._policy.device.type == "cpu")
        rate = self._training.learning_rate or RATES[self._recipe.kind]
        self._training = replace(self._training, learning_rate=rate)
        self._optimizer = Optimizer(self._policy.parameters, self._training)
        if path is not None and not trained:
            self._optimizer.steps = meta["step"]
        elif path is not None:
            self._restore_optimizer(Path(path) / checkpoint.OPTIMIZER, meta["step"])
        self._memory = Memory(self._policy, self._config.memory, trained=trained)
        self._engine = open_engine(self._policy, self._generation, self._memory)
        self._merging = Merging(self._policy, 0 if self._generation.engine == "vllm" else machine_bytes())  # vLLM merges itself
        self._ends = ends_of(self._policy, self._generation)
        reference = self._load_reference() if self._training.beta > 0 else None
        self._trainer = Trainer(
            self._policy,
            self._optimizer,
            self._training,
            self._memory,
            reference,
            self._generation.temperature,
            LossScale(self._policy.dtype),
        )
        self._digest = self._policy.digest()

    def _settle_dtype(self, device: torch.device, *, trained: bool) -> None:
        """Write the type of the weights into the settings, now that it is known what is trained."""
        dtype = dtype_of(self._config.dtype, device, self._recipe.kind)
        if trained and dtype == torch.float16 and self._recipe.kind == "none":
            raise PolicyError(
                "policy.dtype = float16 loses the small steps of training all weights; set it to auto, or policy.adapter = lora"
            )
        self._config = replace(self._config, dtype=str(dtype).removeprefix("torch."))

    def hello(self, _: Any) -> dict[str, Any]:
        """Return what the handle needs: the tag, the number of weights and the kind of adapter."""
        return {"tag": self._tag(), "parameters": self._policy.size, "adapter": self._recipe.kind}

    def generate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Sample; per prompt, rows of [text, finished, log-probability, token ids]."""
        asked = list(map(_prompt, body["prompts"]))
        return self._sampled(asked, self._policy.encode_prompts(asked), body)

    def converse(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Like `generate`, cut where the model's positions end, and the number of tokens of each
        prompt.

        A model without a chat template has learned to answer one prompt: of a conversation it gets
        the last turn.
        """
        asked = list(map(_prompt, body["prompts"]))
        if not self._policy.tokenizer.chat_template:
            asked = [prompt if isinstance(prompt, str) else prompt[-1:] for prompt in asked]
        prompts = self._policy.encode_prompts(asked)
        room = self._policy.max_length - max(map(len, prompts))
        if room < 1:
            raise PolicyError(f"the prompt fills the model's {self._policy.max_length} positions; shorten it")
        cut = {**body, "max_completion_length": min(body["max_completion_length"], room)}
        return {**self._sampled(asked, prompts, cut), "prompt_tokens": list(map(len, prompts))}

    def _sampled(self, asked: list[Prompt], prompts: list[list[int]], body: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        with self._merging.merged():
            groups = self._engine.sample(
                prompts,
                num_generations=body["num_generations"],
                max_tokens=body["max_completion_length"],
                temperature=body["temperature"],
                seed=body["seed"],
            )
        owners = [prompt for prompt, group in zip(asked, groups, strict=True) for _ in group]
        texts = iter(self._policy.decode_completions(owners, [each.token_ids for group in groups for each in group]))
        rows = [
            [
                [Completion(self._ends.cut(next(texts)), s.finished, len(s.token_ids), s.logprob).to_array(), s.token_ids]
                for s in group
            ]
            for group in groups
        ]
        shortages = self._memory.take_shortages()
        return {"tag": self._tag(), "groups": rows, "out_of_memory": shortages, "seconds": time.perf_counter() - started}

    def fits(self, body: list[Any]) -> list[bool]:
        """Return which tasks the model has room for; `body` is [prompts, solutions, max tokens]."""
        prompts, solutions, max_tokens = body
        return fits(self._policy, list(map(_prompt, prompts)), solutions, max_tokens)

    def log_likelihoods(self, body: list[list[Any]]) -> list[float]:
        """Return how likely texts are as answers to prompts; `body` is [prompts, texts]."""
        prompts, texts = body
        return log_likelihoods(self._policy, list(map(_prompt, prompts)), texts, self._generation.temperature, self._memory)

    def train(self, body: list[dict[str, Any]]) -> dict[str, Any]:
        """Make one round's updates on the groups."""
        started = time.perf_counter()
        figures = train(self._trainer, [_training_group(fields) for fields in body])
        if sum(weight.numel() for _, weight in self._policy.parameters) < DIGEST_EVERY_STEP_BELOW:
            self._digest = self._policy.digest()
        handed = self._hand_over() if self._handover else None
        return {
            "tag": self._tag(),
            "handover": handed,
            **asdict(figures),
            "out_of_memory": self._memory.take_shortages(),
            "seconds": time.perf_counter() - started,
        }

    def _hand_over(self) -> str:
        """Write the weights for the second process; return where they are."""
        meta = {"digest": self._digest.hex(), "steps": str(self._optimizer.steps)}
        while True:
            try:
                self._policy.write_trained(self._handover[0], meta)
            except HomeError:
                if len(self._handover) == 1:
                    raise
                self._handover.pop(0)  # too little room there, now as later
            else:
                return str(self._handover[0])

    def take(self, path: str) -> int:
        """Load the weights that another process handed over; return their step."""
        meta = self._policy.read_trained(Path(path))
        self._digest, self._optimizer.steps = bytes.fromhex(meta["digest"]), int(meta["steps"])
        return self._optimizer.steps

    def save(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write a checkpoint below the folder `directory`."""
        started = time.perf_counter()
        self._digest = self._policy.digest()
        meta = {
            "base_model": self._config.model,
            "base_revision": self._config.revision,
            "base_digest": self._base_digest,
            "base_dtype": str(self._base_dtype or self._policy.dtype).removeprefix("torch."),
            "dtype": str(self._policy.dtype).removeprefix("torch."),
            "adapter": asdict(self._recipe),
            "digest": self._digest.hex(),
            "settings_digest": hashlib.sha256(json.dumps(asdict(self._training), sort_keys=True).encode()).hexdigest(),
        }
        path = checkpoint.write(Path(body["directory"]), self._optimizer.steps, meta, body["node_state"], self._fill)
        return {"tag": self._tag(), "path": str(path), "seconds": time.perf_counter() - started}

    def export(self, directory: str) -> None:
        """Write a plain Hugging Face folder, an adapter merged into its base.

        Refuses a folder that holds anything, and leaves nothing behind where it fails.
        """
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
        return [public_name(self._config.model), self._digest, self._optimizer.steps]

    def _fill(self, folder: Path) -> dict[str, str]:
        """Write model and optimizer; return the sum of the large file."""
        tensors = {f"optimizer:{name}": tensor for name, tensor in self._optimizer.state().items()}
        tensors["random:cpu"] = torch.get_rng_state()
        if self._policy.device.type == "cuda":
            tensors["random:cuda"] = torch.cuda.get_rng_state(self._policy.device)
        self._policy.save(folder / checkpoint.MODEL, adapter_of=public_name(self._config.model))
        return {checkpoint.OPTIMIZER: write_tensors(folder / checkpoint.OPTIMIZER, tensors)}

    def _restore_optimizer(self, path: Path, steps: int) -> None:
        prefix = "optimizer:"
        try:
            with safe_open(path, "pt") as file:  # one tensor at a time
                names = set(file.keys())
                torch.set_rng_state(file.get_tensor("random:cpu"))
                if self._policy.device.type == "cuda" and "random:cuda" in names:
                    torch.cuda.set_rng_state(file.get_tensor("random:cuda"), self._policy.device)
                state = ((name.removeprefix(prefix), file.get_tensor(name)) for name in sorted(names) if name.startswith(prefix))
                self._optimizer.restore(state, steps)
        except (OSError, SafetensorError) as error:
            raise PolicyError(f"cannot read {path}: {error}; remove that checkpoint to continue from the one before") from None

    def _check_base(self, meta: Mapping[str, Any], path: str) -> None:
        if (meta["base_model"], meta["base_revision"]) != (self._config.model, self._config.revision):
            raise PolicyError(
                f"the checkpoint {path} continues {meta['base_model']} {meta['base_revision']}, but policy.model is "
                f"{self._config.model} {self._config.revision}; set it back or move the checkpoints away"
            )

    def _recorded_recipe(self, meta: Mapping[str, Any], path: str) -> AdapterSpec:
        """Return what the checkpoint trained.

        Raises `PolicyError` where the settings ask for anything else.
        """
        recorded = AdapterSpec(**meta.get("adapter", asdict(AdapterSpec.of(self._config, "none"))))
        kind = recorded.kind if self._config.adapter == "auto" else self._config.adapter
        # No setting asks for an alpha, so a checkpoint keeps its own.
        wanted = replace(AdapterSpec.of(self._config, kind), alpha=recorded.alpha)
        if wanted != recorded and (wanted.kind, recorded.kind) != ("none", "none"):
            raise PolicyError(
                f"the checkpoint {path} was trained with policy.adapter = {recorded.kind} (rank {recorded.rank}, targets "
                f"{recorded.targets}), and the settings say {wanted.kind} (rank {wanted.rank}, targets {wanted.targets}); set "
                "them back or move the checkpoints away"
            )
        return recorded

    def _continued(self, folder: Path) -> LanguageModel:
        """Load a checkpoint's policy: all its weights, or the base and the checkpoint's adapter."""
        if self._recipe.kind == "none":
            return load(folder, self._config)
        policy = load_base(self._config, quantised=self._recipe.kind == "qlora")
        if policy.digest(self._base_dtype).hex() != self._base_digest:
            raise PolicyError(
                f"the base model {self._config.model} is not the one that the adapter in {folder} was trained on; pin "
                "policy.revision to the one before, set policy.dtype and policy.device back, or move the checkpoints away"
            )
        policy.adapt(self._recipe)
        if policy.adapter is not None:
            policy.adapter.load(folder)
        return policy

    def _load_reference(self) -> LanguageModel:
        if self._policy.adapter is not None:
            return self._policy  # with the adapter off
        reference = load_base(self._config)
        if reference.digest(self._base_dtype).hex() != self._base_digest:
            raise PolicyError(
                f"the base model {self._config.model} is not the one that training began with, and training.beta > 0 needs that "
                "one; pin policy.revision, or set training.beta = 0"
            )
        for parameter in reference.model.parameters():
            parameter.requires_grad_(False)
        return reference


def _dtype(name: str | None) -> torch.dtype | None:
    """Return the type that a checkpoint names; None where it is of before types were recorded."""
    return None if name is None else getattr(torch, name)


def _prompt(fields: str | list[list[str]]) -> Prompt:
    return fields if isinstance(fields, str) else tuple(Turn(*turn) for turn in fields)


def _training_group(fields: Mapping[str, Any]) -> TrainingGroup:
    return TrainingGroup(
        prompt=_prompt(fields["prompt"]),
        completions=tuple(Completion(*completion) for completion in fields["completions"]),
        rewards=tuple(fields["rewards"]),
        weights=tuple(fields["weights"]),
        foreign=fields["foreign"],
        token_ids=None if fields["token_ids"] is None else tuple(map(tuple, fields["token_ids"])),
        min_probability=fields["min_probability"],
        max_tokens=fields["max_tokens"],
    )
