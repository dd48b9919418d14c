"""Of a foreign answer only what the own policy might have said is trained on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_models import write_model

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import load_base
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.plausibility import plausible
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import micro_batch_logprobs, update
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

    figures = update(Trainer(lm, Recorder(lm.parameters, section), section, Memory(lm, 0.0)), make_batch(lm, groups, section))
    return gradients[0], figures


def token_probabilities(lm, text):
    (micro,) = make_batch(lm, [group([text, "q"], (1.0, 0.0), 0.0)], TrainingSection()).micro_batches
    with torch.no_grad():
        return micro_batch_logprobs(lm, micro, 1.0)[0].exp().tolist()


def test_an_unlikely_token_spoils_a_short_answer_and_is_left_out_of_a_long_one():
    least = torch.full((3, 1), math.log(0.1))
    short = torch.log(torch.tensor([[0.5, 0.01, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.01, 1.0]]))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    assert plausible(short, mask, least).tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert plausible(short, mask, torch.full((3, 1), -math.inf)).tolist() == mask.tolist()
    long = torch.zeros(2, 100)
    long[0, [3, 50]] = long[1, [3, 50, 51]] = math.log(0.01)
    kept = plausible(long, torch.ones(2, 100), least[:2])
    assert kept[0].sum() == 98
    assert kept[0, [3, 50]].sum() == 0
    assert kept[1].sum() == 0


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_an_answer_left_out_leaves_the_update_as_it_is_without_it(small, loss_type):
    floor = min(token_probabilities(small, TEXT)) * 1.01
    plain, strange = group(["1", "q"], (1.0, 0.0), 0.0), group([TEXT, "q"], (1.0, 0.0), floor)
    alone, only = train(small, [plain], loss_type=loss_type)
    screened, figures = train(small, [plain, strange, strange, strange], loss_type=loss_type)
    assert figures.plausible == (1.0, 0.0, 0.0, 0.0)
    assert figures.loss == pytest.approx(only.loss, rel=1e-4)
    assert same(alone, screened), "nobody's answers weigh less because of text that is left out"
    whole, figures = train(small, [plain, group([TEXT, "q"], (1.0, 0.0), 0.0)], loss_type=loss_type)
    assert figures.plausible == (1.0, 1.0)
    assert not same(alone, whole)
    nothing, figures = train(small, [strange], loss_type=loss_type)
    assert figures.plausible == (0.0,)
    assert all(gradient.abs().max() == 0 for gradient in nothing if gradient is not None)


def same(one, other):
    """Whether two gradients are equal but for rounding."""
    return all(
        a is None or torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max())) for a, b in zip(one, other, strict=True)
    )


def test_a_claim_of_length_is_not_believed(small):
    """Two right answers of 40 tokens that claim to be of one, in a swarm that allows 8."""
    plain, long = group(["1", "q"], (1.0, 0.0), 0.0), group(["12=" * 13, "q"], (1.0, 0.0), 0.0)
    claims = replace(long, max_tokens=8, completions=tuple(replace(each, tokens=1) for each in long.completions))
    lengths = [micro.ids.shape[1] for micro in make_batch(small, [plain, claims], TrainingSection()).micro_batches]
    assert max(lengths) <= 8, "it is not forwarded, nor a part of it"
    alone, _ = train(small, [plain])
    beside, figures = train(small, [plain, claims])
    assert figures.plausible == (1.0, 0.0), "and nothing was learned from it"
    assert same(alone, beside)
    within, figures = train(small, [plain, replace(claims, max_tokens=40)])
    assert figures.plausible == (1.0, 1.0)
    assert not same(alone, within)


def test_text_that_cannot_be_read_teaches_nothing(small):
    _, figures = train(small, [group(["1", "q"], (1.0, 0.0), 0.0), group(["\N{SNOWMAN}", "q"], (1.0, 0.0), 0.0)])
    assert figures.plausible == (1.0, 0.0)


def test_own_text_and_text_without_a_floor_are_trained_whole(small):
    whole, figures = train(small, [group([TEXT, "q"], (1.0, 0.0), 0.0)])
    assert figures.plausible == (1.0,)
    nothing, figures = train(small, [group([TEXT, "q"], (1.0, 0.0), 1.0), group(["1", "1"], (1.0, 1.0), 0.5)])
    assert figures.plausible == (0.0, 1.0)
    assert any(gradient.abs().max() > 0 for gradient in whole if gradient is not None)
    assert all(gradient.abs().max() == 0 for gradient in nothing if gradient is not None)
