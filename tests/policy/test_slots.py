"""Continuous batching: exact log-probabilities, stop strings, equal completions for any number of
slots."""

from __future__ import annotations

import pytest
import torch
from tiny_models import EOS, write_model

from swarm.config.schema import GenerationSection, PolicySection
from swarm.errors import PolicyError
from swarm.policy.engine import choose, continuous
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.engine.choose import ends_of, open_engine
from swarm.policy.engine.continuous import SlotEngine
from swarm.policy.engine.ends import Ends
from swarm.policy.engine.slots import draw
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import load_base

PROMPTS = ["1+1=", "what is 12*12?", "x", "a prompt longer than the window: 3", "7"]


@pytest.fixture(scope="module")
def lm(model_folder):
    return load_base(PolicySection(model=str(model_folder), device="cpu"))


def open_slots(lm, most=1024, stop=()):
    memory = Memory(lm, 0.0)
    memory.most_slots.now = most
    return SlotEngine(lm, ends_of(lm, GenerationSection(stop=stop)), memory)


def sample(engine, lm, *, n=4, cap=20, temperature=0.8, seed=3):
    prompts = lm.encode_prompts(PROMPTS)
    return engine.sample(prompts, num_generations=n, max_tokens=cap, temperature=temperature, seed=seed)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "qwen3"])
def test_logprobs_are_exact_and_slots_change_nothing(tmp_path, architecture):
    lm = load_base(PolicySection(model=str(write_model(tmp_path / "m", architecture, hidden=32, layers=2)), device="cpu"))
    whole = sample(open_slots(lm), lm)
    for prompt, group in zip(lm.encode_prompts(PROMPTS), whole, strict=True):
        for each in group:
            with torch.no_grad():
                logits = lm.model(input_ids=torch.tensor([prompt + each.token_ids])).logits[0, len(prompt) - 1 : -1]
            logprobs = (logits / 0.8).log_softmax(-1).gather(1, torch.tensor(each.token_ids)[:, None])
            assert each.logprob == pytest.approx(logprobs.sum().item(), abs=1e-4)
            assert each.finished == (each.token_ids[-1] == EOS)
    ids = [[each.token_ids for each in group] for group in whole]
    assert {len(row) for group in ids for row in group} > {20}
    for most in (1, 3, 7):
        assert [[each.token_ids for each in group] for group in sample(open_slots(lm, most), lm)] == ids


def test_slots_are_used_again_by_the_next_call(lm):
    engine = open_slots(lm, 6)
    one, again, other = sample(engine, lm), sample(engine, lm), sample(engine, lm, seed=4)
    assert one == again != other


def test_greedy_is_the_other_engines(lm):
    assert [[each.token_ids for each in group] for group in sample(open_slots(lm, 3), lm, n=1, temperature=0.0)] == [
        [each.token_ids for each in group] for group in sample(CacheEngine(lm), lm, n=1, temperature=0.0)
    ]


def test_draws_follow_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, -2.0, 3.0, -float("inf")]])
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    token, logprob = draw(logits.expand(20_000, 5), 1.0, uniform)
    shares = torch.bincount(token, minlength=5) / 20_000
    torch.testing.assert_close(shares, logits.softmax(-1)[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(logprob, logits.log_softmax(-1)[0][token])


@pytest.mark.parametrize("kind", ["slots", "cache"])
def test_a_stop_string_ends_a_row_with_the_tokens_that_say_it(lm, kind):
    whole = sample(open_slots(lm), lm)
    text = lm.decode([max((each for group in whole for each in group), key=lambda each: len(each.token_ids)).token_ids])[0]
    stop = text[4:6]
    ends = ends_of(lm, GenerationSection(stop=(stop,)))
    engine = open_slots(lm, 3, (stop,)) if kind == "slots" else CacheEngine(lm, ends, Memory(lm, 0.0))
    stopped = sample(engine, lm)
    said = [each for group in stopped for each in group if stop in lm.decode([each.token_ids])[0]]
    assert said
    for each in said:
        assert each.finished
        assert stop not in lm.decode([each.token_ids[:-1]])[0]
        assert stop not in ends.cut(lm.decode([each.token_ids])[0])
    if kind == "slots":  # and up to there it is the same completion, with the log-probability of what is kept
        for group, cut in zip(whole, stopped, strict=True):
            for long, short in zip(group, cut, strict=True):
                assert long.token_ids[: len(short.token_ids)] == short.token_ids
                assert (long.logprob == pytest.approx(short.logprob, abs=1e-4)) == (long.token_ids == short.token_ids)


def test_a_stop_string_within_tokens_and_across_looks():
    words = {0: "ab", 1: "c\n", 2: "\nd", 3: "", 9: ""}
    ends = Ends([9], ["\n\n"], lambda ids: "".join(words[i] for i in ids))
    assert ends.length([0, 1, 2, 0], 0) == 3
    assert ends.length([0, 1, 3, 2, 0], 3) == 4
    assert ends.length([0, 1, 0, 9, 1, 2], 0) == 4
    assert ends.length([0, 1, 0], 0) is None
    assert ends.cut("abc\n\nd") == "abc"


def test_which_engine(lm, monkeypatch):
    memory = Memory(lm, 0.0)
    assert type(open_engine(lm, GenerationSection(), memory)) is CacheEngine
    monkeypatch.setattr(choose, "SLOTS_FROM", 0)
    assert type(open_engine(lm, GenerationSection(), memory)) is SlotEngine
    with pytest.raises(PolicyError, match=r"vLLM|CUDA"):
        open_engine(lm, GenerationSection(engine="vllm"), memory)


def test_broken_weights_are_named_here_too(model_folder):
    lm = load_base(PolicySection(model=str(model_folder), device="cpu"))
    with torch.no_grad():
        lm.model.model.norm.weight[0] = float("nan")
    with pytest.raises(PolicyError, match="no finite"):
        sample(open_slots(lm), lm)


def test_one_long_prompt_makes_no_other_row_longer(lm, monkeypatch):
    """Where the rows do not all fit at its length; the completions stay the same."""
    prompts = lm.encode_prompts(["1", "2" * 60, "3", "4"])

    def drawn(room):
        made = []
        slots = continuous.Slots
        monkeypatch.setattr(
            continuous, "Slots", lambda lm, count, length: (made.append((count, length)), slots(lm, count, length))[1]
        )
        memory = Memory(lm, 0.0)
        monkeypatch.setattr(memory, "slots", lambda length: room // length)
        engine = SlotEngine(lm, ends_of(lm, GenerationSection()), memory)
        groups = engine.sample(prompts, num_generations=4, max_tokens=10, temperature=1.0, seed=5)
        monkeypatch.undo()
        return [[each.token_ids for each in group] for group in groups], made

    together, made = drawn(10_000)
    assert [count for count, _ in made] == [16]
    apart, made = drawn(300)
    assert apart == together
    assert made[0] == (12, len(prompts[0]) + 10)
    assert made[1] == (4, len(prompts[1]) + 10)
