"""What people and programs say, as tokens: through the chat template where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import write_model

from swarm.clock import WallClock
from swarm.config.schema import Config, PolicySection
from swarm.errors import PolicyError
from swarm.policy import checkpoint
from swarm.policy.model.model import LanguageModel
from swarm.policy.policy import Policy
from swarm.records import TrainingGroup, Turn

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
TURNS = (Turn("user", "1+1"), Turn("assistant", "2"), Turn("user", "2+2"))


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str | None], LanguageModel]:
    def loaded(template: str | None) -> LanguageModel:
        language_model = LanguageModel(write_model(tmp_path / "m"), revision="", device=torch.device("cpu"), dtype=torch.float32)
        language_model.tokenizer.chat_template = template
        return language_model

    return loaded


def said(language_model: LanguageModel, prompt: object) -> str:
    (row,) = language_model.encode_prompts([prompt])  # type: ignore[list-item]
    return str(language_model.tokenizer.decode(row))


def test_a_conversation_goes_through_the_template(model: Callable[[str | None], LanguageModel]) -> None:
    chatty = model(TEMPLATE)
    assert said(chatty, TURNS) == "<user>1+1<assistant>2<user>2+2<assistant>"
    assert said(chatty, "1+1") == "1+1", "a text is continued as it is"
    assert said(chatty, "") == "<bos>", "there is always something to continue"
    with pytest.raises(PolicyError, match="system comes first"):
        chatty.encode_prompts([(*TURNS, Turn("system", "x"))])
    assert said(chatty, TURNS[:1]) == "<user>1+1<assistant>", "one turn is what tasks are shown as"


def test_without_a_template_turns_are_lines(model: Callable[[str | None], LanguageModel]) -> None:
    assert said(model(None), TURNS) == "1+1<unk>2<unk>2+2", "the tiny vocabulary has no line break"
    assert said(model(None), TURNS[:1]) == said(model(None), "1+1") == "1+1"


async def test_without_a_template_the_last_turn_is_the_prompt(tmp_path: Path) -> None:
    config = Config(policy=replace(PolicySection(), model=str(write_model(tmp_path / "m"))))
    async with Policy(config, WallClock(), checkpoint=None, trained=False) as policy:
        how = {"num_generations": 1, "max_completion_length": 5, "temperature": 0.0, "seed": 0}
        whole, last = await policy.converse([TURNS, "2+2"], **how)
    assert whole == last
    assert whole[0].prompt_tokens == 3


async def test_a_policy_that_is_only_asked_does_without_its_optimizers_state(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    config = Config(policy=replace(PolicySection(), model=str(folder)))

    def opened(path: Path | None, trained: bool) -> Policy:
        return Policy(config, WallClock(), checkpoint=path, trained=trained)

    async with opened(None, True) as policy:
        samples = (await policy.generate(["1+1"], num_generations=4, max_completion_length=5, temperature=1.0, seed=1))[0]
        texts = tuple(sample.completion for sample in samples)
        ids = tuple(sample.token_ids for sample in samples)
        await policy.train([TrainingGroup("1+1", texts, (1.0, 0.0, 1.0, 0.0), (1.0,) * 4, foreign=False, token_ids=ids)])
        await policy.save(tmp_path / "checkpoints", {})
        tag, (before,) = policy.tag, await policy.answer(["1+1"], max_completion_length=5)
    newest = checkpoint.newest(tmp_path / "checkpoints")
    async with opened(newest, False) as asked:
        assert asked.tag == tag
        assert await asked.answer(["1+1"], max_completion_length=5) == [before]
        (reply,) = (await asked.converse(["1+1"], num_generations=1, max_completion_length=5, temperature=0, seed=0))[0]
        assert (reply.text, reply.prompt_tokens) == (before, 3)
        await asked.export(tmp_path / "exported")
    assert (tmp_path / "exported" / "config.json").exists()
