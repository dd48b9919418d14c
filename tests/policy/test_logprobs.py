"""Log-probabilities slice by slice: the full table's numbers and gradients, in much less memory."""

from __future__ import annotations

import os

import pytest
import torch
from tiny_models import write_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.model import logprobs
from swarm.policy.model.logprobs import PLAIN_HEADS, full_logprobs, plain_head, token_logprobs
from swarm.policy.model.model import load_base
from swarm.policy.update.batch import make_batch
from swarm.policy.update.update import micro_batch_logprobs
from swarm.records import TrainingGroup

from protocols.messages import Completion  # isort: skip


def values(function, hidden, weight, ids, temperature):
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    found = function(hidden, weight, ids, temperature)
    (found * torch.linspace(-1, 1, len(found), device=found.device)).sum().backward()
    return found.detach(), hidden.grad, weight.grad


def full(hidden, weight, ids, temperature):
    return full_logprobs(hidden @ weight.t(), ids, temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("slice_", [1, 700, 1 << 20])
def test_values_and_gradients_are_those_of_the_full_table(monkeypatch, temperature, slice_):
    monkeypatch.setattr(logprobs, "SLICE", slice_)
    torch.manual_seed(0)
    hidden, weight, ids = torch.randn(23, 16), torch.randn(101, 16), torch.randint(101, (23,))
    for found, expected in zip(
        values(token_logprobs, hidden, weight, ids, temperature), values(full, hidden, weight, ids, temperature), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(
    not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET")),
    reason="the kernels run on a GPU, or slowly without one: pip install liger-kernel triton, TRITON_INTERPRET=1",
)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_fused_kernel_gives_the_same(temperature):
    pytest.importorskip("liger_kernel", reason="pip install 'swarmd[gpu]'")
    fused = logprobs._fused()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    given = torch.randn(23, 16, device=device), torch.randn(101, 16, device=device), torch.randint(101, (23,), device=device)

    def by_kernel(hidden, weight, ids, temperature):
        return -fused(weight, hidden / temperature, ids)

    for found, expected in zip(values(by_kernel, *given, temperature), values(full, *given, temperature), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_frozen_head_gets_no_gradient():
    hidden, weight = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4)
    token_logprobs(hidden, weight, torch.arange(5), 1.0).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


class LargestTensor(TorchDispatchMode):
    """The most elements that any operation's result had whose last dimension is the vocabulary."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary, self.elements = vocabulary, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, torch.Tensor) and each.dim() and each.shape[-1] == self.vocabulary:
                self.elements = max(self.elements, each.numel())
        return result


@pytest.mark.parametrize("family", sorted(PLAIN_HEADS - {"gpt2"}))  # which has other names for its shape, and a test below
def test_these_families_logits_are_their_heads_output(family):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 300, "head_dim": 16}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape, **tokens)).eval()
    ids = torch.arange(3, 12)[None]
    head = plain_head(model)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        torch.testing.assert_close(head(model.get_decoder()(input_ids=ids).last_hidden_state), logits)
    assert logits.std() > 0
    model.config.final_logit_softcapping = 30.0
    assert plain_head(model) is None, "what is done to the logits afterwards has to be done"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_training_is_the_same_with_less_at_once(tmp_path, monkeypatch, architecture, packed):
    if not packed:
        monkeypatch.setattr("swarm.policy.update.layout.MAX_ROW_TOKENS", 0)
    lm = load_base(PolicySection(model=str(write_model(tmp_path / "m", architecture, hidden=16, layers=1)), device="cpu"))
    completions = tuple(Completion("12 + 3 = " * 10 + str(i), True, 1, -1.0) for i in range(4))
    group = TrainingGroup("1+1=", completions, (1.0, 0.0, 0.0, 1.0), (1.0,) * 4, True, None)
    (micro,) = make_batch(lm, [group], TrainingSection()).micro_batches
    assert (micro.packing is not None) == packed
    vocabulary = len(plain_head(lm.model).weight)
    found = []
    for slice_ in (1 << 26, 64 * vocabulary):
        monkeypatch.setattr(logprobs, "SLICE", slice_)
        lm.model.zero_grad()
        with LargestTensor(vocabulary) as largest:
            values = micro_batch_logprobs(lm, micro, 1.0)
            (values * micro.scale).sum().backward()
        found.append((values.detach(), torch.cat([p.grad.flatten() for _, p in lm.parameters]), largest.elements))
    torch.testing.assert_close(found[0][:2], found[1][:2], atol=1e-5, rtol=1e-4)
    assert found[0][2] >= micro.ids.numel() * vocabulary
    assert found[1][2] <= found[0][2] / 4
