"""The arithmetic of training memory, against real models and published figures of known ones."""

from __future__ import annotations

import peft
import pytest
import torch
from tiny_models import make_model, write_model

from swarm.config.schema import PolicySection
from swarm.policy.fit.catalogue import KNOWN
from swarm.policy.fit.estimate import GIB, KINDS, Shape, estimate, shape_of
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.model import load_base

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
    "SmolLM3-3B": 3075e6,
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
    [
        ("Qwen2.5-0.5B-Instruct", "none", 9),
        ("Qwen2.5-0.5B-Instruct", "lora", 4),
        ("Qwen2.5-1.5B-Instruct", "lora", 12),
        ("7B-Instruct", "qlora", 24),
    ],
)
def test_cards_that_people_have_are_enough(name, kind, gib):
    """In bfloat16, by the estimates that `auto` goes by; `benchmarks/cost/gpu.py` measures the peaks
    where there is a card."""
    assert estimate(known(name), kind, item=2, rank=16).total < gib * GIB


@pytest.mark.parametrize("kind", ["none", "lora"])
def test_what_a_pass_keeps_is_what_was_estimated(tmp_path, kind):
    """Measured: the bytes that a forward pass saves for the backward pass, weights left out."""
    folder = write_model(tmp_path / "m", "qwen2", hidden=128, layers=6)
    lm = load_base(PolicySection(model=str(folder), device="cpu", dtype="bfloat16"))
    if kind == "lora":
        lm.adapt(AdapterSpec("lora", 8, 16.0, "all-linear"))
    weights = {weight.untyped_storage().data_ptr() for weight in lm.model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(5, 50, (4, 128))
    positions = torch.arange(128).expand(4, 128)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = lm.hidden(ids, None, positions, None)
    measured = sum(size for size, _ in saved.values()) / ids.numel()
    shape = shape_of(lm.model.config.to_dict())
    estimated = shape.pass_bytes(2, recompute=False, adapter=kind == "lora")
    assert hidden.requires_grad
    assert 0.75 * estimated < measured < 1.05 * estimated


def test_the_heads_gradient_is_counted_where_the_head_is_trained():
    shape = known("Qwen2.5-0.5B-Instruct")
    gradient = 151_936 * 896 * 6
    assert shape.head_bytes(2) == gradient > 0.75 * GIB
    with_it = estimate(shape, "none", item=2, rank=16).working
    assert with_it > gradient + 3 * 256 * shape.vocabulary * 4
    assert estimate(shape, "lora", item=2, rank=16).working < gradient
