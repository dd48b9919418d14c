"""Which card is used and how, decided without one: what is asked of torch's CUDA is recorded."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_models import write_model

from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import PolicyError
from swarm.policy import policy_worker as worker_module
from swarm.policy.fit.memory import BESIDE, Memory
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
    config = PolicySection(model="embedded", device="cuda:1", dtype="float32")
    with pytest.raises(PolicyError):
        Worker(config, GenerationSection(), TrainingSection()).open(None)
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
        memory.most_tokens.now = 1 << 60
        kept.append(memory.micro_batch_tokens())
    assert kept[1] - kept[0] == pytest.approx(3 * size * 0.9 / Memory(language_model, 2)._token_bytes, rel=0.01)


def test_what_generation_keeps_training_does_not_have(tmp_path):
    language_model = load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))
    memory = Memory(language_model, 2)
    memory.most_tokens.now = 1 << 60
    whole = memory.micro_batch_tokens()
    assert memory.holds(2**28)
    assert whole - memory.micro_batch_tokens() == pytest.approx(2**28 / memory._token_bytes, abs=1)
    memory.fewer_slots(4)
    assert memory.micro_batch_tokens() == whole, "after a shortage nothing is kept"
    assert memory.holds(2**30), "a good pass fits beside it"
    assert memory.micro_batch_tokens() > BESIDE
    assert not memory.holds(2**31)
    assert memory.micro_batch_tokens() == whole


def test_what_only_answers_is_not_made_to_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(worker_module, "kind_of_training", lambda config: "lora")
    config = PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu")
    worker = Worker(config, GenerationSection(), TrainingSection())
    worker.open(None, trained=False)
    assert worker.hello(None)["adapter"] == "none"
    torch.use_deterministic_algorithms(False)
