"""vLLM as far as it is used, without a card: a fake that takes the arguments which the oldest and
the newest allowed release take, and no others."""

from __future__ import annotations

import json
import os
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import write_model
from vllm_signatures import checked, releases

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.engine import vllm as vllm_module
from swarm.policy.engine.ends import Ends
from swarm.policy.engine.vllm import VllmEngine, sampled
from swarm.policy.model.adapter import AdapterSpec
from swarm.policy.model.model import LanguageModel, load_base

RELEASES = releases()


class FakeVllm:
    """The module and the engine in one, which answers with one token and its end.

    `done` is what was asked of it, `weights` the bytes that it was handed, `alive` how many of them
    were in memory beside the policy's own.
    """

    def __init__(self, release: str, error: Exception | None = None) -> None:
        self.error, self.done, self.weights, self.alive = error, [], {}, 0
        self.model_config = SimpleNamespace(max_model_len=64)
        takes = RELEASES[release]
        self.SamplingParams = checked(self.settings, takes["SamplingParams"])
        self.LLM = checked(self.open, takes["LLM"])
        for name in ("sleep", "wake_up", "apply_model", "reset_prefix_cache", "generate"):
            setattr(self, name, checked(getattr(self, f"do_{name}"), takes[name]))

    def settings(self, **options: Any) -> SimpleNamespace:
        if options["temperature"] == 0 and options["n"] > 1:
            raise ValueError("n must be 1 when using greedy sampling")  # as vLLM says
        if options["stop"] and not options["detokenize"]:
            raise ValueError("stop strings are only supported when detokenize is True")
        return SimpleNamespace(**options)

    def open(self, **options: Any) -> FakeVllm:
        if self.error:
            raise self.error
        self.options = options
        self.config = json.loads((Path(options["model"]) / "config.json").read_text())
        self.done.append(options["load_format"])
        return self

    def do_sleep(self, level: int) -> None:
        self.done.append("sleep")

    def do_wake_up(self, tags: list[str]) -> None:
        self.done += tags

    def do_apply_model(self, func: Any) -> None:
        func(self)

    def load_weights(self, weights: Any) -> None:
        living: set[int] = set()
        for name, weight in weights:
            living.add(id(weight))
            weakref.finalize(weight, living.discard, id(weight))
            self.alive = max(self.alive, len(living))
            self.weights[name] = weight.clone()
            del weight
        self.done.append("load")

    def do_reset_prefix_cache(self) -> None:
        self.done.append("reset")

    def do_generate(self, prompts: list[Any], sampling_params: list[Any], *, use_tqdm: bool) -> list[Any]:
        self.done.append("generate")
        logprobs = [{5: SimpleNamespace(logprob=-0.5)}, {2: SimpleNamespace(logprob=-0.25)}]
        answer = SimpleNamespace(token_ids=(5, 2), logprobs=logprobs)
        return [SimpleNamespace(outputs=[answer] * each.n) for each in sampling_params]


@pytest.fixture(params=sorted(RELEASES))
def vllm(request, monkeypatch, tmp_path) -> FakeVllm:
    fake = FakeVllm(request.param)
    monkeypatch.setitem(sys.modules, "vllm", fake)  # type: ignore[arg-type]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(vllm_module.os, "environ", dict(os.environ))
    return fake


@pytest.fixture
def lm(tmp_path) -> LanguageModel:
    return load_base(PolicySection(model=str(write_model(tmp_path / "m", hidden=32, layers=2)), device="cpu"))


@pytest.fixture
def free(monkeypatch) -> list[int]:
    """The bytes that the card has free, one value per look; the last one stays."""
    values = [1000]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (values.pop(0) if len(values) > 1 else values[0], 10_000))
    return values


def on_a_card(lm: LanguageModel) -> Any:
    """A policy that says it is on one."""
    parts = ("model", "tokenizer", "dtype", "adapter", "stop_ids", "max_length")
    return SimpleNamespace(device=torch.device("cuda:0"), **{name: getattr(lm, name) for name in parts})


class Room:
    """The memory of a card, as far as vLLM asks it."""

    gone = 0

    def share(self) -> float:
        return 0.5

    def taken(self, size: int) -> None:
        self.gone = size


def open_engine(lm: LanguageModel, room: Room | None = None, stop: tuple[str, ...] = ()) -> VllmEngine:
    return VllmEngine(on_a_card(lm), Ends((2,), stop, lambda ids: ""), stop, room or Room())  # type: ignore[arg-type]


def test_it_gets_the_weights_before_its_cache_and_sleeps_in_between(vllm, lm, free):
    engine = open_engine(lm)
    assert vllm.done == ["dummy", "sleep"]
    with torch.no_grad():
        lm.parameters[0][1].add_(1.0)  # as an update would
    groups = engine.sample([[4, 5], [6]], num_generations=3, max_tokens=4, temperature=1.0, seed=1)
    assert vllm.done[2:] == ["weights", "load", "kv_cache", "reset", "generate", "sleep"]
    assert all(torch.equal(vllm.weights[name], weight) for name, weight in lm.parameters), "as they are now"
    assert [[each.token_ids for each in group] for group in groups] == [[[5, 2]] * 3] * 2


def test_an_adapter_is_added_to_its_base_one_layer_at_a_time(vllm, lm, free):
    lm.adapt(AdapterSpec("lora", 4, 8.0, "all-linear"))
    with torch.no_grad():
        for _, weight in lm.parameters:
            weight.normal_(std=0.1)
    open_engine(lm).sample([[4, 5]], num_generations=1, max_tokens=4, temperature=1.0, seed=1)
    assert lm.adapter is not None
    merged = dict(lm.adapter.merged().named_parameters())
    assert vllm.weights.keys() == merged.keys()
    assert all(torch.equal(vllm.weights[name], weight) for name, weight in merged.items())
    assert vllm.alive <= 2, "of them all, only the one at hand and the one before"


def test_the_likeliest_answer_is_asked_for_once(vllm, lm, free):
    groups = open_engine(lm, stop=("x",)).sample([[4], [5]], num_generations=3, max_tokens=4, temperature=0.0, seed=1)
    assert [len(group) for group in groups] == [3, 3]


def test_its_length_is_what_its_cache_has_room_for(vllm, lm, free):
    engine = open_engine(lm)
    assert vllm.options["max_model_len"] == -1
    with pytest.raises(PolicyError, match="cache of 64"):
        engine.sample([[4] * 61], num_generations=1, max_tokens=4, temperature=1.0, seed=1)


def test_what_it_keeps_asleep_training_does_not_have(vllm, lm, free):
    free[:] = [1000, 900]
    room = Room()
    open_engine(lm, room)
    assert room.gone == 100


def test_a_base_in_4_bits_is_announced_whole(vllm, lm, free):
    lm.model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    open_engine(lm)
    assert "quantization_config" not in vllm.config


def test_it_compiles_once_for_a_model(vllm, lm, free):
    open_engine(lm)
    first = vllm.options["model"]
    open_engine(lm)
    assert vllm.options["model"] == first
    assert [path.name for path in Path(first).parent.iterdir()] == [Path(first).name], "and leaves nothing else behind"


def test_it_is_quiet_and_tells_nobody(vllm, lm, free):
    open_engine(lm)
    set_for_it = vllm_module.os.environ
    assert (set_for_it["VLLM_NO_USAGE_STATS"], set_for_it["VLLM_LOGGING_STREAM"]) == ("1", "ext://sys.stderr")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the cache is larger than the memory"),
        RuntimeError("CUDA out of memory"),
        AssertionError("Error in memory profiling"),
    ],
)
def test_where_it_does_not_start_it_says_what_to_do(vllm, lm, free, error):
    vllm.error = error
    with pytest.raises(PolicyError, match=r"generation\.engine = auto"):
        open_engine(lm)


def test_a_card_that_it_would_not_take_is_refused(vllm):
    language_model = SimpleNamespace(device=torch.device("cuda:1"))
    with pytest.raises(PolicyError, match="CUDA_VISIBLE_DEVICES"):
        VllmEngine(language_model, Ends((), (), lambda ids: ""), (), Room())  # type: ignore[arg-type]


def test_what_it_answers_is_translated():
    """Objects of the shape of vLLM's CompletionOutput: one dict from token to its log-probability
    per token."""
    logprobs = [{5: SimpleNamespace(logprob=-0.5)}, {7: SimpleNamespace(logprob=-1.5)}, {2: SimpleNamespace(logprob=-0.25)}]
    ends = Ends([2], [], lambda ids: "")
    whole = sampled(SimpleNamespace(token_ids=(5, 7, 2), logprobs=logprobs, finish_reason="stop"), ends, 8)
    assert (whole.token_ids, whole.finished, whole.logprob) == ([5, 7, 2], True, -2.25)
    cut = sampled(SimpleNamespace(token_ids=(5, 7), logprobs=logprobs[:2], finish_reason="length"), ends, 2)
    assert (cut.token_ids, cut.finished, cut.logprob) == ([5, 7], False, -2.0)
