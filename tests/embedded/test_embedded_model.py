"""The shipped model: plain Hugging Face files, an exact tokenizer, the stated skill, and no
held-out prompt in its making."""

import hashlib
import json
from pathlib import Path

import pytest
import reasoning_gym
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import swarm.policy
from protocols.manifest import Manifest, permits
from protocols.recipe import Recipe
from swarm.tasks.compact import COMPACT
from swarm.tasks.held_out import held_out

FOLDER = Path(swarm.policy.__file__).parent / "embedded"
MANIFEST = Path(swarm.policy.__file__).parents[1] / "manifests" / "embedded.toml"
MAKING = json.loads((FOLDER / "making.json").read_text())


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    loaded, info = AutoModelForCausalLM.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(info.values()), info
    return loaded.eval()


def test_the_files_are_few_small_and_plain():
    assert {path.suffix for path in FOLDER.iterdir()} <= {".json", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2**20


def test_it_is_a_tiny_llama_that_computes_in_32_bits(model):
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 150_000 <= model.num_parameters() == MAKING["parameters"] <= 1_000_000
    assert model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_tokenizer_is_characters_with_an_end_and_a_padding(tokenizer, model):
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert len(tokenizer) == model.config.vocab_size < 100
    assert tokenizer.chat_template is None
    assert len({tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}) == 3
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


@given(text=st.text(alphabet=[*map(chr, range(32, 127)), "\n"]))
def test_ascii_text_survives(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@given(text=st.text())
def test_every_character_is_one_token_and_strangers_are_unknown(tokenizer, text):
    known = {*map(chr, range(32, 127)), "\n"}
    ids = tokenizer(text)["input_ids"]
    assert [i == tokenizer.unk_token_id for i in ids] == [character not in known for character in text]


def test_special_tokens_cannot_be_written_in_a_text(tokenizer):
    ids = tokenizer("1<eos>2<pad><unk>")["input_ids"]
    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id} & set(ids)


def test_a_round_trip_through_save_pretrained(tokenizer, model, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, words = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = words("rev:hello=", return_tensors="pt")["input_ids"]
    assert torch.equal(ids, tokenizer("rev:hello=", return_tensors="pt")["input_ids"])
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_the_held_out_rule_is_the_one_the_model_was_made_under():
    """If this fails, nodes may evaluate on prompts that the model was made with: restore the rule
    or make the model again."""
    tasks = [task for task in MAKING["held_out_accuracy"]["base"] if task != "mean"]
    decisions = bytes(held_out(f"reasoning_gym/{task}\nprobe {i}") for task in tasks for i in range(4096))
    assert hashlib.sha256(decisions).hexdigest() == MAKING["held_out_probe"]


def test_latent_skill(model, tokenizer):
    """On unseen prompts the base is seldom right and often right once in eight: what reinforcement
    needs."""
    torch.manual_seed(0)
    right, informative, asked = 0, 0, 0
    tokenizer.padding_side = "left"
    for task, compact in COMPACT.items():
        problems = reasoning_gym.create_dataset(task, seed=987654321, size=1000, **compact.levels[0])
        unseen = [entry for entry in problems if held_out(f"reasoning_gym/{task}\n{compact.prompt(entry)}")][:20]
        prompts = tokenizer([compact.prompt(entry) for entry in unseen], return_tensors="pt", padding=True)
        output = model.generate(
            prompts["input_ids"],
            attention_mask=prompts["attention_mask"],
            max_new_tokens=18,
            do_sample=True,
            top_k=0,
            num_return_sequences=8,
        )
        texts = tokenizer.batch_decode(output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, entry in enumerate(unseen):
            rewards = [compact.right(entry, text) for text in texts[8 * i : 8 * i + 8]]
            right += sum(rewards)
            informative += min(rewards) != max(rewards)
            asked += 1
    assert 0.08 < right / (8 * asked) < 0.45
    assert informative / asked > 0.5


def test_the_built_in_manifest_permits_exactly_these_tasks():
    from swarm.tasks.reasoning import ReasoningGym

    manifest = Manifest.from_toml(MANIFEST.read_text())
    assert {rule.name for rule in manifest.environments} == {f"reasoning_gym/{task}" for task in COMPACT}
    assert {rule.version for rule in manifest.environments} == {ReasoningGym().version}
    for task, compact in COMPACT.items():
        for level in range(len(compact.levels) + 1):
            recipe = Recipe(f"reasoning_gym/{task}", ReasoningGym().version, (("level", level),), 0, bytes(32), 0)
            assert (permits(manifest, recipe) is None) == (level < len(compact.levels))
