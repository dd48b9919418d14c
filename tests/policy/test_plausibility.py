"""Of a foreign answer only what the own policy might have said is trained on."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import write_model

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.batch import make_batch
from swarm.policy.model import load_base
from swarm.policy.optimizer import Optimizer
from swarm.policy.plausibility import plausible_prefix
from swarm.policy.update import micro_batch_logprobs, update
from swarm.records import TrainingGroup

TEXT = "2=11|zx"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return load_base(PolicySection(model=str(write_model(tmp_path_factory.mktemp("plausibility") / "m", hidden=32, layers=2))))


def group(texts, rewards, min_probability, *, finished=True, token_ids=None):
    completions = tuple(Completion(text, finished, len(text) + 1, -1.0) for text in texts)
    weights = tuple(float(reward > 0) for reward in rewards)
    return TrainingGroup("1+1=", completions, rewards, weights, token_ids is None, token_ids, min_probability)


def train(lm, groups, **settings):
    """The gradient of one update on a fresh optimizer that does not move, and its figures."""
    section = TrainingSection(learning_rate=1e-30, **settings)
    gradients = []

    class Recorder(Optimizer):
        def step(self):
            gradients.append([None if p.grad is None else p.grad.clone() for _, p in lm.parameters])
            return super().step()

    figures = update(lm, None, Recorder(lm.parameters, section), make_batch(lm, groups, section), section, 1.0)
    return gradients[0], figures


def token_probabilities(lm, text):
    (micro,) = make_batch(lm, [group([text, "q"], (1.0, 0.0), 0.0)], TrainingSection()).micro_batches
    with torch.no_grad():
        return micro_batch_logprobs(lm, micro, 1.0)[0].exp().tolist()


def test_the_prefix_ends_at_the_first_token_below_and_does_not_resume():
    logprobs = torch.log(torch.tensor([[0.5, 0.01, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.001, 0.5, 0.5, 0.5]]))
    least = torch.full((3, 1), math.log(0.1))
    assert plausible_prefix(logprobs, least).tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert plausible_prefix(logprobs, torch.full((3, 1), -math.inf)).min() == 1


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_only_the_beginning_before_the_implausible_token_has_a_gradient(small, loss_type):
    probabilities = token_probabilities(small, TEXT)
    position = min(range(1, len(TEXT)), key=lambda i: probabilities[i])
    floor = min(probabilities[:position])
    assert probabilities[position] < floor, "the chosen text has an implausible token that is not its first"
    floor = (floor + probabilities[position]) / 2
    cut, figures = train(small, [group([TEXT, "q"], (1.0, 0.0), floor)], loss_type=loss_type)
    assert figures.plausible[0] == pytest.approx(position / (len(TEXT) + 1))
    # The same tokens alone, as an unfinished answer, point the same way; the share of each token stays what it was.
    alone, _ = train(small, [group([TEXT[:position], "q"], (1.0, 0.0), 0.0, finished=False)], loss_type=loss_type)
    for one, other in zip(cut, alone, strict=True):
        if one is not None:
            torch.testing.assert_close(one * (len(TEXT) + 1) / position, other, rtol=1e-4, atol=1e-6)


def test_own_text_and_text_without_a_floor_are_trained_whole(small):
    whole, figures = train(small, [group([TEXT, "q"], (1.0, 0.0), 0.0)])
    assert figures.plausible == (1.0,)
    nothing, figures = train(small, [group([TEXT, "q"], (1.0, 0.0), 1.0), group(["1", "1"], (1.0, 1.0), 0.5)])
    assert figures.plausible == (0.0, 1.0)
    assert any(gradient.abs().max() > 0 for gradient in whole if gradient is not None)
    assert all(gradient.abs().max() == 0 for gradient in nothing if gradient is not None)
