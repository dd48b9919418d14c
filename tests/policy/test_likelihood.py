"""A policy's likelihood of a text: that of its own samples, and zero for impossible texts."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import UNK, write_model

from swarm.config.schema import PolicySection
from swarm.policy.engine import likelihood
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.engine.likelihood import log_likelihoods
from swarm.policy.fit.memory import SCORED_ROWS as ROWS
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel, load_base

PROMPTS = ["1+1=", "what is 12*12?", "x", "a prompt longer than the window: 3"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def language_model(request, tmp_path_factory) -> LanguageModel:
    folder = write_model(tmp_path_factory.mktemp("likely"), request.param, hidden=32, layers=2)
    return load_base(PolicySection(model=str(folder), device="cpu"))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_sample_is_as_likely_as_it_was_when_it_was_drawn(language_model, temperature):
    groups = CacheEngine(language_model).sample(
        language_model.encode_prompts(PROMPTS), num_generations=48, max_tokens=20, temperature=temperature, seed=0
    )
    # A random model samples special tokens too, which no text has.
    plain = [[s for s in group if s.finished and min(s.token_ids[:-1], default=9) > UNK] for group in groups]
    pairs = [(prompt, s) for prompt, group in zip(PROMPTS, plain, strict=True) for s in group]
    assert len(pairs) > 8
    texts = language_model.decode([sampled.token_ids for _, sampled in pairs])
    found = log_likelihoods(language_model, [prompt for prompt, _ in pairs], texts, temperature)
    assert found == pytest.approx([sampled.logprob for _, sampled in pairs], abs=1e-3)


def test_every_text_has_its_own_place_however_many_there_are(language_model):
    texts = [str(number) for number in range(2 * ROWS + 3)]
    together = log_likelihoods(language_model, ["1+1="] * len(texts), texts, 1.0)
    for number in (0, ROWS - 1, ROWS, 2 * ROWS + 2):
        (single,) = log_likelihoods(language_model, ["1+1="], [texts[number]], 1.0)
        assert together[number] == pytest.approx(single, abs=1e-4)


def test_what_cannot_be_said_has_no_likelihood(language_model):
    unknown, too_long, plain = log_likelihoods(language_model, ["1="] * 3, ["é", "1" * 300, "1"], 1.0)
    assert unknown == too_long == -math.inf < plain < 0
    assert log_likelihoods(language_model, [], [], 1.0) == []


def test_it_leaves_no_gradient(language_model):
    log_likelihoods(language_model, ["1="], ["1"], 1.0)
    assert all(parameter.grad is None for _, parameter in language_model.parameters)
    assert torch.is_grad_enabled()


def test_passes_are_bounded_in_tokens_and_hold_texts_of_one_length(language_model, monkeypatch):
    prompts = ["1="] * 6 + ["1" * 60] + ["12="] * 6
    texts = [str(number) for number in range(6)] + ["2" * 50] + ["7" * number for number in range(1, 7)]
    whole = log_likelihoods(language_model, prompts, texts, 1.0)
    passes, scored = [], likelihood._scored
    monkeypatch.setattr(
        likelihood,
        "_scored",
        lambda lm, asked, said, t: (passes.append((len(said), max(map(len, said)))), scored(lm, asked, said, t))[1],
    )
    memory = Memory(language_model, 0.0)
    memory.most_scored.now = 40
    assert log_likelihoods(language_model, prompts, texts, 1.0, memory) == pytest.approx(whole, abs=1e-4)
    assert passes[0] == (1, 51), "what exceeds the bound goes alone"
    assert len(passes) < 6
    assert all(rows * width <= 40 for rows, width in passes[1:])
