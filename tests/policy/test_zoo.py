"""The zoo: whatever a model's tokenizer, template and embedding, its own answers as others send
them back mean to it what they meant when it said them."""

from __future__ import annotations

from math import log

import pytest

from benchmarks.zoo.animals import LESSONS, TEMPLATES, TOKENIZERS, Animal, animals
from benchmarks.zoo.meaning import PROMPTS, meaning, opened, total
from protocols.messages import Completion
from swarm.config.schema import DefencesSection, TrainingSection
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.engine.likelihood import log_likelihoods
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import update
from swarm.records import TrainingGroup

# Every tokenizer and every template twice.
TAUGHT = [
    animal for animal in animals() if (list(TOKENIZERS).index(animal.tokenizer) + list(TEMPLATES).index(animal.template)) % 4 == 0
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_own_samples_as_foreign_text(tokenizer: str) -> None:
    """Of random models hardly any sampled encoding is the tokenizer's own; which costs the screen
    nothing."""
    found = total([meaning(opened(animal), each=6, most=16) for animal in animals() if animal.tokenizer == tokenizer])
    assert found.same > 0
    assert found.difference < 1e-4
    assert found.stable == found.samples - found.unsayable, "an encoding comes out again when it is decoded and encoded"
    assert found.unsayable <= 0.02 * found.samples
    assert found.plausible >= 0.98 * found.tokens


@pytest.mark.parametrize("animal", TAUGHT, ids=lambda animal: animal.name)
def test_a_taught_model_learns_from_copies_of_what_it_says(animal: Animal) -> None:
    lm = opened(animal, taught=True)
    greedy = CacheEngine(lm).sample(lm.encode_prompts(PROMPTS), num_generations=1, max_tokens=40, temperature=0.0, seed=0)
    said = lm.decode_completions(PROMPTS, [sampled.token_ids for (sampled,) in greedy])
    # WordPiece keeps no white space.
    plain = (lambda text: text.replace(" ", "")) if animal.tokenizer == "wordpiece" else str
    assert list(map(plain, said)) == list(map(plain, LESSONS.values()))
    for texts in (said, list(LESSONS.values())):
        assert min(log_likelihoods(lm, PROMPTS, texts, 1.0)) > log(0.9)
        figures = _trained_on(lm, texts)
        assert figures.plausible == (1.0,) * len(PROMPTS)
        assert figures.gradient_norm > 0
    found = meaning(lm, each=4)
    assert found.difference < 1e-4
    assert found.same + found.unsayable >= 0.9 * found.samples
    assert found.plausible >= 0.98 * found.own


def _trained_on(lm: LanguageModel, texts: list[str]):
    """One update that moves nothing on the texts as foreign answers, each right beside a wrong one."""
    settings = TrainingSection(learning_rate=1e-30)
    groups = [
        TrainingGroup(
            prompt=prompt,
            completions=(Completion(text, True, 1, -1.0), Completion("0", True, 1, -1.0)),
            rewards=(1.0, 0.0),
            weights=(1.0, 0.0),
            foreign=True,
            min_probability=DefencesSection().min_probability,
        )
        for prompt, text in zip(PROMPTS, texts, strict=True)
    ]
    trainer = Trainer(lm, Optimizer(lm.parameters, settings), settings, Memory(lm, 0.0))
    return update(trainer, make_batch(lm, groups, settings))
