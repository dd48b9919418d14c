"""A float16 base beneath an adapter, as on cards without bfloat16: it samples, learns and resumes."""

from __future__ import annotations

import pytest
import torch

from protocols.messages import Completion
from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.policy import checkpoint
from swarm.policy.model import model
from swarm.policy.model.model import dtype_of
from swarm.policy.policy_worker import Worker
from swarm.policy.update.loss_scale import FIRST, GROWS_AFTER, LARGEST, LossScale


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.use_deterministic_algorithms(False)


def worker(folder, dtype="float16", adapter="lora", path=None):
    policy = PolicySection(model=str(folder), device="cpu", dtype=dtype, adapter=adapter, lora_rank=4)
    opened = Worker(policy, GenerationSection(), TrainingSection(learning_rate=1e-2, warmup_steps=0, groups_per_update=0))
    opened.open(path)
    return opened


def group():
    completions = [Completion(text, True, len(text) + 1, -1.0).to_array() for text in ("2", "3", "22", "4")]
    return {
        "prompt": "1+1=", "completions": completions, "rewards": [1.0, 0.0, 0.0, 0.0], "weights": [1.0] * 4, "foreign": True,
        "token_ids": None, "min_probability": 0.0, "max_tokens": 0,
    }  # fmt: skip


def test_a_card_without_bfloat16_takes_it_for_a_frozen_base_only(monkeypatch):
    card = torch.device("cuda:0")
    monkeypatch.setattr(model, "_has_bfloat16", lambda device: False)
    assert [dtype_of("auto", card, kind) for kind in ("none", "lora", "qlora")] == [torch.float32, torch.float16, torch.float16]
    monkeypatch.setattr(model, "_has_bfloat16", lambda device: True)
    assert dtype_of("auto", card, "lora") == torch.bfloat16
    assert dtype_of("auto", torch.device("cpu"), "lora") == torch.float32


def test_it_samples_learns_as_float32_does_and_resumes(model_folder, tmp_path):
    likely = {}
    for dtype in ("float32", "float16"):
        learner = worker(model_folder, dtype)
        assert {weight.dtype for _, weight in learner._policy.parameters} == {torch.float32}
        before = learner.log_likelihoods([["1+1="], ["2"]])[0]
        for _ in range(4):
            figures = learner.train([group()])
            assert figures["skipped"] == 0
        likely[dtype] = learner.log_likelihoods([["1+1="], ["2"]])[0]
        assert likely[dtype] > before + 0.1
    assert likely["float16"] == pytest.approx(likely["float32"], abs=0.05)
    assert next(learner._policy.model.parameters()).dtype == torch.float16
    asked = {"prompts": ["1+1="], "num_generations": 4, "max_completion_length": 6, "temperature": 1.0, "seed": 1}
    sampled = learner.generate(asked)["groups"]
    saved = learner.save({"directory": str(tmp_path), "node_state": {}})
    assert checkpoint.meta(checkpoint.newest(tmp_path))["dtype"] == "float16"
    again = worker(model_folder, path=saved["path"])
    assert again.generate(asked)["groups"] == sampled
    assert again.hello(None)["tag"] == learner.hello(None)["tag"]


def test_all_weights_are_not_trained_in_it(model_folder):
    with pytest.raises(PolicyError, match=r"policy\.adapter = lora"):
        worker(model_folder, adapter="none")


def test_the_scale_falls_at_once_and_grows_slowly():
    scale, other = LossScale(torch.float16), LossScale(torch.bfloat16)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), FIRST)
    scale.undo([weight])
    assert weight.grad.tolist() == [1.0, 1.0]
    scale.stepped(finite=False)
    assert scale.value == FIRST / 2
    for _ in range(GROWS_AFTER):
        scale.stepped(finite=True)
    assert scale.value == FIRST
    for _ in range(20 * GROWS_AFTER):
        scale.stepped(finite=True)
    assert scale.value == LARGEST
    other.stepped(finite=False)
    other.undo([weight])
    assert (other.value, weight.grad.tolist()) == (1.0, [1.0, 1.0])


def test_a_gradient_that_is_too_large_is_left_out_and_the_next_one_is_not(model_folder):
    learner = worker(model_folder)
    learner._trainer.loss_scale.value = 2.0**40
    skipped = [learner.train([group()])["skipped"] for _ in range(40)]
    assert skipped[0] == 1
    assert skipped[-1] == 0
    assert learner._optimizer.steps > 0
