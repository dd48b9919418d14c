"""The policy as the node sees it: a handle on a real child process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trio
from tiny_models import EOS, write_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trio.testing import MockClock

from swarm.clock import VirtualClock, WallClock
from swarm.config.schema import Config, GenerationSection, PolicySection, TrainingSection
from swarm.errors import ChildDied, HomeError, PolicyError
from swarm.policy import checkpoint, policy_worker
from swarm.policy.policy import Policy
from swarm.records import TrainingGroup

PROMPTS = ["1+1=", "what is 2*3?"]


def policy(folder, clock=None, *, start=None, **training) -> Policy:
    config = PolicySection(model=str(folder), device="cpu", niceness=0)
    settings = TrainingSection(**{"learning_rate": 1e-3, "warmup_steps": 2, **training})
    return Policy(Config(policy=config, training=settings), clock or WallClock(), checkpoint=start)


async def one_round(handle: Policy, number: int):
    """Solve, reward digits, train on the first group as own and the second as foreign."""
    groups = await handle.generate(PROMPTS, num_generations=6, max_completion_length=10, temperature=1.0, seed=number)
    training = []
    for prompt, samples, foreign in zip(PROMPTS, groups, (False, True), strict=True):
        completions = tuple(sample.completion for sample in samples)
        rewards = tuple(float(sum(c.isdigit() for c in completion.text)) for completion in completions)
        ids = None if foreign else tuple(sample.token_ids for sample in samples)
        training.append(TrainingGroup(prompt, completions, rewards, (1.0,) * len(completions), foreign, ids))
    return groups, await handle.train(training)


async def test_a_round(model_folder):
    async with policy(model_folder) as handle:
        first = handle.tag
        assert (first.model, first.step, len(first.digest)) == ("tiny-llama", 0, 32)
        groups, report = await one_round(handle, 1)
        assert [len(group) for group in groups] == [6, 6]
        for sample in (sample for group in groups for sample in group):
            completion = sample.completion
            assert completion.tokens == len(sample.token_ids) <= 10
            assert completion.finished == (sample.token_ids[-1] == EOS)
            assert completion.logprob < 0
            assert "<eos>" not in completion.text
        assert handle.tag == report.tag != first
        assert report.tag.step == 1
        assert 0 < report.completions <= 12
        assert report.tokens <= sum(sample.completion.tokens for group in groups for sample in group)
        assert (report.skipped, report.clip_fraction, report.kl) == (0, 0.0, 0.0)
        assert report.gradient_norm > 0
        figures = handle.statistics()
        assert figures.generated_tokens == sum(sample.completion.tokens for group in groups for sample in group)
        assert (figures.trained_tokens, figures.updates, figures.restarts) == (report.tokens, 1, 0)
        assert figures.generate_seconds > 0
        assert figures.train_seconds > 0


async def test_answers_are_greedy(model_folder):
    async with policy(model_folder) as handle:
        answers = await handle.answer(PROMPTS, max_completion_length=8)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        output = model.generate(input_ids=ids, do_sample=False, max_new_tokens=8, pad_token_id=0)
        assert answer == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


async def test_resuming_is_exact(model_folder, tmp_path):
    """Train, save, load in another child, train on: the same weights, bit for bit, as without the
    interruption."""
    async with policy(model_folder) as straight:
        for number in range(6):
            await one_round(straight, number)
        async with policy(model_folder) as interrupted:
            for number in range(3):
                await one_round(interrupted, number)
            tag = interrupted.tag
            await interrupted.save(tmp_path, {"round": 3, "curriculum": {"level": 2}})
        found = checkpoint.newest(tmp_path)
        assert found == tmp_path / "step-00000003"
        assert checkpoint.node_state(found) == {"round": 3, "curriculum": {"level": 2}}
        async with policy(model_folder, start=found) as resumed:
            assert resumed.tag == tag
            for number in range(3, 6):
                await one_round(resumed, number)
            assert resumed.tag == straight.tag


async def test_the_same_calls_give_the_same_policy(model_folder):
    tags = []
    for seeds in ((0, 1), (0, 1), (0, 2)):
        async with policy(model_folder) as handle:
            for seed in seeds:
                await one_round(handle, seed)
            tags.append(handle.tag)
    assert tags[0] == tags[1] != tags[2]


async def test_a_killed_child_comes_back_from_its_checkpoint(model_folder, tmp_path):
    async with policy(model_folder) as handle:
        await one_round(handle, 0)
        await handle.save(tmp_path, {})
        saved = handle.tag
        await one_round(handle, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(train_until_death, handle)
            await trio.sleep(0.05)
            os.kill(handle.pid, signal.SIGKILL)
        with pytest.raises(ChildDied):
            await handle.answer(PROMPTS, max_completion_length=2)
        await handle.restart(checkpoint.newest(tmp_path))
        assert handle.tag == saved
        await one_round(handle, 1)
        assert handle.statistics().restarts == 1


async def train_until_death(handle):
    with contextlib.suppress(ChildDied):
        while True:
            await one_round(handle, 1)


async def test_export_is_a_plain_folder(model_folder, tmp_path):
    target = tmp_path / "deep" / "exported"
    async with policy(model_folder) as handle:
        await one_round(handle, 0)
        await handle.export(target)
        with pytest.raises(PolicyError, match="not an empty folder"):
            await handle.export(target)
        empty = tmp_path / "empty"
        empty.mkdir()
        await handle.export(empty)
        with pytest.raises(HomeError, match="cannot write"):
            await handle.export(Path("/proc/exported"))
        expected = await handle.answer(PROMPTS, max_completion_length=8)
    async with policy(target) as other:
        assert await other.answer(PROMPTS, max_completion_length=8) == expected
    assert [path.name for path in tmp_path.glob("**/.writing*")] == []
    AutoTokenizer.from_pretrained(empty)
    AutoModelForCausalLM.from_pretrained(empty)


async def test_a_refusing_disk_costs_nothing_but_the_checkpoint(model_folder, tmp_path):
    async with policy(model_folder) as handle:
        await one_round(handle, 0)
        with pytest.raises(HomeError, match="cannot write the checkpoint"):
            await handle.save(Path("/proc/checkpoints"), {})
        await one_round(handle, 1)
        await handle.save(tmp_path, {})
        assert checkpoint.newest(tmp_path)


async def test_a_disk_that_fills_up_is_one_sentence(model_folder, tmp_path):
    """A limit on file sizes stands in for a full disk: whichever library hits it, the answer is a
    HomeError and no litter."""
    async with policy(model_folder) as handle:
        await handle.save(tmp_path, {"round": 0})
        whole = checkpoint.newest(tmp_path)
        for limit in (100, 3000, 100_000):
            limit_file_size(handle.pid, limit)
            with pytest.raises(HomeError, match="File too large"):
                await handle.save(tmp_path, {"round": 1})
            assert [path.name for path in tmp_path.iterdir()] == [whole.name]
            assert checkpoint.damage(whole) is None
            with pytest.raises(HomeError, match="File too large"):
                await handle.export(tmp_path / "exported")
            assert [path.name for path in tmp_path.iterdir()] == [whole.name]


def limit_file_size(pid, limit):
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


async def test_what_does_not_load_says_so(model_folder, tmp_path):
    with pytest.raises(PolicyError, match=r"cannot load the model .*nowhere"):
        async with policy(tmp_path / "nowhere"):
            pass
    with pytest.raises(HomeError, match="cannot read"):
        async with policy(model_folder, start=tmp_path / "step-00000001"):
            pass
    with pytest.raises(PolicyError, match=r"policy\.device"):
        async with Policy(Config(policy=PolicySection(model=str(model_folder), device="cuda:99")), WallClock(), checkpoint=None):
            pass


async def test_a_checkpoint_of_another_base_is_refused(model_folder, tmp_path):
    other = write_model(tmp_path / "other", hidden=32, layers=1)
    async with policy(other) as handle:
        await handle.save(tmp_path / "checkpoints", {})
    with pytest.raises(PolicyError, match="set it back or move"):
        async with policy(model_folder, start=checkpoint.newest(tmp_path / "checkpoints")):
            pass


async def test_the_kl_penalty_keeps_to_the_true_base(tmp_path):
    base = write_model(tmp_path / "base", hidden=32, layers=1)
    async with policy(base, beta=0.1) as handle:
        for number in range(2):
            await one_round(handle, number)
        await handle.save(tmp_path / "checkpoints", {})
        _, straight = await one_round(handle, 2)
    assert straight.kl > 0
    found = checkpoint.newest(tmp_path / "checkpoints")
    async with policy(base, start=found, beta=0.1) as handle:
        _, resumed = await one_round(handle, 2)
    assert dataclasses.replace(resumed, seconds=0) == dataclasses.replace(straight, seconds=0)
    write_model(base, hidden=32, layers=1, seed=1)
    with pytest.raises(PolicyError, match="not the one that training began with"):
        async with policy(base, start=found, beta=0.1):
            pass
    async with policy(base, start=found):  # without the penalty the base is not needed
        pass


def test_virtual_time_depends_on_the_work_only(model_folder):
    async def main(clock):
        virtual = VirtualClock(clock, 0)
        times = []
        async with policy(model_folder, virtual) as handle:
            for number in range(3):
                await one_round(handle, number)
                times.append(trio.current_time())
        return times

    runs = []
    for _ in range(2):
        clock = MockClock()
        runs.append(trio.run(main, clock, clock=clock))
    assert runs[0] == runs[1]
    assert runs[0][0] > 0


def test_the_node_side_imports_no_torch():
    code = "import sys, swarm.policy.policy, swarm.policy.checkpoint; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_worker_starts_no_threads():
    """The fork server imports it and then forks: torch's threads would be lost in the children."""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    code = (
        "import os, numpy; count = lambda: len(os.listdir('/proc/self/task'));"
        "before = count(); import swarm.policy.policy_worker; print(count() - before)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
    assert not torch.cuda.is_initialized()


def test_large_models_are_hashed_at_checkpoints_only(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(policy_worker, "DIGEST_EVERY_STEP_BELOW", 1000)
    config = dataclasses.asdict(PolicySection(model=str(model_folder), device="cpu"))
    arguments = {"policy": config, "generation": dataclasses.asdict(GenerationSection()), "training": {}, "checkpoint": None}
    try:
        handlers = policy_worker.main(arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    _, before, _ = handlers["hello"](None)["tag"]
    fields = {
        "prompt": "1+1=",
        "rewards": [1.0, 0.0],
        "weights": [1.0, 1.0],
        "foreign": True,
        "token_ids": None,
        "min_probability": 0.0,
        "max_tokens": 0,
    }
    _, digest, step = handlers["train"]([{**fields, "completions": [("2", True, 2, -1.0), ("3", True, 2, -1.0)]}])["tag"]
    assert (digest, step) == (before, 1)
    _, digest, _ = handlers["save"]({"directory": str(tmp_path), "node_state": {}})["tag"]
    assert digest != before
    assert checkpoint.meta(checkpoint.newest(tmp_path))["digest"] == digest.hex()


async def test_the_embedded_model_is_the_default():
    async with Policy(Config(policy=PolicySection(device="cpu")), WallClock(), checkpoint=None) as handle:
        assert handle.tag.model == "embedded"
        assert len(await handle.answer(PROMPTS, max_completion_length=4)) == 2


async def test_a_prompt_that_does_not_fit_is_told_and_left_without_an_answer(tmp_path):
    folder = write_model(tmp_path / "m", hidden=32, layers=2, positions=32)
    async with policy(folder) as handle:
        assert await handle.fits(["1+1=", "1" * 25, "1+1="], [None, None, "1" * 12], 10) == [True, False, False]
        answers = await handle.answer(["1" * 25, "1+1="], max_completion_length=10)
        assert answers[0] == ""
        assert answers[1] == (await handle.answer(["1+1="], max_completion_length=10))[0]
