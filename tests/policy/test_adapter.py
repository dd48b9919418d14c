"""LoRA policies: only the adapter is trained and kept, the base comes back whole, and exports equal
the policy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny_models import write_model
from transformers import AutoModelForCausalLM

from swarm.config.schema import Config, GenerationSection, PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.policy.model import model
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.model import LanguageModel
from swarm.policy.policy_worker import Worker
from swarm.records import Turn
from swarm.serving.exporting import export_newest

IDS = torch.arange(4, 24)[None]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_before():
    """Opening a policy makes the whole process deterministic, and a child is not needed here."""
    yield
    torch.use_deterministic_algorithms(False)


def opened(folder: Path, path: Path | None = None, *, beta: float = 0.0, rate: float = 1e-2, **policy: Any) -> Worker:
    config = PolicySection(model=str(folder), **{"device": "cpu", "adapter": "lora", "lora_rank": 4, **policy})
    worker = Worker(config, GenerationSection(), TrainingSection(learning_rate=rate, warmup_steps=0, beta=beta))
    worker.open(None if path is None else str(path))
    return worker


def one_round(worker: Worker, seed: int) -> dict[str, Any]:
    """Sample, reward digits, train."""
    prompts = ["1+1=", "what is 2*3?"]
    body = {"prompts": prompts, "num_generations": 6, "max_completion_length": 10, "temperature": 1.0, "seed": seed}
    groups = [
        {
            "prompt": prompt,
            "completions": [completion for completion, _ in samples],
            "rewards": [float(sum(c.isdigit() for c in text)) for (text, *_), _ in samples],
            "weights": [1.0] * 6,
            "foreign": False,
            "token_ids": [ids for _, ids in samples],
            "min_probability": 0.0,
            "max_tokens": 0,
        }
        for prompt, samples in zip(prompts, worker.generate(body)["groups"], strict=True)
    ]
    return worker.train(groups)


def saved(worker: Worker, root: Path) -> Path:
    worker.save({"directory": str(root), "node_state": {}})
    found = checkpoint.newest(root)
    assert found is not None
    return found


def logits(worker: Worker) -> torch.Tensor:
    with torch.no_grad():
        return worker._policy.model(IDS.to(worker._policy.device)).logits.float().cpu()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_only_a_float32_adapter_is_trained(model_folder, dtype):
    worker = opened(model_folder, dtype=dtype)
    before = {name: weight.clone() for name, weight in worker._policy.model.state_dict().items()}
    first = worker.hello(None)["tag"]
    answer = one_round(worker, 1)
    assert answer["gradient_norm"] > 0
    assert answer["tag"][1] != first[1], "the digest covers what is trained"
    changed = {name for name, weight in worker._policy.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert {weight.dtype for _, weight in worker._policy.parameters} == {torch.float32}
    assert sum(weight.numel() for _, weight in worker._policy.parameters) < worker._policy.size / 5


@pytest.mark.parametrize(("adapter", "rate"), [("none", 1e-6), ("lora", 5e-5)])
def test_without_a_rate_the_kind_of_training_has_its_own(model_folder, adapter, rate):
    worker = opened(model_folder, adapter=adapter, rate=0.0)
    before = [weight.detach().clone() for _, weight in worker._policy.parameters]
    assert one_round(worker, 1)["updates"] == 1
    moved = max(
        float((weight.detach() - was).abs().max()) for (_, weight), was in zip(worker._policy.parameters, before, strict=True)
    )
    assert moved == pytest.approx(rate, rel=0.1), "AdamW's first step is the rate, whatever the gradient"


def test_it_begins_as_the_base_and_alike_on_every_node(model_folder):
    base, one, other = opened(model_folder, adapter="none"), opened(model_folder), opened(model_folder)
    assert torch.equal(logits(one), logits(base))
    assert one.hello(None)["tag"] == other.hello(None)["tag"] != base.hello(None)["tag"]


def test_resuming_is_exact_and_the_checkpoint_holds_no_base(model_folder, tmp_path):
    straight = opened(model_folder)
    one_round(straight, 0)
    path = saved(straight, tmp_path)
    assert {file.name for file in (path / checkpoint.MODEL).iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(file.stat().st_size for file in path.rglob("*")) < 4 * 4 * sum(w.numel() for _, w in straight._policy.parameters)
    assert checkpoint.has_adapter(path)
    resumed = opened(model_folder, path)
    assert resumed.hello(None)["tag"] == straight.hello(None)["tag"]
    for seed in (1, 2):
        assert one_round(resumed, seed)["tag"] == one_round(straight, seed)["tag"]


def test_a_checkpoint_is_what_auto_goes_on_with(model_folder, tmp_path):
    path = saved(opened(model_folder), tmp_path)
    assert opened(model_folder, path, adapter="auto")._recipe.kind == "lora"


def test_another_base_or_another_adapter_is_refused(tmp_path):
    folder = write_model(tmp_path / "model")
    path = saved(opened(folder), tmp_path / "checkpoints")
    with pytest.raises(PolicyError, match=r"rank 4.*rank 8.*set them back"):
        opened(folder, path, lora_rank=8)
    with pytest.raises(PolicyError, match=r"policy.adapter = lora .* say none"):
        opened(folder, path, adapter="none")
    write_model(folder, seed=1)
    with pytest.raises(PolicyError, match=r"not the one that the adapter .* was trained on"):
        opened(folder, path)


def test_the_reference_is_the_base_in_the_same_memory(model_folder):
    worker = opened(model_folder, beta=0.1)
    base = logits(opened(model_folder, adapter="none"))
    assert worker._trainer.reference is worker._policy
    assert one_round(worker, 1)["kl"] == 0
    assert one_round(worker, 2)["kl"] > 0
    with worker._policy.original():
        assert torch.equal(logits(worker), base)
    assert not torch.equal(logits(worker), base)
    assert all(weight.requires_grad for _, weight in worker._policy.parameters)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_exports_answer_as_the_policy_does(tmp_path, architecture):
    folder = write_model(tmp_path / "model", architecture)
    worker = opened(folder)
    one_round(worker, 1)
    worker.export(str(tmp_path / "merged"))
    adapter = saved(worker, tmp_path / "checkpoints") / checkpoint.MODEL
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.allclose(merged(IDS).logits, logits(worker), atol=1e-4)
        assert not torch.allclose(base(IDS).logits, logits(worker), atol=1e-2)
        loaded = peft.PeftModel.from_pretrained(base, adapter).eval()
        assert torch.allclose(loaded(IDS).logits, logits(worker), atol=1e-4)
    told = peft.PeftConfig.from_pretrained(adapter)
    assert told.base_model_name_or_path == "model", "a path would name people"


def test_a_policy_without_an_adapter_exports_none(model_folder, tmp_path):
    home = Home(tmp_path / "home")
    saved(opened(model_folder, adapter="none"), home.checkpoints)
    with pytest.raises(PolicyError, match="no adapter"):
        export_newest(home, Config(), tmp_path / "a", adapter=True, command="")


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_gradient_checkpointing_gives_the_same_gradient(model_folder, adapter):
    plain, again = (opened(model_folder, adapter=adapter, gradient_checkpointing=setting) for setting in ("off", "on"))
    assert len(again._policy._recomputed) == 3
    seen = []
    for layer in again._policy._recomputed:
        forward = layer.forward
        layer.forward = lambda *args, forward=forward, **options: (
            seen.append(torch.is_grad_enabled()),
            forward(*args, **options),
        )[1]
    ours, theirs = one_round(plain, 3), one_round(again, 3)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert theirs["gradient_norm"] == pytest.approx(ours["gradient_norm"], rel=1e-5)
    assert any(seen), "trained"
    assert not all(seen), "and sampled, with the cache"


def test_targets_that_are_not_there_are_named(model_folder):
    one = opened(model_folder, lora_targets="q_proj, v_proj")
    assert {name.split(".")[-4] for name, _ in one._policy.parameters} == {"q_proj", "v_proj"}
    with pytest.raises(PolicyError, match="lora_targets = 'nothing'"):
        opened(model_folder, lora_targets="nothing")


def test_four_bits_want_a_gpu(model_folder):
    with pytest.raises(PolicyError, match=r"CUDA GPU.*policy.adapter = lora"):
        opened(model_folder, adapter="qlora")


def test_over_real_weights_in_4_bits_it_learns_resumes_and_is_merged(tmp_path, monkeypatch):
    """On a GPU, or by the library's backend for the CPU, which swarmd itself refuses."""
    pytest.importorskip("bitsandbytes", reason="pip install 'swarmd[gpu]'")
    # There it forgets the gradient where it takes a model in eval mode, as policies always are, for
    # one that never learns.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    real = model.four_bits
    monkeypatch.setattr(model, "four_bits", lambda _, dtype: real(torch.device("cuda"), dtype) | {"device_map": {"": device}})
    folder = write_model(tmp_path / "base", "qwen2", hidden=256, layers=2)
    worker = opened(folder, adapter="qlora", device=device)
    assert "Linear4bit" in {type(module).__name__ for module in worker._policy.model.modules()}
    assert {weight.dtype for _, weight in worker._policy.parameters} == {torch.float32}
    before = logits(worker)
    assert all(one_round(worker, seed)["skipped"] == 0 for seed in range(3))
    after = logits(worker)
    near = 0.02 * float(after.abs().max())
    assert (after - before).abs().max() > 2 * near, "it has learned something"
    again = opened(folder, saved(worker, tmp_path / "checkpoints"), adapter="qlora", device=device)
    assert again.hello(None)["tag"] == worker.hello(None)["tag"]
    torch.testing.assert_close(logits(again), after, atol=near, rtol=0)
    worker.export(str(tmp_path / "whole"))
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(whole(IDS).logits, after, atol=near, rtol=0)


def test_the_recipe_is_what_a_checkpoint_tells(model_folder, tmp_path):
    worker = opened(model_folder)
    recorded = checkpoint.meta(saved(worker, tmp_path))["adapter"]
    assert recorded == dataclasses.asdict(AdapterSpec("lora", 4, 8.0, "all-linear"))


def test_a_checkpoint_keeps_the_alpha_that_it_was_trained_with(model_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(AdapterSpec, "of", lambda config, kind: AdapterSpec(kind, config.lora_rank, 32.0, config.lora_targets))
        path = saved(opened(model_folder), tmp_path)
    assert opened(model_folder, path)._recipe == AdapterSpec("lora", 4, 32.0, "all-linear")


def test_auto_trains_all_weights_where_they_fit_and_an_adapter_where_not(tmp_path):
    folder = write_model(tmp_path / "model")
    assert opened(folder, adapter="auto")._recipe.kind == "none"
    assert opened(folder, adapter="auto", memory=0.0001)._recipe.kind == "lora"


def test_a_conversation_is_given_as_turns(model_folder):
    lm = LanguageModel(model_folder, revision="", device=CPU, dtype=torch.float32)
    prompt = (Turn("user", "1+1="), Turn("assistant", "2"), Turn("user", "2+2="))
    plain = lm.encode_prompts([prompt])[0]
    assert lm.decode([plain])[0].count("1+1=") == 1
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}a:"
    assert lm.decode(lm.encode_prompts([prompt, (Turn("user", "3="),)])) == ["u:1+1=|a:2|u:2+2=|a:", "u:3=|a:"]
