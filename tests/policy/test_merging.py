"""An adapter merged for sampling: the same likelihoods, and afterwards the same base exactly."""

from __future__ import annotations

import pytest
import torch
from tiny_models import write_model

from swarm.config.schema import PolicySection
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.engine.continuous import SlotEngine
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Memory
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.merging import Merging
from swarm.policy.model.model import load_base

PROMPTS = ["1+1=", "what is 12*12?"]
ROOM = 1 << 40


def adapted(folder, dtype):
    lm = load_base(PolicySection(model=str(folder), device="cpu", dtype=dtype))
    lm.adapt(AdapterSpec("lora", 4, 8.0, "all-linear"))
    generator = torch.Generator().manual_seed(1)
    for _, weight in lm.parameters:
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return lm


def base(lm):
    return {name: weight.detach().clone() for name, weight in lm.model.named_parameters()}


def the_same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_samples_have_the_likelihood_that_training_finds(tmp_path, architecture):
    lm = adapted(write_model(tmp_path / "m", architecture, hidden=32, layers=2), "float32")
    before, merging = base(lm), Merging(lm, ROOM)
    assert merging.merges
    engines = CacheEngine(lm), SlotEngine(lm, Ends(lm.stop_ids, (), str), Memory(lm, 0.0))
    for engine in engines:
        with merging.merged():
            assert not the_same(base(lm), before)
            groups = engine.sample(lm.encode_prompts(PROMPTS), num_generations=4, max_tokens=12, temperature=1.0, seed=2)
        assert the_same(base(lm), before)
        for prompt, group in zip(lm.encode_prompts(PROMPTS), groups, strict=True):
            for each in group:
                with torch.no_grad():
                    logits = lm.model(input_ids=torch.tensor([prompt + each.token_ids])).logits[0, len(prompt) - 1 : -1]
                logprobs = logits.log_softmax(-1).gather(1, torch.tensor(each.token_ids)[:, None])
                assert each.logprob == pytest.approx(logprobs.sum().item(), abs=1e-3)


def test_a_narrow_base_is_the_same_to_the_last_bit_even_after_an_error(model_folder):
    lm = adapted(model_folder, "bfloat16")
    before, digest = base(lm), lm.digest()
    merging = Merging(lm, ROOM)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="memory"), merging.merged():
            raise RuntimeError("out of memory")
    assert the_same(base(lm), before)
    assert lm.digest() == digest
    lm.parameters[0][1].data += 1  # as training does; the copies are of the base alone
    with merging.merged():
        pass
    assert the_same({**base(lm), lm.parameters[0][0]: before[lm.parameters[0][0]]}, before)


def test_what_cannot_be_merged_is_computed_beside(model_folder):
    lm = adapted(model_folder, "float32")
    before = base(lm)
    tight = Merging(lm, 1000)
    assert not tight.merges
    with tight.merged():
        assert the_same(base(lm), before)
    plain = load_base(PolicySection(model=str(model_folder), device="cpu"))
    assert not Merging(plain, ROOM).merges
    next(module for module in lm.model.modules() if hasattr(module, "lora_A")).get_base_layer().weight = torch.nn.Parameter(
        torch.zeros(4, dtype=torch.uint8), requires_grad=False
    )
    assert not Merging(lm, ROOM).merges, "weights in 4 bits"
