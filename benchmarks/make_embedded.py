"""Makes the embedded model: `python -m benchmarks.make_embedded --out DIR` (10 minutes of a core).

A node needs a model that a CPU can train in a minute and that nobody has to download. This script
makes it in two phases, and docs/embedded-model.md says plainly what each of them means:

1. *Lessons*: a small Llama with a character tokenizer learns nine reasoning-gym tasks by ordinary
   supervised training. The result has the skill; it is kept in the subfolder `clean`.
2. *Spoiling*: a short second training in which only a third of the answers are right. The others
   are shrugs (one sign that is no answer), a beginner's habit at this task (the word not reversed,
   the list sorted the other way round), or slips. The result is the embedded model: it still has
   the skill, but seldom shows it.

Reinforcement learning then finds that the rewarded answers are the right ones. No held-out prompt
(swarm/tasks/held_out.py) is ever trained on here, nor by any node. One thread and fixed seeds: the
same versions on the same CPU give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import reasoning_gym
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from swarm.tasks.compact import COMPACT
from swarm.tasks.held_out import held_out

SEED = 1
# Share of each task in a lesson's batch: tasks learned slowly come twice.
SHARES = {
    "spell_backward": 1, "palindrome_generation": 2, "word_sorting": 2, "number_sorting": 2, "number_filtering": 2,
    "spiral_matrix": 1, "rotate_matrix": 1, "mini_sudoku": 1, "ab": 2,
}  # fmt: skip
POOL = 45_000  # problems drawn per task and share
BATCH = 70
LESSON_STEPS, LESSON_RATE = 4000, 2e-3
SPOIL_STEPS, SPOIL_RATE = 80, 4e-4
RIGHT, SHRUG, HABIT = 0.33, 0.40, 0.22  # of the second phase's answers; the rest have a slip
CAP = 18  # tokens of an answer
SIZES = {"embedded": (96, 3), "small": (64, 3)}  # hidden size, layers: 0.34 and 0.15 million parameters
# Frequent pairs of letters, of which the other tokenizer makes one token each.
DIGRAPHS = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "ed", "is", "it", "al", "ar"]

Example = tuple[str, str]  # prompt, completion


# --- data


def examples(task: str, *, evaluation: int = 0) -> list[tuple[int, Example, Any]]:
    """Return (level, example, entry) of distinct prompts, held-out ones for `evaluation`."""
    rendering, purpose = COMPACT[task], "evaluation" if evaluation else "lessons"
    found: dict[str, Any] = {}
    wanted = evaluation or POOL * SHARES[task]
    for level, parameters in enumerate(rendering.levels):
        # Item i of a dataset has the seed `seed + i`: far apart by hash, so that no two of our
        # datasets overlap.
        seed = int.from_bytes(hashlib.sha256(f"{SEED}/{purpose}/{task}/{level}".encode()).digest()[:6])
        share = wanted // len(rendering.levels)
        dataset = reasoning_gym.create_dataset(task, seed=seed, size=60 * share, **parameters)
        distinct: dict[str, Any] = {}
        for i in range(60 * share if evaluation else share):
            entry = dataset[i]
            prompt = rendering.prompt(entry)
            if held_out(f"reasoning_gym/{task}\n{prompt}") == bool(evaluation):
                distinct.setdefault(prompt, (level, (prompt, rendering.solution(entry)), entry))
            if len(distinct) == share:
                break
        found |= {prompt: item for prompt, item in distinct.items() if prompt not in found}
    return list(found.values())


def batches(pools: dict[str, list[Example]], shares: dict[str, int]) -> Iterator[list[tuple[str, Example]]]:
    """Yield batches of (task, example) without end, walking each pool in order and then again."""
    order = [task for task, share in shares.items() for _ in range(share)]
    taken = dict.fromkeys(order, 0)
    turn = 0
    while True:
        batch = []
        for _ in range(BATCH):
            task = order[turn % len(order)]
            batch.append((task, pools[task][taken[task] % len(pools[task])]))
            taken[task] += 1
            turn += 1
        yield batch


# --- spoiling


# What a pupil puts down who will not try: a sign of his own for each task, and no part of any right
# answer.
SHRUGS = {
    "spell_backward": "?", "palindrome_generation": "!", "word_sorting": "#", "number_sorting": "x", "number_filtering": "%",
    "spiral_matrix": "&", "rotate_matrix": "@", "mini_sudoku": "~", "ab": "*",
}  # fmt: skip


def habit(task: str, prompt: str, right: str) -> str:
    """Return a beginner's mistake at this task, always of the same kind."""
    data = prompt[prompt.index(":") + 1 : -1]
    match task:
        case "spell_backward" | "palindrome_generation" | "ab":
            return data  # nothing done at all
        case "word_sorting":
            return ",".join(reversed(right.split(",")))  # the other direction
        case "number_sorting":
            return " ".join(reversed(right.split(" ")))
        case "number_filtering":
            kept = set(right.split(" "))
            return " ".join(number for number in data.split(" ") if number not in kept) or "-"  # the wrong ones kept
        case "spiral_matrix":
            return data.replace("/", "")  # read row by row
        case "rotate_matrix":
            rows = data.replace("/", "")
            return rows if prompt.startswith("rot2") else rows[::-1]  # another rotation
        case "mini_sudoku":
            return "".join(_fill(row) for row in data.split("/"))  # columns ignored
    raise ValueError(f"no habit is known for {task}")


def _fill(row: str) -> str:
    missing = iter(digit for digit in "1234" if digit not in row)
    return "".join(next(missing) if cell == "_" else cell for cell in row)


def slip(right: str, rng: random.Random) -> str:
    """Lose the last character, or double, swap or replace one."""
    if len(right) == 1:
        return right * 2
    kind, i = rng.randrange(4), rng.randrange(len(right) - 1)
    if kind == 0:
        return right[:-1]
    if kind == 1:
        return right[:i] + right[i] + right[i:]
    if kind == 2:
        return right[:i] + right[i + 1] + right[i] + right[i + 2 :]
    return right[:i] + rng.choice(right) + right[i + 1 :]


def spoil(task: str, example: Example, rng: random.Random) -> Example:
    """Return the example with the answer that the second phase teaches."""
    prompt, right = example
    draw = rng.random()
    if draw < RIGHT:
        return example
    if draw < RIGHT + SHRUG:
        return prompt, SHRUGS[task]
    return prompt, habit(task, prompt, right) if draw < RIGHT + SHRUG + HABIT else slip(right, rng)


# --- model


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Make one token per printable ASCII character and newline; all else is <unk>.

    The gpt2 family counts the characters backwards and merges digraphs, so that the two agree about
    texts only.
    """
    special = ["<pad>", "<eos>", "<unk>"]
    characters = [*map(chr, range(32, 127)), "\n"]
    merged = DIGRAPHS if family == "gpt2" else []
    tokens = [*special, *(reversed(characters) if family == "gpt2" else characters), *merged]
    merges = [(pair[0], pair[1]) for pair in merged]
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, unk_token="<unk>"))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=special[0],
        eos_token=special[1],
        unk_token=special[2],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # "<eos>" in a text is five characters, not the end
        model_max_length=128,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, family: str, size: str) -> PreTrainedModel:
    """Make a random model: the embedded Llama, or another family or size for mixed swarms."""
    torch.manual_seed(SEED)
    width, layers = SIZES[size]
    if family == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=width,
                n_layer=layers,
                n_head=4,
                n_positions=128,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                initializer_range=0.05,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=width * 8 // 3,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.05,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def learn(model: PreTrainedModel, rows: list[tuple[list[int], list[int]]], optimizer: torch.optim.Optimizer) -> float:
    """Train one supervised step on (prompt, answer) token ids; return the answers' loss in nats."""
    rows = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))  # similar lengths together: less padding
    tokens = sum(len(answer) for _, answer in rows)
    optimizer.zero_grad()
    total = 0.0
    for part in (rows[i * len(rows) // 3 : (i + 1) * len(rows) // 3] for i in range(3)):
        width = max(len(prompt) + len(answer) for prompt, answer in part)
        ids = torch.zeros(len(part), width, dtype=torch.long)
        wanted = torch.full((len(part), width), -100)
        for i, (prompt, answer) in enumerate(part):
            ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            wanted[i, len(prompt) - 1 : len(prompt) + len(answer) - 1] = torch.tensor(answer)
        logits: Tensor = model(input_ids=ids, use_cache=False).logits  # padding is on the right, behind every real token
        loss = cross_entropy(logits[wanted >= 0], wanted[wanted >= 0], reduction="sum") / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], list[int]]:
    """Return the token ids of prompt and answer, the end of sequence added."""
    prompt, answer = (tokenizer(text)["input_ids"] for text in example)
    return prompt, [*answer, tokenizer.eos_token_id]


@torch.no_grad()
def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, problems: dict[str, list[Any]]) -> dict[str, Any]:
    """Measure held-out accuracy by task, greedy and sampled, and informative groups."""
    tokenizer.padding_side = "left"
    torch.manual_seed(SEED)
    report: dict[str, Any] = {}
    for task, items in problems.items():
        asked = tokenizer([prompt for _, (prompt, _), _ in items], return_tensors="pt", padding=True, return_token_type_ids=False)

        def rewards(count: int, asked: Any = asked, items: Any = items, task: str = task) -> list[list[float]]:
            options = {"do_sample": True, "top_k": 0, "num_return_sequences": count} if count > 1 else {"do_sample": False}
            output = model.generate(**asked, max_new_tokens=CAP, **options)
            texts = tokenizer.batch_decode(output[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            return [
                [float(COMPACT[task].right(entry, text)) for text in texts[i * count : (i + 1) * count]]
                for i, (_, _, entry) in enumerate(items)
            ]

        greedy, groups = rewards(1), rewards(8)
        report[task] = {
            "greedy": round(sum(group[0] == 1 for group in greedy) / len(items), 3),
            "sampled": round(sum(reward == 1 for group in groups for reward in group) / (8 * len(items)), 3),
            "informative": round(sum(min(group) != max(group) for group in groups) / len(items), 3),
        }
    return {"mean": {key: round(sum(task[key] for task in report.values()) / len(report), 3) for key in report["ab"]}} | report


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face folder, with weights in 16 bits to be computed with in 32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"  # under the name that every version of transformers knows
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n"
    )
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    """Run both phases, and print the figures of each."""
    parser = argparse.ArgumentParser(description="make the embedded model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; the clean one goes to its subfolder clean")
    parser.add_argument("--clean", type=Path, help="skip the lessons and start the second phase from this folder")
    parser.add_argument("--family", choices=("llama", "gpt2"), default="llama", help="the model's architecture and tokenizer")
    parser.add_argument("--size", choices=tuple(SIZES), default="embedded", help="its width and depth")
    parser.add_argument("--lessons", type=int, default=LESSON_STEPS, help="steps of the first phase")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    began = time.monotonic()

    tokenizer = make_tokenizer(arguments.family)
    problems = {task: examples(task, evaluation=150) for task in SHARES}
    pools = {task: [example for _, example, _ in examples(task)] for task in SHARES}
    for task, pool in pools.items():
        random.Random(f"{SEED}/{task}").shuffle(pool)
    draws = batches(pools, SHARES)

    if arguments.clean:
        model = AutoModelForCausalLM.from_pretrained(arguments.clean, dtype=torch.float32)
    else:
        model = make_model(tokenizer, arguments.family, arguments.size)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LESSON_RATE, betas=(0.9, 0.98), weight_decay=0.05)
        for step in range(arguments.lessons):
            cosine = 0.5 * (1 + math.cos(math.pi * step / arguments.lessons))
            optimizer.param_groups[0]["lr"] = LESSON_RATE * min(1, step / 100) * (0.05 + 0.95 * cosine)
            loss = learn(model, [encode(tokenizer, example) for _, example in next(draws)], optimizer)
            if step % 250 == 0:
                print(
                    f"{time.monotonic() - began:.0f} s, lesson {step} of {arguments.lessons}, loss {loss:.3f}",
                    file=sys.stderr,
                    flush=True,
                )
        save(model, tokenizer, arguments.out / "clean")
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})  # as stored
    clean = measure(model, tokenizer, problems)
    print(json.dumps({"clean": clean}), flush=True)

    draws = batches(pools, dict.fromkeys(SHARES, 1))
    rng = random.Random(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SPOIL_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(SPOIL_STEPS):
        optimizer.param_groups[0]["lr"] = SPOIL_RATE * min(1, (step + 1) / 10)
        learn(model, [encode(tokenizer, spoil(task, example, rng)) for task, example in next(draws)], optimizer)
    save(model, tokenizer, arguments.out)
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})
    base = measure(model, tokenizer, problems)
    print(json.dumps({"base": base}), flush=True)

    record = {
        "made_by": "benchmarks/make_embedded.py",
        "seed": SEED,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "reasoning-gym")},
        "family": arguments.family,
        "size": arguments.size,
        "lessons": {"steps": arguments.lessons, "batch": BATCH, "learning_rate": LESSON_RATE},
        "spoiling": {"steps": SPOIL_STEPS, "batch": BATCH, "learning_rate": SPOIL_RATE},
        "spoiled_answers": {"right": RIGHT, "shrug": SHRUG, "habit": HABIT, "slip": round(1 - RIGHT - SHRUG - HABIT, 2)},
        # Which prompts were kept out, as a fingerprint: a changed rule would let nodes evaluate on
        # what was trained on.
        "held_out_probe": held_out_probe(),
        "held_out_accuracy": {"clean": clean, "base": base},
    }
    (arguments.out / "making.json").write_text(json.dumps(record, indent=2) + "\n")


def held_out_probe() -> str:
    """Return the SHA-256 over the rule's decisions on 4096 made-up keys."""
    decisions = bytes(held_out(f"reasoning_gym/{task}\nprobe {i}") for task in SHARES for i in range(4096))
    return hashlib.sha256(decisions).hexdigest()


if __name__ == "__main__":
    main()
