"""The sampler through its interface: exact log-probabilities, ends, caps, seeds, and the prompt
formats of different models."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from tiny_models import BOS, EOS, write_model
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.public_name import public_name
from swarm.records import Turn

ARCHITECTURES = ["llama", "gpt2", "sliding", "gemma"]
PROMPTS = ["1+1=", "what is 12*12?", "x", "a prompt longer than the window: 3"]


def open_model(folder) -> LanguageModel:
    return load_base(PolicySection(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def llama(model_folder) -> LanguageModel:
    return open_model(model_folder)


def sample(lm, prompts=PROMPTS, *, n=4, cap=12, temperature=1.0, seed=0):
    return CacheEngine(lm).sample(
        lm.encode_prompts(prompts), num_generations=n, max_tokens=cap, temperature=temperature, seed=seed
    )


def alone(lm, prompt_ids, ids, temperature=1.0) -> torch.Tensor:
    """Log-probabilities of a completion from one plain forward pass, without padding, cache or
    neighbours."""
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_sampling_distribution(tmp_path, architecture, temperature):
    lm = open_model(write_model(tmp_path / architecture, architecture, hidden=32, layers=2))
    groups = sample(lm, temperature=temperature)
    assert any(len(s.token_ids) < 12 for group in groups for s in group), "some rows must leave the batch early"
    for prompt_ids, group in zip(lm.encode_prompts(PROMPTS), groups, strict=True):
        for sampled in group:
            expected = alone(lm, prompt_ids, sampled.token_ids, temperature).sum().item()
            assert sampled.logprob == pytest.approx(expected, abs=1e-4)


def test_finished_means_the_end_was_sampled(llama):
    samples = [s for group in sample(llama, n=16, cap=20) for s in group]
    assert {s.finished for s in samples} == {True, False}
    for s in samples:
        assert s.finished == (s.token_ids[-1] == EOS)
        assert EOS not in s.token_ids[:-1]
        assert len(s.token_ids) == 20 or s.finished


def test_every_end_token_of_the_model_ends(model_folder):
    lm = open_model(model_folder)
    seven = lm.tokenizer.convert_tokens_to_ids("7")
    lm.model.generation_config.eos_token_id = [EOS, seven]
    lm.stop_ids = (EOS, seven)
    ends = {s.token_ids[-1] for group in sample(lm, n=32) for s in group if s.finished}
    assert ends == {EOS, seven}


def test_stop_tokens_come_from_tokenizer_and_generation_config(tmp_path):
    folder = write_model(tmp_path / "m", hidden=32, layers=1)
    lm = open_model(folder)
    lm.model.generation_config.eos_token_id = [7, EOS]
    lm.save(tmp_path / "two")
    assert open_model(tmp_path / "two").stop_ids == (EOS, 7)


def test_a_seed_decides_everything(llama):
    assert sample(llama, seed=5) == sample(llama, seed=5)
    assert sample(llama, seed=5) != sample(llama, seed=6)


def test_frequencies_follow_the_probabilities(llama):
    count = 6000
    (group,) = sample(llama, ["1+1="], n=count, cap=1, seed=1)
    ids = llama.encode_prompts(["1+1="])[0]
    with torch.no_grad():
        probabilities = llama.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
    seen = torch.bincount(torch.tensor([s.token_ids[0] for s in group]), minlength=len(probabilities))
    deviation = (seen - count * probabilities) / (count * probabilities * (1 - probabilities)).sqrt()
    assert deviation.abs().max() < 4.5
    assert math.isclose(deviation.square().mean().item(), 1, abs_tol=0.6)


def test_greedy_equals_transformers_generate(llama):
    for prompt, (sampled,) in zip(PROMPTS, sample(llama, n=1, temperature=0.0, cap=15), strict=True):
        ids = torch.tensor([llama.encode_prompts([prompt])[0]])
        expected = llama.model.generate(input_ids=ids, do_sample=False, max_new_tokens=15, pad_token_id=0)
        assert sampled.token_ids == expected[0, ids.shape[1] :].tolist()


def test_batches_beyond_the_row_limit_keep_groups_whole(llama, monkeypatch):
    monkeypatch.setattr("swarm.policy.fit.memory.MAX_ROWS", 9)
    groups = sample(llama, n=4, temperature=1.0)
    assert [len(group) for group in groups] == [4] * len(PROMPTS)
    for ids, group in zip(llama.encode_prompts(PROMPTS), groups, strict=True):
        for s in group:
            assert s.logprob == pytest.approx(alone(llama, ids, s.token_ids).sum().item(), abs=1e-4)


def test_no_prompts_no_samples(llama):
    assert sample(llama, []) == []


def test_more_than_the_positions_is_refused(llama):
    with pytest.raises(PolicyError, match="256 positions"):
        sample(llama, ["1" * 250], cap=7)
    assert sample(llama, ["1" * 250], cap=6, n=1)


def test_broken_weights_are_named(model_folder):
    lm = open_model(model_folder)
    with torch.no_grad():
        lm.model.model.norm.weight[0] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(PolicyError, match="no finite"):
            sample(lm, temperature=temperature)


def test_chat_template_wraps_the_prompt(model_folder):
    lm = open_model(model_folder)
    lm.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}|{{ m.content }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant|{% endif %}"
    )
    (ids,) = lm.encode_prompts([(Turn("user", "1+1="),)])
    assert ids[0] == BOS
    assert lm.decode([ids]) == ["<user|1+1=><assistant|"]


def test_a_tokenizer_that_wraps_texts(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "wraps")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    tokenizer.save_pretrained(folder)
    lm = open_model(folder)
    (ids,) = lm.encode_prompts(["1+1="])
    assert ids[0] == BOS
    assert EOS not in ids
    assert lm.encode_completions(["1+1="] * 2, ["2", "2"], [True, False]) == [[ids[1] + 1, EOS], [ids[1] + 1]]


def test_an_empty_prompt_starts_from_nothing(llama):
    assert llama.encode_prompts([""]) == [[BOS]]
    assert len(sample(llama, [""], n=2)[0]) == 2


def test_special_tokens_in_foreign_text_stay_text(llama):
    (ids,) = llama.encode_completions(["2+2="], ["4<eos>"], [False])
    assert EOS not in ids
    assert llama.decode([ids]) == ["4<eos>"]


def test_text_survives_decoding_and_encoding(llama):
    texts = ["", " 12  3 ", "a,b . c", "<|x|>"]
    rows = llama.encode_completions(["1+1="] * len(texts), texts, [True] * len(texts))
    assert all(row[-1] == EOS for row in rows)
    assert llama.decode(rows) == texts


def test_names_in_public_hide_paths(model_folder):
    assert public_name(str(model_folder)) == "tiny-llama"
    assert public_name("embedded") == "embedded"
    assert public_name("org/name") == "org/name"


@pytest.mark.parametrize("damage", ["missing", "truncated weights", "no weights", "lacking a weight"])
def test_what_cannot_be_loaded_is_one_error(tmp_path, damage):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    if damage != "missing":
        write_model(folder, hidden=32, layers=1)
    weights = folder / "model.safetensors"
    if damage == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "lacking a weight":
        tensors = load_file(weights)
        del tensors["model.norm.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(PolicyError, match=r"cannot load|lacks weights"):
        open_model(folder)
