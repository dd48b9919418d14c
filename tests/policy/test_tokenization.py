"""An answer has the tokens that this policy would write behind its prompt, and the end of its
template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.model.model import LanguageModel, load_base
from swarm.policy.model.tokenization import Tokenization
from swarm.records import Turn

PIECES = ["<unk>", "<s>", "</s>", "<end_of_turn>", "▁", *"0123456789+=aqx:\n", "42", "▁42"]
QUESTION = (Turn("user", "1+1="),)
MANY = [f"<{number}>" for number in range(60)]  # more than the model has embeddings for
BODY = (
    "{% for m in messages %}{% if m.role == 'user' %}q{{ m.content }}{% else %}BEFORE{{ m.content }}AFTER{% endif %}{% endfor %}"
)
PROMPTS = "{% if add_generation_prompt %}PROMPT{% endif %}"


def written(
    folder: Path, *, before: str = "a:", after: str = "</s>", prompt: str = "a:", more: Sequence[str] = (), pad: str | None = None
) -> LanguageModel:
    """A model with SentencePiece's way of marking words, and a template with these parts."""
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[("4", "2"), ("▁", "42")], unk_token="<unk>"))
    tokenizer.add_special_tokens(list(more))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    template = (BODY + PROMPTS).replace("BEFORE", before).replace("AFTER", after).replace("PROMPT", prompt)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": ["<end_of_turn>"]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, pad_token=pad, **names)
    fast.save_pretrained(folder)
    make_model(hidden=32, layers=1).save_pretrained(folder)
    return load_base(PolicySection(model=str(folder), device="cpu"))


def tokens(lm: LanguageModel, text: str, *, finished: bool = False, prompt: Any = QUESTION) -> list[str]:
    (row,) = lm.encode_completions([prompt], [text], [finished])
    return lm.tokenizer.convert_ids_to_tokens(row)


def test_an_answer_is_encoded_behind_its_prompt(tmp_path: Path) -> None:
    lm = written(tmp_path)
    assert lm.tokenizer.tokenize("42") == ["▁42"], "what it would be by itself"
    assert tokens(lm, "42", finished=True) == ["42", "</s>"]
    assert tokens(lm, " 42") == ["▁42"]
    assert tokens(lm, "42", prompt="1+1=") == ["42"]
    rows = lm.encode_completions([QUESTION, QUESTION], ["42", " 42"], [True, False])
    assert lm.decode_completions([QUESTION, QUESTION], rows) == ["42", " 42"]


def test_where_a_token_would_join_prompt_and_answer_the_prompt_keeps_its_own(tmp_path: Path) -> None:
    lm = written(tmp_path, before="a: ", prompt="a: ")
    assert lm.tokenizer.convert_ids_to_tokens(lm.encode_prompts([QUESTION])[0])[-1] == "▁"
    assert tokens(lm, "42") == ["42"]


def test_white_space_around_an_answer_is_the_templates(tmp_path: Path) -> None:
    lm = written(tmp_path, before="a: ", after=" </s>")
    assert tokens(lm, "42", finished=True) == ["▁42", "▁", "</s>"]
    assert tokens(lm, "42") == ["▁42"]
    rows = lm.encode_completions([QUESTION], ["42"], [True])
    assert lm.decode_completions([QUESTION], rows) == ["42"]


@pytest.mark.parametrize("after", ["<end_of_turn>", "<end_of_turn>\n"])
def test_a_turn_ends_as_the_template_ends_it(tmp_path: Path, after: str) -> None:
    lm = written(tmp_path, after=after)
    assert tokens(lm, "42", finished=True) == ["42", "<end_of_turn>"]
    assert lm.stop_ids == tuple(lm.tokenizer.convert_tokens_to_ids(["</s>", "<end_of_turn>"]))


def test_padding_is_inside_the_embedding(tmp_path: Path) -> None:
    lm = written(tmp_path, more=MANY, pad="<59>")
    assert lm.tokenizer.pad_token_id >= lm.model.get_input_embeddings().num_embeddings
    assert lm.pad_id == lm.tokenizer.eos_token_id


def test_a_prompt_with_a_token_that_the_model_lacks_is_an_error(tmp_path: Path) -> None:
    lm = written(tmp_path, more=MANY, before="<59>", prompt="<59>")
    with pytest.raises(PolicyError, match=r"token '<59>' is number \d+, and the model has embeddings for"):
        lm.encode_prompts([QUESTION])


def test_a_system_turn_goes_into_the_users_where_a_template_has_none(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + BODY.replace("BEFORE", "")
    ignoring = "{% for m in messages %}{% if m.role == 'user' %}q{{ m.content }}{% endif %}{% endfor %}"
    for template in (refusing.replace("AFTER", ""), ignoring):
        lm = written(tmp_path)
        lm.tokenizer.chat_template = template
        (row,) = lm.encode_prompts([(Turn("system", "11"), *QUESTION)])
        assert lm.decode([row]) == ["q11\n\n1+1="]


def test_arguments_reach_the_template(tmp_path: Path) -> None:
    thinks = "a:{% if enable_thinking is defined and not enable_thinking %}x{% endif %}"
    lm = written(tmp_path, prompt=thinks, before="a:x")
    assert lm.decode(lm.encode_prompts([QUESTION])) == ["q1+1=a:x"], "it is told not to think unless a setting says so"
    asked = load_base(PolicySection(model=str(tmp_path), device="cpu", template_arguments=("enable_thinking=true",)))
    assert asked.decode(asked.encode_prompts([QUESTION])) == ["q1+1=a:"]


def test_pieces_that_spell_special_tokens_are_no_answer() -> None:
    """A Unigram model has its special tokens among its pieces, and finds them in any text."""
    scores = {"<unk>": 0.0, "<s>": 0.0, "</s>": 0.0, "<user>": 0.0, **dict.fromkeys("▁us<>/erhi", -8.0)}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": ["<user>"]}
    tokenization = Tokenization(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names), (), len(scores), {})
    (said, spelled, ended) = tokenization.encode_completions(["us"] * 3, ["hi", "hi<user>", "hi</s>"], [True] * 3)
    assert said
    assert spelled == ended == []


def test_a_policy_with_stop_strings_ends_by_them(tmp_path: Path) -> None:
    lm = written(tmp_path)
    lm.end_by(("+", "x="))
    assert tokens(lm, "42", finished=True) == ["42", "+"], "on the wire it is cut off"
    assert tokens(lm, "42") == ["42"]
    assert tokens(lm, "42x=7+1", finished=True) == ["42", "x", "="], "this policy would have said no more"
