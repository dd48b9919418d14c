"""Generation, training step and what fits on this machine's GPU, with random weights.

Models have true shapes; nothing is downloaded.

    python -m benchmarks.cost.gpu [--rows generation,training,fits,vllm] [--small]

Prints one JSON object. Generation is compared with transformers' own `generate`, called once per
completion (a few of them) and once for all; every completion has exactly its number of tokens. The
share of the bandwidth limit is what a decoding step must read at least (all weights, all keys and
values so far) against what a large copy reaches. A training step is compared with the same one with
the whole table of logits; its FLOPs are 6 per weight and token, against what a large matrix product
reaches. What fits is tried with no more memory than the card in question has. vLLM's own speed is
that of the same prompts without handing weights over. `--small` runs the same code on tiny shapes,
on whatever there is, as without a GPU: only that says that the script works.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.engine.continuous import SlotEngine
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Memory, resident_bytes
from swarm.policy.model import logprobs
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import update
from swarm.records import TrainingGroup

# Shapes of Qwen2.5: hidden, feed-forward, layers, heads, key-value heads, vocabulary, tied
# embeddings.
SHAPES = {
    "tiny": (64, 160, 2, 4, 2, 4000, True),
    "0.5B": (896, 4864, 24, 14, 2, 151936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151936, True),
    "7B": (3584, 18944, 28, 28, 4, 152064, False),
}
PROMPT = 96
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="generation,training,fits,vllm")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    small = options.small or not torch.cuda.is_available()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report: dict[str, Any] = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "small": small}
    report |= {"torch": torch.__version__, "liger_kernel": importlib.util.find_spec("liger_kernel") is not None}
    rows = options.rows.split(",")
    if "generation" in rows:
        report["generation"] = generation(device, *(("tiny", 4, 4, 32) if small else ("0.5B", 64, 8, 256)))
    if "training" in rows:
        report["training"] = training(device, *(("tiny", 2, 4, 48, 4096) if small else ("0.5B", 8, 8, 512, 8192)))
    if "fits" in rows:
        cases = [("tiny", "none", 1)] if small else [("0.5B", "none", 8), ("1.5B", "lora", 12), ("7B", "qlora", 24)]
        report["fits"] = [fits(device, *case, tokens=32 if small else 512) for case in cases]
    if "vllm" in rows:
        report["vllm"] = vllm(device, *(("tiny", 4, 4, 32) if small else ("0.5B", 64, 8, 256)))
    print(json.dumps(report, indent=1))


def generation(device: str, shape: str, prompts: int, generations: int, tokens: int) -> dict[str, Any]:
    lm = open_model(device, shape)
    memory = Memory(lm, 0.0)
    engine = SlotEngine(lm, Ends((), (), lambda ids: ""), memory)
    asked = random_tokens(lm, prompts, PROMPT)
    count = prompts * generations

    def ours() -> Any:
        return engine.sample(asked, num_generations=generations, max_tokens=tokens, temperature=1.0, seed=1)

    first = seconds(ours, device)  # the graphs are recorded in it
    steady = seconds(ours, device)
    slots = min(count, memory.slots(PROMPT + tokens))
    engine.release()
    wide = torch.tensor(asked, device=device).repeat_interleave(generations, 0)
    settings = {"do_sample": True, "top_k": 0, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}

    def theirs(ids: torch.Tensor) -> float:
        with torch.no_grad():
            return seconds(lambda: lm.model.generate(ids, attention_mask=torch.ones_like(ids), **settings), device)

    theirs(wide[:1])
    alone, few = 0.0, min(3, count)
    for row in range(few):
        alone += theirs(wide[row : row + 1])
    batched = theirs(wide)
    speed = count * tokens / steady
    config = lm.model.config
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    read = lm.size * lm.dtype.itemsize + slots * cached * lm.dtype.itemsize * (PROMPT + tokens / 2)
    return {
        "shape": shape,
        "prompts": prompts,
        "completions": count,
        "tokens": tokens,
        "slots": slots,
        "tokens_per_s": round(speed),
        "tokens_per_s_first_call": round(count * tokens / first),
        "generate_once_per_completion_tokens_per_s": round(few * tokens / alone),
        "generate_in_one_batch_tokens_per_s": round(count * tokens / batched),
        "times_once_per_completion": round(speed / (few * tokens / alone), 2),
        "times_one_batch": round(batched / steady, 2),
        "bandwidth_share": round(read * (tokens * count / slots) / steady / copied_bytes_per_s(device), 3),
        "out_of_memory": memory.take_shortages(),
    }


def training(device: str, shape: str, groups: int, generations: int, tokens: int, pass_tokens: int) -> dict[str, Any]:
    lm = open_model(device, shape)
    settings = TrainingSection(learning_rate=1e-6)
    batch = make_batch(lm, random_groups(lm, groups, generations, tokens), settings, pass_tokens)

    trainer = Trainer(lm, Optimizer(lm.parameters, settings), settings, Memory(lm, 0.0))

    def step() -> None:
        update(trainer, batch)

    sliced, slice_ = {}, logprobs.SLICE
    if shape == "tiny":
        logprobs.SLICE = 1 << 16
    for name in ("sliced", "full_logits"):
        if name == "full_logits":
            logprobs.SLICE = 1 << 62
        step()
        before = reset_peak(device)
        took = seconds(step, device)
        sliced[name] = {
            "tokens_per_s": round(batch.tokens / took),
            "peak_gib": peak_gib(device),
            "peak_above_resident_gib": round(torch.cuda.max_memory_allocated() / GIB - before, 3) if device == "cuda" else None,
            "mfu": round(6 * lm.size * batch.tokens / took / flops_per_s(device, lm.dtype), 3),
        }
    logprobs.SLICE = slice_
    return {
        "shape": shape,
        "completions": batch.completions,
        "tokens": batch.tokens,
        "passes": len(batch.micro_batches),
        **sliced,
    }


def fits(device: str, shape: str, kind: str, gib: float, tokens: int) -> dict[str, Any]:
    """Measure the peak memory of sampling and updates, with `policy.memory` at `gib`."""
    case = {"shape": shape, "kind": kind, "within_gib": gib}
    if kind == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        return {**case, "left_out": "bitsandbytes is not installed"}
    reset_peak(device)
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / total))
    lm = open_model(device, shape, kind)
    lm.recompute()
    settings = TrainingSection(learning_rate=1e-6)
    memory = Memory(lm, gib)
    trainer = Trainer(lm, Optimizer(lm.parameters, settings), settings, memory)
    engine = SlotEngine(lm, Ends((), (), lambda ids: ""), memory)
    engine.sample(random_tokens(lm, 8, PROMPT), num_generations=8, max_tokens=tokens, temperature=1.0, seed=1)
    sampling = peak_gib(device)
    pass_tokens = memory.micro_batch_tokens()
    for _ in range(2):
        batch = make_batch(lm, random_groups(lm, 8, 8, tokens), settings, pass_tokens)
        update(trainer, batch)
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {
        **case,
        "peak_gib": peak_gib(device),
        "peak_sampling_gib": sampling,
        "estimated_resident_gib": round(resident_bytes(lm) / GIB, 3),
        "pass_tokens": pass_tokens,
        "out_of_memory": memory.take_shortages(),
    }


def vllm(device: str, shape: str, prompts: int, generations: int, tokens: int) -> dict[str, Any]:
    """Compare our use of vLLM, which hands the weights over for every call, with vLLM alone."""
    case: dict[str, Any] = {"shape": shape, "completions": prompts * generations, "tokens": tokens}
    if device != "cuda" or importlib.util.find_spec("vllm") is None:
        return {**case, "left_out": "vllm is not installed" if device == "cuda" else "vllm needs a CUDA card"}
    from swarm.policy.engine.vllm import VllmEngine

    reset_peak(device)
    lm = open_model(device, shape)
    engine = VllmEngine(lm, Ends((), (), lambda ids: ""), (), Memory(lm, 0.0))
    asked = random_tokens(lm, prompts, PROMPT)

    def ours() -> Any:
        return engine.sample(asked, num_generations=generations, max_tokens=tokens, temperature=1.0, seed=1)

    ours()
    took = seconds(ours, device)
    import vllm as library

    settings = library.SamplingParams(n=generations, max_tokens=tokens, temperature=1.0, ignore_eos=True, logprobs=0)
    engine._llm.wake_up()  # with whatever weights: they do not change how long it takes
    requests = [{"prompt_token_ids": each} for each in asked]
    alone = seconds(lambda: engine._llm.generate(requests, settings, use_tqdm=False), device)
    count = prompts * generations * tokens
    return {
        **case,
        "tokens_per_s": round(count / took),
        "vllm_tokens_per_s": round(count / alone),
        "share": round(alone / took, 3),
    }


def open_model(device: str, shape: str, kind: str = "none") -> LanguageModel:
    """Open a model of random weights, by way of a folder as any other."""
    gc.collect()
    hidden, inner, layers, heads, cached, vocabulary, tied = SHAPES[shape]
    config = Qwen2Config(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=cached,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=32768,
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    tokenizer = Tokenizer(models.WordLevel({"<end>": 0, "<unknown>": 1, "a": 2}, unk_token="<unknown>"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with torch.device(device):
            AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>").save_pretrained(folder)
        section = PolicySection(model=str(folder), device=device)
        lm = load_base(section, quantised=kind == "qlora")
        if kind != "none":
            lm.adapt(AdapterSpec.of(section, kind))
    return lm


def random_tokens(lm: LanguageModel, count: int, length: int) -> list[list[int]]:
    rng, vocabulary = random.Random(0), lm.model.config.vocab_size
    return [[rng.randrange(2, vocabulary) for _ in range(length)] for _ in range(count)]


def random_groups(lm: LanguageModel, groups: int, generations: int, tokens: int) -> list[TrainingGroup]:
    ids = [tuple(row) for row in random_tokens(lm, groups * generations, tokens)]
    completions = (Completion("", False, tokens, -1.0),) * generations
    rewards = tuple(float(number % 2) for number in range(generations))
    prompt, weights = " ".join(["a"] * PROMPT), (1.0,) * generations
    firsts = range(0, len(ids), generations)
    return [TrainingGroup(prompt, completions, rewards, weights, False, tuple(ids[i : i + generations])) for i in firsts]


def seconds(work: Callable[[], Any], device: str) -> float:
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: str) -> float:
    """Forget the peak so far; return the GiB that are allocated now."""
    gc.collect()
    if device != "cuda":
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / GIB


def peak_gib(device: str) -> float | None:
    return round(torch.cuda.max_memory_allocated() / GIB, 3) if device == "cuda" else None


def copied_bytes_per_s(device: str) -> float:
    source = torch.zeros(GIB if device == "cuda" else 1 << 26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(seconds(lambda: target.copy_(source), device) for _ in range(5))
    return 2 * source.numel() / best


def flops_per_s(device: str, dtype: torch.dtype) -> float:
    width = 8192 if device == "cuda" else 512
    one = torch.randn(width, width, device=device, dtype=dtype)
    best = min(seconds(lambda: one @ one, device) for _ in range(5))
    return 2 * width**3 / best


if __name__ == "__main__":
    main()
