"""The arithmetic of training memory, against real models and published figures of known ones."""

from __future__ import annotations

import peft
import pytest
from tiny_models import make_model

from swarm.policy.fit.catalogue import KNOWN
from swarm.policy.fit.estimate import GIB, KINDS, Shape, estimate, shape_of

PUBLISHED = {
    "SmolLM2-135M-Instruct": 134.5e6,
    "SmolLM2-360M-Instruct": 361.8e6,
    "SmolLM2-1.7B-Instruct": 1711e6,
    "Qwen2.5-0.5B-Instruct": 494e6,
    "Qwen2.5-1.5B-Instruct": 1544e6,
    "Qwen2.5-3B-Instruct": 3086e6,
    "Qwen2.5-7B-Instruct": 7616e6,
    "Qwen3-0.6B": 596e6,
    "Qwen3-1.7B": 1720e6,
    "Qwen3-4B": 4022e6,
    "Llama-3.2-1B-Instruct": 1236e6,
    "Llama-3.2-3B-Instruct": 3213e6,
    "gemma-3-1b-it": 1000e6,
}


def known(name: str) -> Shape:
    return next(each.shape for each in KNOWN if each.name.endswith(name))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gpt2"])
def test_weights_are_counted_from_the_config_alone(architecture):
    model = make_model(architecture, hidden=128)
    counted = shape_of(model.config.to_dict()).weights
    real = sum(weight.numel() for name, weight in model.named_parameters() if "norm" not in name and "wpe" not in name)
    assert counted == pytest.approx(real, rel=0.02)


def test_an_adapter_is_counted_as_peft_makes_it():
    model = make_model("qwen2")
    shape = shape_of(model.config.to_dict())
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert shape.adapter(4) == sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def test_the_known_models_have_the_shapes_they_are_published_with():
    assert {each.name.split("/")[1]: pytest.approx(each.shape.weights, rel=0.002) for each in KNOWN} == PUBLISHED


def test_a_mixture_of_experts_counts_all_of_them():
    dense = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100}
    assert shape_of(dense | {"num_local_experts": 8}).inner == 8 * 128
    with pytest.raises(KeyError, match="vocab_size"):
        shape_of({name: value for name, value in dense.items() if name != "vocab_size"})


def test_what_each_way_of_training_takes():
    shape = known("Qwen2.5-1.5B-Instruct")
    whole, lora, qlora = (estimate(shape, kind, item=2, rank=16) for kind in KINDS)
    assert whole.weights == lora.weights == 2 * shape.weights
    assert whole.training == 12 * shape.weights
    assert qlora.weights < 0.45 * lora.weights
    assert lora.training == qlora.training == 16 * shape.adapter(16) < whole.training / 40
    assert whole.total > lora.total > qlora.total
    assert estimate(shape, "lora", item=2, rank=16, recompute=False).working > 4 * lora.working


@pytest.mark.parametrize(
    ("name", "kind", "gib"),
    [("Qwen2.5-0.5B-Instruct", "none", 8), ("Qwen2.5-1.5B-Instruct", "lora", 12), ("7B-Instruct", "qlora", 24)],
)
def test_cards_that_people_have_are_enough(name, kind, gib):
    """In bfloat16, by the estimates that `auto` goes by; `benchmarks/cost/gpu.py` measures the peaks
    where there is a card."""
    assert estimate(known(name), kind, item=2, rank=16).total < gib * GIB
