"""Memory that runs out at any stage: the round ends in smaller pieces with the same result, and a
count."""

from __future__ import annotations

import pytest
import torch
from tiny_models import write_model

from protocols.messages import Completion
from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.policy.engine import likelihood
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.engine.choose import ends_of
from swarm.policy.engine.continuous import SlotEngine
from swarm.policy.fit.limit import Limit
from swarm.policy.fit.memory import Memory, ran_out
from swarm.policy.model.model import load_base
from swarm.policy.policy_worker import Worker
from swarm.policy.update import update as update_module
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.rounds import train
from swarm.policy.update.trainer import Trainer
from swarm.records import TrainingGroup

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


def group(prompt, texts, rewards):
    completions = tuple(Completion(text, True, len(text) + 1, -1.0) for text in texts)
    return TrainingGroup(prompt, completions, tuple(rewards), (1.0,) * len(texts), True, None)


GROUPS = [
    group("1+1=", ["2", "3", "22222", "4"], [1, 0, 0, 0]),
    group("a longer prompt, 7*3=", ["21", "twenty one", "7"], [1.0, 0.25, 0.0]),
    group("2+2=", ["4", "5"], [1, 0]),
]


@pytest.fixture(autouse=True)
def _as_before():
    """Opening a policy makes the whole process deterministic."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("oom") / "m", hidden=32, layers=2)


def open_model(folder):
    return load_base(PolicySection(model=str(folder), device="cpu"))


class Fails:
    """Raises at the calls of these numbers, and goes on to `inner` at all others."""

    def __init__(self, inner, error, *calls):
        self.inner, self.error, self.calls, self.count = inner, error, calls, 0

    def __call__(self, *args, **kwargs):
        self.count += 1
        if self.count in self.calls:
            raise self.error
        return self.inner(*args, **kwargs)


def trained(folder, break_it=lambda lm, optimizer: None):
    """Weights after a round of two updates of two passes each, and how often memory ran out."""
    lm = open_model(folder)
    settings = TrainingSection(learning_rate=1e-2, warmup_steps=0, num_iterations=2, groups_per_update=2)
    optimizer, memory = Optimizer(lm.parameters, settings), Memory(lm, 0.0)
    memory.most_tokens.now = 45
    break_it(lm, optimizer)
    figures = train(Trainer(lm, optimizer, settings, memory), GROUPS)
    assert figures.skipped == 0
    assert optimizer.steps == 2 * figures.updates == 4
    assert figures.completions == 9
    return torch.cat([weight.detach().flatten() for _, weight in lm.parameters]), memory.take_shortages()


@pytest.fixture(scope="module")
def undisturbed(folder):
    weights, shortages = trained(folder)
    assert shortages == 0
    return weights


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "cpu"])
@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_in_a_forward_pass(folder, undisturbed, monkeypatch, error, call):
    monkeypatch.setattr(update_module, "micro_batch_logprobs", Fails(update_module.micro_batch_logprobs, error, call))
    weights, shortages = trained(folder)
    assert shortages == 1
    torch.testing.assert_close(weights, undisturbed, atol=2e-5, rtol=0)


@pytest.mark.parametrize("call", [1, 2, 4])
def test_in_a_backward_pass_whose_last_layers_are_done(folder, undisturbed, call):
    def break_it(lm, optimizer):
        class Break(torch.autograd.Function):
            count = 0

            @staticmethod
            def forward(ctx, hidden):
                return hidden.clone()

            @staticmethod
            def backward(ctx, gradient):
                Break.count += 1
                if Break.count == call:
                    assert lm.model.model.norm.weight.grad is not None, "the gradient of the last layers has been added"
                    raise ERRORS[0]
                return gradient

        lm.model.model.layers[0].register_forward_hook(
            lambda module, inputs, output: Break.apply(output) if output.requires_grad else output
        )

    weights, shortages = trained(folder, break_it)
    assert shortages == 1
    torch.testing.assert_close(weights, undisturbed, atol=2e-5, rtol=0)


@pytest.mark.parametrize("calls", [(1,), (1, 2), (2,)])
def test_while_alternatives_are_looked_at(folder, monkeypatch, calls):
    worker = Worker(PolicySection(model=str(folder), device="cpu"), GenerationSection(), TrainingSection())
    worker.open(None)
    asked = [["1+1=", "a longer prompt, 7*3=", "2+2="] * 30, ["2", "twenty one", "4"] * 30]
    undisturbed = worker.log_likelihoods(asked)
    monkeypatch.setattr(likelihood, "completion_logprobs", Fails(likelihood.completion_logprobs, ERRORS[0], *calls))
    assert worker.log_likelihoods(asked) == pytest.approx(undisturbed, abs=1e-4)
    body = {"prompts": ["1="], "num_generations": 2, "max_completion_length": 2, "temperature": 1.0, "seed": 1}
    assert worker.generate(body)["out_of_memory"] == len(calls), "told with the next answer that has room for it"
    monkeypatch.setattr(likelihood, "completion_logprobs", Fails(None, ERRORS[0], *range(1, 9)))
    with pytest.raises(PolicyError, match="even one answer"):
        worker.log_likelihoods(asked)


@pytest.mark.parametrize("call", [1, 3])
def test_in_the_optimizers_step(folder, undisturbed, call):
    def break_it(lm, optimizer):
        optimizer._make_state = Fails(optimizer._make_state, ERRORS[0], call)

    weights, shortages = trained(folder, break_it)
    assert shortages == 1
    assert torch.equal(weights, undisturbed)


def test_state_that_was_half_made_is_no_state(folder, undisturbed, monkeypatch):
    monkeypatch.setattr(torch, "zeros_like", Fails(torch.zeros_like, ERRORS[0], 8))
    weights, shortages = trained(folder)
    assert shortages == 1
    torch.testing.assert_close(weights, undisturbed, atol=2e-5, rtol=0)


def test_at_the_smallest_size_it_says_what_to_do(folder, monkeypatch):
    monkeypatch.setattr(update_module, "micro_batch_logprobs", Fails(None, ERRORS[0], *range(1, 100)))
    with pytest.raises(PolicyError, match="even one completion"):
        trained(folder)
    with pytest.raises(PolicyError, match="optimizer"):
        trained_with_no_room_for_the_optimizer(folder, monkeypatch)


def trained_with_no_room_for_the_optimizer(folder, monkeypatch):
    monkeypatch.undo()
    trained(folder, lambda lm, optimizer: setattr(optimizer, "_make_state", Fails(None, ERRORS[0], *range(1, 100))))


def test_other_errors_are_none_of_it(folder, monkeypatch):
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    monkeypatch.setattr(update_module, "micro_batch_logprobs", Fails(None, RuntimeError("shapes"), 1))
    with pytest.raises(RuntimeError, match="shapes"):
        trained(folder)


@pytest.mark.parametrize("stage", ["prefill", "decoding", "allocation"])
def test_while_sampling_in_slots(folder, monkeypatch, stage):
    def run(*calls):
        lm = open_model(folder)
        memory = Memory(lm, 0.0)
        engine = SlotEngine(lm, ends_of(lm, GenerationSection()), memory)
        target = {"prefill": "swarm.policy.engine.continuous.prefill", "decoding": "swarm.policy.engine.slots.draw"}.get(stage)
        if target:
            module, name = target.rsplit(".", 1)
            inner = __import__(module, fromlist=[name]).__dict__[name]
            monkeypatch.setattr(target, Fails(inner, ERRORS[0], *calls))
        else:
            monkeypatch.setattr("swarm.policy.engine.continuous.Slots", Fails(engine_slots, ERRORS[1], *calls))
        groups = engine.sample(
            lm.encode_prompts(["1+1=", "a long prompt", "x"]), num_generations=4, max_tokens=15, temperature=1.0, seed=1
        )
        monkeypatch.undo()
        return [[each.token_ids for each in group] for group in groups], memory.take_shortages()

    from swarm.policy.engine.continuous import Slots as engine_slots

    expected, none = run()
    assert none == 0
    assert run(1) == (expected, 1)
    if stage == "decoding":
        assert run(9) == (expected, 1)
    with pytest.raises(PolicyError, match="sample even one"):
        run(*range(1, 200))


def test_while_sampling_with_a_growing_cache(folder, monkeypatch):
    lm = open_model(folder)
    memory = Memory(lm, 0.0)
    engine = CacheEngine(lm, ends_of(lm, GenerationSection()), memory)
    monkeypatch.setattr(engine, "_continue", Fails(engine._continue, ERRORS[1], 1, 2))
    groups = engine.sample(lm.encode_prompts(["1", "2", "3"]), num_generations=4, max_tokens=5, temperature=1.0, seed=1)
    assert [len(group) for group in groups] == [4, 4, 4]
    assert memory.take_shortages() == 2


def test_one_shortage_and_then_none_gives_the_full_batch_again(folder, monkeypatch):
    lm = open_model(folder)
    settings = TrainingSection(learning_rate=1e-3, warmup_steps=0, groups_per_update=0)
    memory = Memory(lm, 0.0)
    trainer = Trainer(lm, Optimizer(lm.parameters, settings), settings, memory)
    passes = []
    inner = update_module.micro_batch_logprobs
    monkeypatch.setattr(update_module, "micro_batch_logprobs", lambda *given: (passes.append(1), inner(*given))[1])
    full = memory.micro_batch_tokens()

    def round_():
        passes.clear()
        train(trainer, GROUPS)
        return len(passes)

    assert round_() == 1
    monkeypatch.setattr(update_module, "micro_batch_logprobs", Fails(update_module.micro_batch_logprobs, ERRORS[0], 1, 2))
    train(trainer, GROUPS)
    assert memory.take_shortages() == 2
    assert memory.micro_batch_tokens() < full / 100, "a quarter of what this small batch had"
    counts = [round_() for _ in range(20)]
    assert counts[0] > 1, "the smaller size stays for a while"
    assert counts[-1] == 1
    assert memory.micro_batch_tokens() == full
    memory.fewer_slots(8)
    memory.fewer_scored(400, 2)
    engine = CacheEngine(lm, ends_of(lm, GenerationSection()), memory)
    for _ in range(20):
        engine.sample(lm.encode_prompts(["1"]), num_generations=2, max_tokens=2, temperature=1.0, seed=1)
        likelihood.log_likelihoods(lm, ["1"], ["2"], 1.0, memory)
    assert memory.slots(20) > 8
    assert memory.scored_tokens() > 400


def test_a_size_that_runs_out_again_is_tried_ever_later():
    limit = Limit(1000)
    tries, since = [], 0
    for _ in range(600):
        since += 1
        if limit.now > 600:  # the memory is too small for more, and stays so
            limit.lower(limit.now)
            tries.append(since)
            since = 0
        limit.passed()
    assert tries == sorted(tries)
    assert tries[:4] == [1, 9, 17, 33]
    assert len(tries) < 10
    for _ in range(200):  # the other program has ended
        limit.passed()
    limit.lower(1000)
    for _ in range(10):
        limit.passed()
    assert limit.now == 1000, "it is as patient as at first"


def test_a_part_counts_the_tokens_that_its_layout_holds(folder):
    lm = open_model(folder)
    long = "7" * 50
    groups = [group(long, ["1", "2", "3", "4"], [1, 0, 0, 0])]
    (packed,) = make_batch(lm, groups, TrainingSection()).micro_batches
    assert packed.tokens == packed.packing.ids.numel() < 60
    lm.recompute()
    try:
        monkey = pytest.MonkeyPatch()
        monkey.setattr("swarm.policy.update.layout.MAX_ROW_TOKENS", 10)
        (plain,) = make_batch(lm, groups, TrainingSection()).micro_batches
    finally:
        monkey.undo()
    assert plain.tokens == plain.packing.ids.numel() > 200, "each row has the prompt"
