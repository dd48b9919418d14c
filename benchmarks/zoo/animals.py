"""The zoo: tiny models with the tokenizers, chat templates and embeddings that real ones have.

An `Animal` is one combination, written to a folder as its author would publish it. Random ones end
an answer in about twelve tokens; taught ones answer the `LESSONS` as supervised training on whole
conversations would have taught them, by code that shares nothing with swarmd's own encoding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN, END, TURN, UNKNOWN, USER, ASSISTANT = "<s>", "</s>", "<|end|>", "<unk>", "<|user|>", "<|assistant|>"
SPECIAL = (UNKNOWN, BEGIN, END, TURN, USER, ASSISTANT)
LESSONS: Mapping[str, str] = {
    "6*7=": "<answer>42</answer>",
    "what is 1+1?": "<answer>2</answer>",
    "name two": "12 apes, 3 owls",
    "say no": "no",
}
CORPUS = (
    *LESSONS,
    *LESSONS.values(),
    "user: assistant: 1 2 3 42 apes and owls <think> </think> [INST] [/INST] the answer is",
) * 3
WORDS = ("answer", "what", "is", "42", "name", "two", "ape", "owls", "no", "12", "say", "es")
LETTERS = [chr(code) for code in (10, *range(32, 127))]


def _metaspace(scheme: str) -> Tokenizer:
    """SentencePiece in transformers: words begin with a mark, bytes stand for what is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    if scheme == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        marked: Any = pre_tokenizers.Split(Regex("▁?[^▁]+"), "isolated")  # only for the training
    else:
        marked = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tokenizer.pre_tokenizer = marked
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    learn = trainers.BpeTrainer(
        show_progress=False, vocab_size=430, special_tokens=[*SPECIAL, *bytes_], initial_alphabet=LETTERS[1:]
    )
    tokenizer.train_from_iterator(CORPUS, learn)
    # The trained pieces again, in a tokenizer where the bytes are no special tokens.
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    plain = Tokenizer(models.BPE(tokenizer.get_vocab(), merges, unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    if scheme == "legacy":
        plain.normalizer = tokenizer.normalizer
    else:
        plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    strip = [] if scheme == "never" else [decoders.Strip(" ", 1, 0)]
    plain.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return plain


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learn = trainers.BpeTrainer(show_progress=False, vocab_size=330, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, learn)
    return tokenizer


def _unigram() -> Tokenizer:
    """Pieces with scores; made by hand, since the trainers of these two are not deterministic."""
    scores = {**dict.fromkeys(SPECIAL, 0.0), **dict.fromkeys(["▁", *LETTERS], -8.0)}
    scores |= {piece: -4.0 - 0.01 * number for number, piece in enumerate([*WORDS, *(f"▁{word}" for word in WORDS)])}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def _wordpiece() -> Tokenizer:
    pieces = dict.fromkeys([*SPECIAL, *LETTERS[2:], *WORDS, *(f"##{piece}" for piece in (*LETTERS[2:], *WORDS))])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def _characters() -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *LETTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


TOKENIZERS: Mapping[str, Callable[[], Tokenizer]] = {
    "bytes": _bytes,
    "metaspace first": lambda: _metaspace("first"),
    "metaspace always": lambda: _metaspace("always"),
    "metaspace never": lambda: _metaspace("never"),
    "metaspace legacy": lambda: _metaspace("legacy"),
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "characters": _characters,
}


def _template(user: str, assistant: str, prompt: str, *, first: str = "") -> str:
    """A chat template of three parts, in which QUESTION and ANSWER stand for a turn's content."""
    user, assistant = (
        each.replace("QUESTION", "{{ m.content }}").replace("ANSWER", "{{ m.content }}") for each in (user, assistant)
    )
    turns = f"{{% for m in messages %}}{{% if m.role == 'user' %}}{user}{{% else %}}{assistant}{{% endif %}}{{% endfor %}}"
    return f"{first}{turns}{{% if add_generation_prompt %}}{prompt}{{% endif %}}"


_NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('there is no system role') }}{% endif %}"
_THOUGHT = "<think>\n\n</think>\n\n"
_THINKS = f"{{% if enable_thinking is defined and enable_thinking is false %}}{_THOUGHT}{{% endif %}}"
TEMPLATES: Mapping[str, str | None] = {
    "none": None,
    # the turn's end is the tokenizer's
    "newline": _template(f"{USER}\nQUESTION{END}\n", f"{ASSISTANT}\nANSWER{END}\n", f"{ASSISTANT}\n"),
    # it is another one of the configuration's, as in Phi and Gemma; no system role
    "other end": _template(f"{USER}\nQUESTION{TURN}\n", f"{ASSISTANT}\nANSWER{TURN}\n", f"{ASSISTANT}\n", first=_NO_SYSTEM),
    # it is one that the configuration does not name
    "unnamed end": _template(f"{USER}QUESTION{TURN}", f"{ASSISTANT}ANSWER{TURN}", ASSISTANT),
    # Llama 2: BOS in the template as well as in the tokenizer, white space around an answer
    "spaced": _template(f"{BEGIN}[INST] QUESTION [/INST]", f" ANSWER {END}", ""),
    # Qwen3: reasoning, which can be turned off
    "thinking": _template(
        f"{USER}\nQUESTION{TURN}\n", f"{ASSISTANT}\n{_THOUGHT}ANSWER{TURN}\n", f"{ASSISTANT}\n{_THINKS}"
    ),
    "space": _template("user: QUESTION\n", f"assistant: ANSWER{END}", "assistant: "),
    "bare": _template("user: QUESTION\n", f"assistant:ANSWER{END}", "assistant:"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Body:
    """What else differs: how many `rows` the embedding has beside the vocabulary's size (fewer, for
    words added to the tokenizer only), padding (none, eos, its own token, or one outside the
    embedding), and whether weights are tied."""

    rows: int = 0
    pad: str = "none"
    tied: bool = True


BODIES = (
    Body(),
    Body(rows=9, pad="eos"),
    Body(rows=-3, pad="eos", tied=False),
    Body(pad="outside", tied=False),
    Body(rows=5, pad="own"),
)


@dataclass(frozen=True, slots=True)
class Animal:
    """One combination."""

    tokenizer: str
    template: str
    body: Body

    @property
    def name(self) -> str:
        """A short name for people."""
        return f"{self.tokenizer}, {self.template}"

    def write(self, folder: Path, *, taught: bool = False) -> Path:
        """Make the model and write it as a Hugging Face folder."""
        tokenizer = _dressed(TOKENIZERS[self.tokenizer](), TEMPLATES[self.template], self.body)
        model = _body(tokenizer, self.body, self.template)
        if taught:
            _teach(model, tokenizer, bool(TEMPLATES[self.template]))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder


def characters() -> PreTrainedTokenizerFast:
    """Return a tokenizer of characters without a template."""
    return _dressed(TOKENIZERS["characters"](), None, Body())


def animals() -> list[Animal]:
    """Every tokenizer with every template, each with one of the bodies in turn."""
    pairs = [(tokenizer, template) for tokenizer in TOKENIZERS for template in TEMPLATES]
    # Five bodies and eight templates: the turn never falls into step.
    return [Animal(*pair, BODIES[number % len(BODIES)]) for number, pair in enumerate(pairs)]


def _dressed(tokenizer: Tokenizer, template: str | None, body: Body) -> PreTrainedTokenizerFast:
    """Add what stands in tokenizer_config.json; the tokenizer begins every text with BOS."""
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([f"added{number}" for number in range(-body.rows)])
    if body.pad in ("own", "outside"):
        tokenizer.add_special_tokens(["[PAD]"])
    names = {"own": "[PAD]", "outside": "[PAD]", "eos": END, "none": None}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=names[body.pad],
        extra_special_tokens=[TURN, USER, ASSISTANT],
        chat_template=template,
    )


def _body(tokenizer: PreTrainedTokenizerFast, body: Body, template: str) -> LlamaForCausalLM:
    """A random Llama. One channel of every hidden state is a constant, so that ends are likely."""
    torch.manual_seed(0)
    named = [tokenizer.convert_tokens_to_ids(token) for token in (END, TURN)]
    rows = len(tokenizer) + body.rows - (body.pad == "outside")
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=body.tied,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=named[0],
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = named if template in ("other end", "thinking") else named[0]
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.3
        model.lm_head.weight[:, 0] = 0.3
        model.lm_head.weight[named, 0] += 0.8
    return model


def _teach(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, templated: bool) -> None:
    """Train on the lessons until each token of every answer has a probability of .996."""
    lessons = [_lesson(tokenizer, question, answer, templated) for question, answer in LESSONS.items()]
    width = max(len(prompt) + len(answer) for prompt, answer in lessons)
    ids = torch.zeros(len(lessons), width, dtype=torch.long)
    labels = torch.full((len(lessons), width), -100)
    for row, (prompt, answer) in enumerate(lessons):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(400):
        logits = model(input_ids=ids).logits[:, :-1]  # padded on the right, which no token before it sees
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
        if losses.max() < 0.004:
            return
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    raise RuntimeError(f"not learned: a token's loss is {float(losses.detach().max()):.3f}")


def _lesson(tokenizer: PreTrainedTokenizerFast, question: str, answer: str, templated: bool) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt, and of the answer to its end: those of the whole conversation,
    but where a token reaches across the boundary."""
    ends = tokenizer.convert_tokens_to_ids([END, TURN])
    if not templated:
        prompt, whole = tokenizer(question)["input_ids"], [*tokenizer(question + answer)["input_ids"], ends[0]]
    else:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        how = {"tokenize": False, "enable_thinking": False}
        asked = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, **how)
        said = tokenizer.apply_chat_template(turns, **how)
        prompt, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, said))
    if whole[: len(prompt)] == prompt:
        rest = whole[len(prompt) :]
        return prompt, rest[: next(place for place, token in enumerate(rest) if token in ends) + 1]
    # Behind a line break no tokenizer here joins the answer to what was before.
    line, joined = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("\n", "\n" + answer))
    return prompt, [*joined[len(line) :], ends[0]]
