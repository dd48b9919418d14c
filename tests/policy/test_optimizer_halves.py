"""bfloat16 weights with the other half of their float32 value beside them: exact, with float32's
steps."""

from __future__ import annotations

import pytest
import torch

from swarm.config.schema import TrainingSection
from swarm.policy.update.optimizer import Optimizer, joined, split


def test_halves_give_the_whole_back():
    wide = torch.cat([torch.randn(10_000) * 10.0 ** torch.randint(-30, 30, (10_000,)), torch.tensor([0.0, -0.0, 1.0, -1e-45])])
    narrow, rest = torch.zeros_like(wide, dtype=torch.bfloat16), torch.zeros_like(wide, dtype=torch.int16)
    split(wide, narrow, rest)
    assert torch.equal(joined(narrow, rest).view(torch.int32), wide.view(torch.int32))
    error = (narrow.float() - wide).abs()
    assert (error <= (wide.to(torch.bfloat16).float() - wide).abs()).all(), "the nearest bfloat16"


@pytest.mark.parametrize("slice_", [7, 1 << 24])
def test_narrow_weights_take_the_steps_of_wide_ones(monkeypatch, slice_):
    monkeypatch.setattr("swarm.policy.update.optimizer.SLICE", slice_)
    settings = TrainingSection(learning_rate=1e-3, weight_decay=0.1, max_grad_norm=0.5, warmup_steps=2)
    start = torch.randn(5, 8).to(torch.bfloat16)
    wide, narrow = torch.nn.Parameter(start.float()), torch.nn.Parameter(start.clone())
    one, other = Optimizer([("w", wide)], settings), Optimizer([("w", narrow)], settings)
    for _ in range(20):
        gradient = torch.randn(5, 8).to(torch.bfloat16)
        wide.grad, narrow.grad = gradient.float(), gradient.clone()
        assert one.step() == pytest.approx(other.step(), rel=1e-5)
    whole = joined(narrow.detach(), other.state()["rest:w"])
    torch.testing.assert_close(whole, wide.detach(), rtol=1e-6, atol=1e-7)
    assert (narrow.detach().float() - whole).abs().max() > 0


def test_what_is_restored_goes_on_bit_for_bit():
    settings = TrainingSection(learning_rate=1e-4, warmup_steps=0)
    gradients = [torch.randn(6).to(torch.bfloat16) for _ in range(6)]

    def run(weight, optimizer, steps):
        for gradient in steps:
            weight.grad = gradient.clone()
            optimizer.step()

    straight, first = (torch.nn.Parameter(torch.ones(6, dtype=torch.bfloat16)) for _ in range(2))
    optimizers = Optimizer([("w", straight)], settings), Optimizer([("w", first)], settings)
    run(straight, optimizers[0], gradients)
    run(first, optimizers[1], gradients[:3])
    second = torch.nn.Parameter(first.detach().clone())
    continued = Optimizer([("w", second)], settings)
    continued.restore(optimizers[1].state().items(), optimizers[1].steps)
    run(second, continued, gradients[3:])
    assert torch.equal(second, straight)
    assert torch.equal(continued.state()["rest:w"], optimizers[0].state()["rest:w"])


@pytest.mark.parametrize("first", [torch.float32, torch.bfloat16])
def test_weights_go_on_in_another_type(first):
    """What bfloat16 rounds away is lost to it; what it kept beside, float32 takes up."""
    second = torch.bfloat16 if first == torch.float32 else torch.float32
    settings = TrainingSection(learning_rate=1e-3, warmup_steps=0)
    gradients = [torch.randn(6) for _ in range(6)]
    before = torch.nn.Parameter(torch.ones(6, dtype=first))
    optimizer = Optimizer([("w", before)], settings)

    def run(weight, optimizer, steps):
        for gradient in steps:
            weight.grad = gradient.to(weight.dtype)
            optimizer.step()

    def whole(weight, optimizer):
        return joined(weight.detach(), optimizer.state()["rest:w"]) if weight.dtype == torch.bfloat16 else weight.detach()

    run(before, optimizer, gradients[:3])
    exact = whole(before, optimizer)
    after = torch.nn.Parameter(before.detach().to(second))  # as a model loads its file
    continued = Optimizer([("w", after)], settings)
    continued.restore(optimizer.state().items(), optimizer.steps)
    assert ("rest:w" in continued.state()) == (second == torch.bfloat16)
    expected = exact if second == torch.float32 else exact.to(torch.bfloat16).float()
    assert torch.equal(whole(after, continued), expected)
    run(after, continued, gradients[3:])
    run(before, optimizer, gradients[3:])
    torch.testing.assert_close(whole(after, continued), whole(before, optimizer), rtol=5e-3, atol=0)
