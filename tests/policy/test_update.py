"""The update: the context of a sequence's log-probabilities, the tokens in the loss, and updates
that are never applied."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_models import EOS, write_model

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.policy.fit.memory import PASS_TOKENS, Memory
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.model.prefix import completion_logprobs
from swarm.policy.update.advantage import group_advantages
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import micro_batch_logprobs, update
from swarm.records import TrainingGroup


def open_model(folder, dtype="float32") -> LanguageModel:
    return load_base(PolicySection(model=str(folder), device="cpu", dtype=dtype))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("update") / "m", hidden=32, layers=2)


def group(prompt, texts, rewards, *, weights=None, finished=True, token_ids=None) -> TrainingGroup:
    ends = [finished] * len(texts) if isinstance(finished, bool) else finished
    completions = tuple(Completion(text, end, len(text) + end, -1.0) for text, end in zip(texts, ends, strict=True))
    weights = tuple(weights or [1.0] * len(texts))
    return TrainingGroup(prompt, completions, tuple(rewards), weights, token_ids is None, token_ids)


GROUPS = [
    group("1+1=", ["2", "3", "22222", ""], [1, 0, 0, 0]),
    group("a longer prompt, 7*3=", ["21", "twenty one", "7"], [1.0, 0.25, 0.0], finished=[True, False, True]),
    group("z", ["q", "q", "q"], [1, 1, 1]),  # teaches nothing
]


class Recorder:
    """An optimizer that only looks."""

    def __init__(self, lm):
        self.lm, self.gradients = lm, []

    def clear(self):
        for _, parameter in self.lm.parameters:
            parameter.grad = None

    def step(self):
        self.gradients.append(torch.cat([p.grad.flatten() for _, p in self.lm.parameters]))
        return 1.0


def trainer(lm, optimizer, section, reference=None) -> Trainer:
    return Trainer(lm, optimizer, section, Memory(lm, 0.0), reference)


def gradient(lm, groups, tokens=PASS_TOKENS, **settings) -> torch.Tensor:
    section = TrainingSection(**settings)
    recorder = Recorder(lm)
    update(trainer(lm, recorder, section, lm if section.beta else None), make_batch(lm, groups, section, tokens))
    return recorder.gradients[0]


def test_group_advantages():
    assert group_advantages([1.0, 0.0, 0.0, 1.0], "none") == [0.5, -0.5, -0.5, 0.5]
    scaled = group_advantages([1.0, 0.0, 0.0, 1.0], "group")
    assert scaled[0] == pytest.approx(0.5 / (0.5773502692 + 1e-4))
    assert group_advantages([0.3, 0.3, 0.3], "group") == [0.0, 0.0, 0.0]  # exactly, though 0.3 * 3 / 3 is not 0.3
    assert group_advantages([1.0], "group") == [0.0]
    assert group_advantages([], "group") == []


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "sliding", "gemma"])
def test_logprobs_do_not_depend_on_neighbours(tmp_path, architecture):
    lm = open_model(write_model(tmp_path / "m", architecture, hidden=32, layers=2))
    prompts = lm.encode_prompts(["1+1=", "a prompt that is much longer than the other", "zz"])
    rows = lm.encode_completions(["1+1="] * 4, ["2", "a long answer indeed", "12", "2"], [True, False, True, True])
    owners = [0, 0, 1, 2]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        together = completion_logprobs(lm, prompts, torch.tensor(owners), ids, mask, 1.0)
        for row, owner, found in zip(rows, owners, together, strict=True):
            tokens = torch.tensor([row])
            alone = completion_logprobs(lm, [prompts[owner]], torch.tensor([0]), tokens, torch.ones_like(tokens), 1.0)[0]
            torch.testing.assert_close(found[: len(row)], alone, atol=1e-5, rtol=0)
            assert (found[len(row) :] == 0).all()
            plain = lm.model(input_ids=torch.tensor([prompts[owner] + row])).logits[0, len(prompts[owner]) - 1 : -1]
            plain = plain.log_softmax(-1).gather(1, tokens[0][:, None])[:, 0]
            torch.testing.assert_close(alone, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral", "qwen2", "qwen3"])
def test_the_packed_layout_gives_the_same_numbers(tmp_path, architecture):
    lm = open_model(write_model(tmp_path / "m", architecture, hidden=32, layers=2))
    (micro,) = make_batch(lm, GROUPS, TrainingSection(beta=0.1)).micro_batches
    found, gradients = [], []
    for packing in (micro.packing, None):
        lm.model.zero_grad()
        logprobs = micro_batch_logprobs(lm, dataclasses.replace(micro, packing=packing), 0.9)
        (logprobs * micro.scale).sum().backward()
        found.append(logprobs.detach())
        gradients.append(torch.cat([p.grad.flatten() for _, p in lm.parameters]))
    assert micro.packing is not None
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_what_is_not_packed(small, tmp_path):
    few = GROUPS[:1]
    (micro,) = make_batch(open_model(small), few, TrainingSection()).micro_batches
    assert micro.packing is not None
    (micro,) = make_batch(
        open_model(small), [group("1", ["2" * 200] * 2 + ["3" * 150], [1, 0, 0])], TrainingSection()
    ).micro_batches
    assert micro.packing is None, "attention over long rows costs more than it saves"
    for architecture in ("sliding", "gemma"):
        lm = open_model(write_model(tmp_path / architecture, architecture, hidden=32, layers=2))
        (micro,) = make_batch(lm, few, TrainingSection()).micro_batches
        assert micro.packing is None, "the mask does not know of windows"


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "sliding", "gemma"])
def test_the_shared_prompt_carries_the_whole_gradient(tmp_path, architecture):
    lm = open_model(write_model(tmp_path / "m", architecture, hidden=32, layers=2))
    prompts = lm.encode_prompts(["1+1=", "what is 3*3?"])
    rows = lm.encode_completions(["1+1="] * 3, ["22", "33", "9"], [True, True, True])
    total = torch.zeros(())
    for row, owner in zip(rows, [0, 0, 1], strict=True):
        logits = lm.model(input_ids=torch.tensor([prompts[owner] + row])).logits[0, len(prompts[owner]) - 1 : -1]
        total = total + logits.log_softmax(-1).gather(1, torch.tensor(row)[:, None]).sum()
    total.backward()
    plain = [p.grad.clone() for _, p in lm.parameters]
    lm.model.zero_grad()
    ids = torch.tensor([row + [0] * (3 - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (3 - len(row)) for row in rows])
    completion_logprobs(lm, prompts, torch.tensor([0, 0, 1]), ids, mask, 1.0).sum().backward()
    for (name, parameter), expected in zip(lm.parameters, plain, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected, atol=1e-4 * max(1.0, scale), rtol=0, msg=name)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_micro_batches_add_up_to_the_batch(small, monkeypatch, loss_type, beta, packed):
    if not packed:
        monkeypatch.setattr("swarm.policy.update.layout.MAX_ROW_TOKENS", 0)
    lm = open_model(small)
    settings = {"loss_type": loss_type, "beta": beta}
    whole = gradient(lm, GROUPS, **settings)
    for budget in (1, 30, 60):
        micro_batches = make_batch(lm, GROUPS, TrainingSection(**settings), budget).micro_batches
        assert len(micro_batches) > 1
        for micro in micro_batches:
            padded = len(micro.prompts) * max(map(len, micro.prompts)) + micro.ids.numel()
            assert padded <= budget or len(micro.ids) == 1
        torch.testing.assert_close(gradient(lm, GROUPS, budget, **settings), whole, atol=1e-6, rtol=1e-4)


def test_what_is_trained_on(small):
    lm = open_model(small)
    batch = make_batch(lm, GROUPS, TrainingSection())
    assert (batch.completions, batch.tokens) == (7, (2 + 2 + 6 + 1) + (3 + 10 + 2))
    with_kl = make_batch(lm, GROUPS, TrainingSection(beta=0.1))
    assert (with_kl.completions, with_kl.tokens) == (8, batch.tokens + 2), "three equal answers are forwarded once"
    masked = make_batch(lm, GROUPS, TrainingSection(mask_truncated_completions=True))
    assert (masked.completions, masked.tokens) == (6, batch.tokens - 10)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_equal_answers_are_forwarded_once_and_weigh_as_many(small, loss_type, beta):
    lm = open_model(small)
    settings = {"loss_type": loss_type, "beta": beta, "scale_rewards": "none"}
    twice, once = group("1+1=", ["2", "37", "2", "37"], [1, 0, 1, 0]), group("1+1=", ["2", "37"], [1, 0])
    assert make_batch(lm, [twice], TrainingSection(**settings)).completions == 2
    torch.testing.assert_close(gradient(lm, [twice], **settings), gradient(lm, [once], **settings), atol=1e-7, rtol=1e-5)
    thrice = group("1+1=", ["2", "37", "2", "2"], [1, 0, 1, 1])
    assert not torch.allclose(gradient(lm, [thrice], **settings), gradient(lm, [once], **settings), rtol=1e-2)


def test_skipping_zero_advantages_changes_nothing(small):
    """A group without advantage counts in the averages, as in TRL, whether it is forwarded or
    not."""
    lm = open_model(small)
    skipped = gradient(lm, GROUPS)
    forwarded = gradient(lm, GROUPS, beta=1e-30)  # so little KL that only the forwarding differs
    torch.testing.assert_close(skipped, forwarded, atol=1e-7, rtol=1e-4)
    alone = gradient(lm, GROUPS[:2])
    assert (alone.norm() / skipped.norm()).item() == pytest.approx((26 + 6) / 26, rel=1e-4)


def test_foreign_text_is_encoded_with_its_end_and_own_tokens_are_kept(small):
    lm = open_model(small)
    ids = tuple(map(tuple, lm.encode_completions(["1+1="] * 2, ["2", "3"], [True, False])))
    foreign = group("1+1=", ["2", "3"], [1, 0], finished=[True, False])
    own = group("1+1=", ["ignored", "too"], [1, 0], finished=[True, False], token_ids=ids)
    (of_foreign,) = make_batch(lm, [foreign], TrainingSection()).micro_batches
    (of_own,) = make_batch(lm, [own], TrainingSection()).micro_batches
    assert of_foreign.ids[0, 1] == EOS
    assert torch.equal(of_foreign.ids, of_own.ids)
    assert torch.equal(of_foreign.mask, of_own.mask)


def test_weights_multiply_the_advantage_and_zero_leaves_out(small):
    lm = open_model(small)
    texts, rewards = ["2", "33", "4"], [1.0, 0.0, 0.25]
    doubled = gradient(lm, [group("1+1=", texts, rewards, weights=[2.0, 2.0, 2.0])])
    torch.testing.assert_close(doubled, 2 * gradient(lm, [group("1+1=", texts, rewards)]))
    batch = make_batch(lm, [group("1+1=", texts, rewards, weights=[1.0, 0.0, 1.0])], TrainingSection())
    (micro,) = batch.micro_batches
    assert batch.completions == 2
    assert micro.scale.sum().item() == pytest.approx(1.0)  # what is left out does not count in the average either
    expected = group_advantages(rewards, "group")  # but it does in the group's mean
    assert micro.advantages[:, 0].tolist() == pytest.approx([expected[0], expected[2]])


def test_what_a_peer_sends_too_long_is_left_out(small):
    lm = open_model(small)
    batch = make_batch(lm, [group("1+1=", ["2", "3" * 400], [1, 0])], TrainingSection())
    assert batch.completions == 1
    batch = make_batch(lm, [group("1" * 300, ["2", "3"], [1, 0])], TrainingSection())
    assert batch.micro_batches == []


def test_what_the_vocabulary_lacks_is_left_out(small):
    lm = open_model(small)
    assert lm.encode_completions(["1+1="] * 2, ["2\u00e9", "2"], [True, True])[0] == []
    assert make_batch(lm, [group("1+1=", ["2", "\u00e9", "3"], [1, 1, 0])], TrainingSection()).completions == 2


def test_nothing_to_learn_changes_nothing(small):
    lm = open_model(small)
    before = lm.digest()
    for groups in ([], GROUPS[2:]):
        section = TrainingSection(weight_decay=0.1)
        figures = update(trainer(lm, Optimizer(lm.parameters, section), section), make_batch(lm, groups, section))
        assert (figures.loss, figures.skipped) == (0.0, 0)
    assert lm.digest() == before


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_left_out_and_said_so(small, bad):
    lm = open_model(small)
    section = TrainingSection(num_iterations=3)
    optimizer = Optimizer(lm.parameters, section)
    update(trainer(lm, optimizer, section), make_batch(lm, GROUPS, section))
    before, state = lm.digest(), {name: tensor.clone() for name, tensor in optimizer.state().items()}
    figures = update(trainer(lm, optimizer, section), make_batch(lm, [group("1", ["2", "3"], [bad, 0.0])], section))
    assert figures.skipped == 3
    assert (lm.digest(), optimizer.steps) == (before, 3)
    assert all(torch.equal(tensor, state[name]) for name, tensor in optimizer.state().items())


def test_a_gradient_that_is_not_finite_is_not_applied(small):
    lm = open_model(small)
    optimizer = Optimizer(lm.parameters, TrainingSection())
    before = lm.digest()
    for _, parameter in lm.parameters:
        parameter.grad = torch.ones_like(parameter)
    lm.parameters[0][1].grad[0] = float("inf")
    assert optimizer.step() is None
    assert (lm.digest(), optimizer.steps) == (before, 0)


def test_rewarded_answers_become_likelier_their_end_included(small):
    lm = open_model(small)
    section = TrainingSection(learning_rate=3e-3, warmup_steps=0)
    optimizer = Optimizer(lm.parameters, section)
    prompts, tokens = lm.encode_prompts(["1+1="]), torch.tensor(lm.encode_completions(["1+1="], ["2"], [True]))

    def logprobs():
        with torch.no_grad():
            return completion_logprobs(lm, prompts, torch.tensor([0]), tokens, torch.ones_like(tokens), 1.0)[0]

    before = logprobs()
    for _ in range(20):
        update(trainer(lm, optimizer, section), make_batch(lm, GROUPS[:1], section))
    assert (logprobs() > before + 0.5).all()


def test_iterations_are_steps_and_clip(small):
    lm = open_model(small)
    section = TrainingSection(learning_rate=1e-2, warmup_steps=0, num_iterations=4)
    optimizer = Optimizer(lm.parameters, section)
    figures = update(trainer(lm, optimizer, section), make_batch(lm, GROUPS, section))
    assert optimizer.steps == 4
    assert 0 < figures.clip_fraction < 1


def test_the_learning_rate_and_gradient_clipping(small):
    lm = open_model(small)
    section = TrainingSection(learning_rate=1e-3, warmup_steps=4, constant_steps=6, max_grad_norm=0.5)
    optimizer = Optimizer(lm.parameters, section)
    _, weight = lm.parameters[0]
    moves = []
    for _ in range(24):
        optimizer.clear()
        weight.grad = torch.full_like(weight, 2.0)
        before = weight.detach().clone()
        norm = optimizer.step()
        assert norm == pytest.approx(2.0 * weight.numel() ** 0.5)  # as it was before clipping
        assert weight.grad.norm().item() == pytest.approx(0.5, rel=1e-3)
        moves.append((before - weight).abs().max().item())
    # Of a constant gradient Adam's step is the learning rate times its sign.
    assert moves[:6] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3], rel=1e-2)
    assert moves[12 - 1] == pytest.approx(1e-3 / 2**0.5, rel=1e-2)
    assert moves[24 - 1] == pytest.approx(1e-3 / 2, rel=1e-2)


def test_small_steps_add_up_in_bfloat16(small):
    lm = open_model(small, "bfloat16")
    section = TrainingSection(learning_rate=1e-5, warmup_steps=0)
    optimizer = Optimizer(lm.parameters, section)
    weight = dict(lm.parameters)["model.norm.weight"]  # ones, whose next bfloat16 below is 0.0039 away
    for _ in range(300):
        optimizer.clear()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.dtype == torch.bfloat16
    assert (weight < 1).all()


def test_optimizer_state_goes_on_bit_for_bit(small):
    def train(lm, optimizer, steps):
        for _ in range(steps):
            update(trainer(lm, optimizer, TrainingSection()), make_batch(lm, GROUPS, TrainingSection()))

    straight, first, second = open_model(small), open_model(small), open_model(small)
    straight_optimizer = Optimizer(straight.parameters, TrainingSection())
    train(straight, straight_optimizer, 5)
    optimizer = Optimizer(first.parameters, TrainingSection())
    train(first, optimizer, 2)
    with torch.no_grad():
        for (_, target), (_, source) in zip(second.parameters, first.parameters, strict=True):
            target.copy_(source)
    continued = Optimizer(second.parameters, TrainingSection())
    continued.restore(optimizer.state().items(), optimizer.steps)
    train(second, continued, 3)
    assert second.digest() == straight.digest()


def test_state_of_another_model_is_refused(small, tmp_path):
    optimizer = Optimizer(open_model(small).parameters, TrainingSection())
    for state in ({"exp_avg:unknown": torch.zeros(3)}, {"exp_avg:model.norm.weight": torch.zeros(3)}):
        with pytest.raises(PolicyError, match="does not fit"):
            optimizer.restore(state.items(), 1)


def test_digest_sees_every_weight(small):
    lm = open_model(small)
    seen = {lm.digest()}
    for _, parameter in lm.parameters:
        with torch.no_grad():
            parameter.view(-1)[-1] += 1e-3
        seen.add(lm.digest())
    assert len(seen) == len(lm.parameters) + 1


def test_unknown_loss_type_is_refused(small):
    with pytest.raises(PolicyError, match="loss_type"):
        make_batch(open_model(small), GROUPS, dataclasses.replace(TrainingSection(), loss_type="sapo"))
