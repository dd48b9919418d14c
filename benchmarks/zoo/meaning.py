"""What its own answers mean to a model that hears them from others."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.zoo.animals import LESSONS, Animal
from swarm.config.schema import DefencesSection, PolicySection
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.model.prefix import completion_logprobs
from swarm.policy.update.plausibility import plausible
from swarm.records import Prompt, Turn

PROMPTS: tuple[Prompt, ...] = tuple((Turn("user", question),) for question in LESSONS)


@dataclass(frozen=True, slots=True)
class Meaning:
    """Figures of some samples; sums, so that they can be added up."""

    samples: int
    same: int
    difference: float
    cost: float
    unsayable: int
    stable: int
    sampled: int
    own: int
    tokens: int
    plausible: int

    def record(self) -> dict[str, Any]:
        """Return the printed figures."""
        others = self.samples - self.same - self.unsayable
        return {
            "samples": self.samples,
            "own": round(self.own / self.sampled, 4),
            "same": round(self.same / self.samples, 4),
            "difference": float(f"{self.difference:.1e}"),
            "cost": round(self.cost / others, 2) if others else 0.0,
            "unsayable": self.unsayable,
            "stable": round(self.stable / (self.samples - self.unsayable), 4),
            "plausible": round(self.plausible / self.tokens, 4),
        }


def total(found: Sequence[Meaning]) -> Meaning:
    """Add figures up."""
    count = {name: sum(getattr(each, name) for each in found) for name in Meaning.__slots__ if name != "difference"}
    return Meaning(difference=max(each.difference for each in found), **count)


def opened(animal: Animal, *, taught: bool = False) -> LanguageModel:
    """Write an animal and load it as a node would."""
    with tempfile.TemporaryDirectory() as folder:
        return load_base(PolicySection(model=str(animal.write(Path(folder), taught=taught)), device="cpu"))


@torch.no_grad()
def meaning(lm: LanguageModel, *, each: int = 8, most: int = 24, seed: int = 0) -> Meaning:
    """Sample answers, and take their text for foreign."""
    encoded = lm.encode_prompts(PROMPTS)
    groups = CacheEngine(lm).sample(encoded, num_generations=each, max_tokens=most, temperature=1.0, seed=seed)
    pairs = [(prompt, sampled) for prompt, group in zip(PROMPTS, groups, strict=True) for sampled in group]
    prompts = [prompt for prompt, _ in pairs]
    texts = lm.decode_completions(prompts, [sampled.token_ids for _, sampled in pairs])
    rows = lm.encode_completions(prompts, texts, [sampled.finished for _, sampled in pairs])
    said = [number for number, row in enumerate(rows) if row]
    likely, tokens, kept = _scored(lm, [prompts[number] for number in said], [rows[number] for number in said])
    _, sampled_tokens, own = _scored(lm, prompts, [sampled.token_ids for _, sampled in pairs])
    apart = {number: pairs[number][1].logprob - logprob for number, logprob in zip(said, likely, strict=True)}
    again = lm.encode_completions(
        [prompts[number] for number in said],
        lm.decode_completions([prompts[number] for number in said], [rows[number] for number in said]),
        [pairs[number][1].finished for number in said],
    )
    same = [number for number in said if rows[number] == pairs[number][1].token_ids]
    return Meaning(
        samples=len(pairs),
        same=len(same),
        difference=max((abs(apart[number]) for number in same), default=0.0),
        cost=sum(gap for number, gap in apart.items() if number not in same),
        unsayable=len(pairs) - len(said),
        stable=sum(rows[number] == row for number, row in zip(said, again, strict=True)),
        sampled=sampled_tokens,
        own=own,
        tokens=tokens,
        plausible=kept,
    )


def _scored(lm: LanguageModel, prompts: Sequence[Prompt], rows: Sequence[list[int]]) -> tuple[list[float], int, int]:
    """Return the log-probability of each answer, the number of tokens, and how many of them are
    plausible."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [lm.pad_id] * (width - len(row)) for row in rows])
    mask = (torch.arange(width) < torch.tensor([[len(row)] for row in rows])).long()
    logprobs = completion_logprobs(lm, lm.encode_prompts(prompts), torch.arange(len(rows)), ids, mask, 1.0)
    floor = torch.full((len(rows), 1), math.log(DefencesSection().min_probability))
    return logprobs.sum(1).tolist(), int(mask.sum()), int(plausible(logprobs, mask, floor).sum())
