"""Which card is used and how, decided without one: what is asked of torch's CUDA is recorded."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from tiny_models import write_model

from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.policy import policy_worker as worker_module
from swarm.policy.engine.ends import Ends
from swarm.policy.engine.vllm import VllmEngine
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import device_for, dtype_of, load_base
from swarm.policy.policy_worker import Worker


def test_the_configured_card_is_the_current_one_before_anything_is_loaded(monkeypatch):
    done = []

    def load(config, *, quantised):
        done.append("load")
        raise PolicyError("no such card here")

    monkeypatch.setattr(worker_module, "device_for", lambda config: torch.device(config.device))
    monkeypatch.setattr(worker_module, "load_base", load)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    with pytest.raises(PolicyError):
        Worker(PolicySection(model="embedded", device="cuda:1"), GenerationSection(), TrainingSection()).open(None)
    assert done == [torch.device("cuda:1"), "load"]


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_taken_where_the_card_computes_in_it(monkeypatch, native, expected):
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(asked.append(device)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert dtype_of("auto", torch.device("cuda:1")) == expected
    assert asked == [torch.device("cuda:1")]


def test_the_embedded_model_stays_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(PolicySection(model="embedded")).type == "cpu"
    with pytest.raises(PolicyError, match="cuda"):  # which is what any other model would have, were there one
        device_for(PolicySection(model="some/model"))


def test_a_policy_that_only_answers_has_memory_for_it(tmp_path):
    language_model = load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))
    gib = 2 * language_model.size * 4 / 2**30  # twice the weights; training would keep three more of them
    assert Memory(language_model, 1 + gib).slots(10) > 1
    size = language_model.size * 4
    kept = []
    for trained in (True, False):
        memory = Memory(language_model, 1 + gib, trained=trained)
        memory.most_tokens = 1 << 60
        kept.append(memory.micro_batch_tokens())
    assert kept[1] - kept[0] == pytest.approx(3 * size * 0.9 / Memory(language_model, 2)._token_bytes, rel=0.01)


def test_what_generation_keeps_training_does_not_have(tmp_path):
    language_model = load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))
    memory = Memory(language_model, 2)
    memory.most_tokens = 1 << 60
    whole = memory.micro_batch_tokens()
    assert memory.holds(2**28)
    assert whole - memory.micro_batch_tokens() == pytest.approx(2**28 / memory._token_bytes, abs=1)
    memory.fewer_slots(4)
    assert memory.micro_batch_tokens() == whole, "after a shortage nothing is kept"
    assert not memory.holds(2**30)
    assert memory.micro_batch_tokens() == whole


def test_what_only_answers_is_not_made_to_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(worker_module, "kind_of_training", lambda config: "lora")
    config = PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu")
    worker = Worker(config, GenerationSection(), TrainingSection())
    worker.open(None, trained=False)
    assert worker.hello(None)["adapter"] == "none"
    torch.use_deterministic_algorithms(False)


def test_vllm_is_refused_on_a_card_that_it_would_not_take(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace())
    language_model = SimpleNamespace(device=torch.device("cuda:1"))
    with pytest.raises(PolicyError, match="CUDA_VISIBLE_DEVICES"):
        VllmEngine(language_model, Ends((), (), lambda ids: ""), (), SimpleNamespace())  # type: ignore[arg-type]


class FakeVllm:
    """vLLM as far as it is used, which answers with one token and its end; `done` is what was asked
    of it."""

    SamplingParams = SimpleNamespace

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.done, self.weights = error, [], {}

    def LLM(self, **options):
        if self.error:
            raise self.error
        self.done.append(options["load_format"])
        return self

    def sleep(self, level):
        self.done.append("sleep")

    def wake_up(self, tags):
        self.done += tags

    def apply_model(self, work):
        work(self)

    def load_weights(self, weights):
        self.weights = {name: weight.clone() for name, weight in weights}
        self.done.append("load")

    def reset_prefix_cache(self):
        self.done.append("reset")

    def generate(self, requests, settings, use_tqdm):
        self.done.append("generate")
        logprobs = [{5: SimpleNamespace(logprob=-0.5)}, {2: SimpleNamespace(logprob=-0.25)}]
        answer = SimpleNamespace(token_ids=(5, 2), logprobs=logprobs)
        return [SimpleNamespace(outputs=[answer] * each.n) for each in settings]


def on_a_card(language_model):
    """A policy that says it is on one."""
    parts = ("model", "tokenizer", "dtype", "adapter", "stop_ids", "max_length")
    return SimpleNamespace(device=torch.device("cuda:0"), **{name: getattr(language_model, name) for name in parts})


def test_vllm_gets_the_weights_before_its_cache_and_sleeps_in_between(monkeypatch, tmp_path):
    vllm = FakeVllm()
    monkeypatch.setitem(sys.modules, "vllm", vllm)  # type: ignore[arg-type]
    language_model = load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))
    engine = VllmEngine(on_a_card(language_model), Ends((2,), (), lambda ids: ""), (), SimpleNamespace(share=lambda: 0.5))  # type: ignore[arg-type]
    assert vllm.done == ["dummy", "sleep"]
    with torch.no_grad():
        language_model.parameters[0][1].add_(1.0)  # as an update would
    groups = engine.sample([[4, 5], [6]], num_generations=3, max_tokens=4, temperature=1.0, seed=1)
    assert vllm.done[2:] == ["weights", "load", "kv_cache", "reset", "generate", "sleep"]
    assert all(torch.equal(vllm.weights[name], weight) for name, weight in language_model.parameters), "as they are now"
    assert [[sampled.token_ids for sampled in group] for group in groups] == [[[5, 2]] * 3] * 2


@pytest.mark.parametrize("error", [ValueError("the cache is larger than the memory"), RuntimeError("CUDA out of memory")])
def test_vllm_that_does_not_start_says_what_to_do(monkeypatch, tmp_path, error):
    monkeypatch.setitem(sys.modules, "vllm", FakeVllm(error))  # type: ignore[arg-type]
    language_model = load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))
    with pytest.raises(PolicyError, match=r"generation\.engine = auto"):
        VllmEngine(on_a_card(language_model), Ends((2,), (), lambda ids: ""), (), SimpleNamespace(share=lambda: 0.5))  # type: ignore[arg-type]
