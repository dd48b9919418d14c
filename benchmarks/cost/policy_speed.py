"""Speed of the policy on one CPU thread: `python -m benchmarks.cost.policy_speed`.

Sampling is compared with transformers' own `generate`, and a training step in both layouts.
Prints one JSON object; times are CPU milliseconds, the best of several runs. `--forced` forbids the
end of sequence, so that every completion has exactly `--tokens` tokens (transformers' `generate`
always runs until its longest row has ended).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import update
from swarm.records import TrainingGroup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--forced", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lm = load_base(PolicySection(model=options.model, device="cpu"))
    if options.forced:
        forbid(lm, set(lm.stop_ids))
    rng = random.Random(0)
    texts = [
        f"{rng.randrange(100)}+{rng.randrange(1000)}+{rng.randrange(10 ** rng.randrange(1, 9))}=" for _ in range(options.prompts)
    ]
    prompts = lm.encode_prompts(texts)
    engine = CacheEngine(lm)

    def sample() -> Any:
        return engine.sample(prompts, num_generations=options.generations, max_tokens=options.tokens, temperature=1.0, seed=1)

    groups = sample()
    tokens = sum(len(sampled.token_ids) for group in groups for sampled in group)
    own_ms = milliseconds(sample, options.runs)
    hf_tokens, hf_ms = transformers_generate(lm, prompts, options)
    settings = TrainingSection(learning_rate=1e-9)
    batch = make_batch(lm, [training_group(lm, *pair, rng) for pair in zip(texts, groups, strict=True)], settings)
    cached = replace(batch, micro_batches=[replace(micro, packing=None) for micro in batch.micro_batches])
    trainer = Trainer(lm, Optimizer(lm.parameters, settings), settings, Memory(lm, 0.0))
    report = {
        "weights": lm.size,
        "generate": {"tokens": tokens, "ms": own_ms, "tokens_per_s": round(tokens / own_ms * 1e3)},
        "transformers_generate": {"tokens": hf_tokens, "ms": hf_ms, "tokens_per_s": round(hf_tokens / hf_ms * 1e3)},
        "train": {
            "completions": batch.completions,
            "tokens": batch.tokens,
            "ms": milliseconds(lambda: update(trainer, batch), options.runs),
            "ms_without_packing": milliseconds(lambda: update(trainer, cached), options.runs),
        },
    }
    print(json.dumps(report, indent=1))


def milliseconds(work: Callable[[], Any], runs: int) -> float:
    work()
    best = float("inf")
    for _ in range(runs):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return round(best * 1e3, 2)


def forbid(lm: LanguageModel, tokens: set[int]) -> None:
    """Keep the model from ever sampling these tokens."""
    head = lm.model.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[list(tokens)] = -1e9
    head.register_forward_hook(lambda module, inputs, output: output + bias)


def transformers_generate(lm: LanguageModel, prompts: list[list[int]], options: argparse.Namespace) -> tuple[int, float]:
    width = max(map(len, prompts))
    ids = torch.tensor([[lm.pad_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    ids, mask = ids.repeat_interleave(options.generations, 0), mask.repeat_interleave(options.generations, 0)

    def generate() -> Any:
        torch.manual_seed(1)
        return lm.model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=options.tokens, pad_token_id=lm.pad_id
        )

    rows = generate()[:, width:].tolist()
    ends = [next((i + 1 for i, token in enumerate(row) if token in lm.stop_ids), len(row)) for row in rows]
    return sum(ends), milliseconds(generate, options.runs)


def training_group(lm: LanguageModel, text: str, group: Any, rng: random.Random) -> TrainingGroup:
    ids = tuple(tuple(sampled.token_ids) for sampled in group)
    completions = tuple(Completion("", sampled.finished, len(sampled.token_ids), sampled.logprob) for sampled in group)
    rewards = tuple(rng.random() for _ in group)
    return TrainingGroup(text, completions, rewards, (1.0,) * len(group), False, ids)


if __name__ == "__main__":
    main()
