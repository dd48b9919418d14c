"""The update against TRL's own GRPOTrainer: its generation, its advantages, its `_compute_loss`;
ours from the same samples."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from tiny_models import EOS
from trl import GRPOConfig, GRPOTrainer

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import load_base
from swarm.policy.update.batch import make_batch
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import update
from swarm.records import TrainingGroup

G = 4
PROMPTS = ["1+2=", "a longer prompt: 17*3=?", "zz"]
NUDGE = 1.0  # gradient descent step between the two passes, large enough that many ratios leave the clip range


class RecordingOptimizer:
    """Stands in for AdamW: keeps each pass's gradient and takes a plain gradient step, the same for
    both sides."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.gradients = []

    def clear(self):
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self):
        self.gradients.append({name: p.grad.clone() for name, p in self.parameters.items()})
        with torch.no_grad():
            for parameter in self.parameters.values():
                parameter -= NUDGE * parameter.grad
        return 1.0


def trl_trainer(folder, tmp_path, settings, temperature, rewards):
    def reward(completions, **_):
        values = [sum(c.isdigit() for c in text) + 0.5 * (len(text) % 3) for text in completions]
        values[:G] = [1.0] * G  # a group without any advantage
        rewards.extend(values)
        return values

    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=G * len(PROMPTS),
        num_generations=G,
        max_completion_length=30,
        gradient_accumulation_steps=1,
        temperature=temperature,
        loss_type=settings.loss_type,
        scale_rewards=settings.scale_rewards,
        beta=settings.beta,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        num_iterations=settings.num_iterations,
        mask_truncated_completions=settings.mask_truncated_completions,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        gradient_checkpointing=False,
        seed=3,
    )
    dataset = Dataset.from_dict({"prompt": PROMPTS})
    lm = load_base(PolicySection(model=str(folder), device="cpu"))
    trainer = GRPOTrainer(
        model=lm.model, reward_funcs=reward, args=arguments, train_dataset=dataset, processing_class=lm.tokenizer
    )
    trainer.current_gradient_accumulation_steps = 1  # set by Trainer.train in a real run
    return trainer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss_type": "grpo"},
        {"scale_rewards": "none"},
        {"beta": 0.3},
        {"beta": 0.3, "loss_type": "grpo", "scale_rewards": "none", "mask_truncated_completions": True},
        {"mask_truncated_completions": True},
        {"temperature": 0.7, "beta": 0.1},
    ],
    ids=lambda changes: ",".join(f"{key}={value}" for key, value in changes.items()) or "defaults",
)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "cached"])
def test_loss_and_gradients_equal_trl(model_folder, tmp_path, monkeypatch, changes, packed):
    if not packed:
        monkeypatch.setattr("swarm.policy.update.layout.MAX_ROW_TOKENS", 0)
    changes = dict(changes)
    temperature = changes.pop("temperature", 1.0)
    settings = TrainingSection(**{"num_iterations": 2, "epsilon": 0.05, "epsilon_high": 0.08, **changes})
    rewards: list[float] = []
    trainer = trl_trainer(model_folder, tmp_path, settings, temperature, rewards)
    trainer.model.train()
    inputs = trainer._generate_and_score_completions([{"prompt": p} for p in PROMPTS for _ in range(G)])

    ours = load_base(PolicySection(model=str(model_folder), device="cpu"))
    groups = to_groups(inputs, rewards)
    for number, ids in enumerate(ours.encode_prompts(PROMPTS)):
        row = number * G
        assert inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist() == ids
    reference = load_base(PolicySection(model=str(model_folder), device="cpu")) if settings.beta else None
    optimizer = RecordingOptimizer(dict(ours.parameters))
    figures = update(
        Trainer(ours, optimizer, settings, Memory(ours, 0.0), reference, temperature), make_batch(ours, groups, settings)
    )

    # TRL's side: the same two passes; old log-probabilities are those before the first.
    parameters = dict(trainer.model.named_parameters())
    losses = []
    for gradients in optimizer.gradients:
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        losses.append(loss.item())
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, parameters[name].grad, atol=2e-5, rtol=1e-3)
        with torch.no_grad():
            for name, gradient in gradients.items():
                parameters[name] -= NUDGE * gradient
    assert figures.loss == pytest.approx(sum(losses) / 2, rel=1e-3, abs=1e-5)
    assert figures.clip_fraction > 0, "the second pass must really clip"
    if settings.beta:  # then both sides average these over the same tokens
        metrics = trainer._metrics["train"]
        assert figures.kl == pytest.approx(sum(metrics["kl"]) / 2, rel=1e-3)
        assert figures.clip_fraction == pytest.approx(sum(metrics["clip_ratio/region_mean"]) / 2, rel=1e-3)


def to_groups(inputs, rewards):
    """TRL's samples as own groups, with the very tokens."""
    groups = []
    for number, prompt in enumerate(PROMPTS):
        rows = range(number * G, number * G + G)
        ids, completions = [], []
        for row in rows:
            tokens = inputs["completion_ids"][row].tolist()
            finished = EOS in tokens
            tokens = tokens[: tokens.index(EOS) + 1] if finished else tokens
            ids.append(tuple(tokens))
            completions.append(Completion("", finished, len(tokens), 0.0))
        values = tuple(rewards[row] for row in rows)
        groups.append(TrainingGroup(prompt, tuple(completions), values, (1.0,) * G, False, tuple(ids)))
    return groups
