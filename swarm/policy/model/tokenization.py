"""Text to tokens and back, as the policy itself would write it.

Peers exchange text, and a tokenizer does not give a text the same tokens everywhere. Most of the
SentencePiece family mark the beginning of a text like that of a word, so an answer by itself
becomes other tokens than behind its prompt: such tokens the policy would never write there, and
would learn nothing from. So prompt and answer are encoded together and the prompt's tokens cut off.
Decoding goes the same way back.

Where a token reaches across the boundary (a prompt that ends in a space), the prompt's tokens are
given already, and the answer is encoded behind a short neutral text instead, to which it does not
join. Of several such encodings the first is taken that decodes to the answer again.

What the template writes around an answer (chat_template.py), or the tokenizer in front of it, is no
part of its text: it is taken off where text leaves the policy, and put back where text comes in. So
unlike models understand each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.errors import PolicyError
from swarm.policy.model.chat_template import ChatTemplate, Frame
from swarm.records import Prompt, Turn, as_text

# Neutral texts to encode an answer behind; a tokenizer may join one of them to the answer.
ANCHORS = ("\n", ":", "x", "")
# So many of a prompt's last tokens decide how the answer's first ones decode.
TAIL = 16


@dataclass(frozen=True, slots=True)
class _Context:
    """An encoded prompt; `templated` texts hold special tokens, others none."""

    text: str
    templated: bool
    ids: list[int]
    length: int  # how many of these its text gives; none of an empty one, which still has a token
    tail: str  # the text of its last tokens


class Tokenization:
    """A tokenizer beside a model with `rows` embeddings, of whose tokens `ends` end a sequence.

    stop_ids   every token that ends a sequence, the tokenizer's own first
    end_id     the one behind a finished answer
    pad_id     one for padding, inside the embedding

    Raises `PolicyError` where no token ends a sequence.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int | None], rows: int, arguments: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._rows = rows
        self._template = ChatTemplate(tokenizer, arguments)
        self._frame = self._template.frame()
        known = [each for each in (tokenizer.eos_token_id, *ends, self._frame.end) if each is not None and each < rows]
        if not known:
            raise PolicyError("the model names no end-of-sequence token; add eos_token to its tokenizer_config.json")
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(known))
        self.end_id: int = self._inside(self._frame.end, known[0])
        self.pad_id: int = self._inside(tokenizer.pad_token_id, self.end_id)
        # Such a tokenizer would end the answer before it began.
        self._closes = tokenizer("x")["input_ids"][-1:] in [[stop] for stop in self.stop_ids]
        # A model must be given something to continue: an empty prompt is its start (or end) of
        # text.
        self._start = self._inside(tokenizer.bos_token_id, self.pad_id)
        self._special = frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
        self._stop: tuple[str, ...] = ()
        self._shown = self._white_space_shown() if self._template else ""

    def end_by(self, stop: Sequence[str]) -> None:
        """See `LanguageModel.end_by`."""
        self._stop = tuple(text for text in stop if text)

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `LanguageModel.encode_prompts`."""
        contexts = self._contexts(prompts)
        return [list(contexts[prompt].ids) for prompt in prompts]

    def encode_completions(self, prompts: Sequence[Prompt], texts: Sequence[str], finished: Sequence[bool]) -> list[list[int]]:
        """See `LanguageModel.encode_completions`."""
        contexts = self._contexts(prompts)
        ended = [self._ended(text, end) for text, end in zip(texts, finished, strict=True)]
        pairs = [
            (contexts[prompt], self._framed(contexts[prompt], text, end))
            for prompt, (text, end) in zip(prompts, ended, strict=True)
        ]
        whole = self._encode([(context.text + text, context.templated) for context, text in pairs])
        rows = [self._behind(context, text, ids) for (context, text), ids in zip(pairs, whole, strict=True)]
        return [[] if row is None else [*row, self.end_id] if end else row for row, (_, end) in zip(rows, ended, strict=True)]

    def decode_completions(self, prompts: Sequence[Prompt], rows: Sequence[Sequence[int]]) -> list[str]:
        """See `LanguageModel.decode_completions`."""
        contexts = self._contexts(prompts)
        texts = []
        for prompt, row in zip(prompts, rows, strict=True):
            context, ended = contexts[prompt], bool(row) and row[-1] in self.stop_ids
            text = self._said(context, row[:-1] if ended else row)
            if context.templated:
                text = text.removeprefix(self._shown).removesuffix(self._frame.after if ended else "")
            texts.append(text)
        return texts

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """See `LanguageModel.decode`."""
        if not rows:
            return []  # the library takes no rows for one row
        texts: list[str] = self._tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return texts

    def _inside(self, token: int | None, otherwise: int) -> int:
        return otherwise if token is None or token >= self._rows else token

    def _contexts(self, prompts: Sequence[Prompt]) -> dict[Prompt, _Context]:
        distinct = list(dict.fromkeys(prompts))
        texts = [
            (self._template.render(prompt), True) if self._template and not isinstance(prompt, str) else (as_text(prompt), False)
            for prompt in distinct
        ]
        encoded = self._encode(texts)
        rows = [row or [self._start] for row in encoded]
        for row in rows:
            if max(row) >= self._rows:
                name = self._tokenizer.convert_ids_to_tokens(max(row))
                raise PolicyError(
                    f"the tokenizer's token {name!r} is number {max(row)}, and the model has embeddings for {self._rows}; take a "
                    "model whose tokenizer fits it"
                )
        tails = self.decode([row[-TAIL:] for row in rows])
        together = zip(distinct, texts, rows, map(len, encoded), tails, strict=True)
        return {prompt: _Context(*text, row, length, tail) for prompt, text, row, length, tail in together}

    def _encode(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """Return the tokens of each text. Only a templated one brings special tokens; to another
        the tokenizer adds those that it begins texts with."""
        rows: list[list[int]] = [[]] * len(texts)
        for templated in (False, True):
            places = [place for place, text in enumerate(texts) if text[1] is templated]
            how = {"add_special_tokens": False} if templated else {"split_special_tokens": True}
            found = self._tokenizer([texts[place][0] for place in places], **how)["input_ids"] if places else []
            for place, row in zip(places, found, strict=True):
                rows[place] = row[:-1] if self._closes and not templated else row
        return rows

    def _ended(self, text: str, finished: bool) -> tuple[str, bool]:
        """Return a text as far as this policy would have written it, and whether the end of its
        turn follows: none does behind a stop string, which a finished text on the wire has lost."""
        if not self._stop:
            return text, finished
        first = min((place + len(stop) for stop in self._stop if (place := text.find(stop)) >= 0), default=None)
        if first is not None:
            return text[:first], False
        return text + (self._stop[0] if finished else ""), False

    def _framed(self, context: _Context, text: str, finished: bool) -> str:
        frame = self._frame if context.templated else Frame()
        return frame.before + text + (frame.after if finished else "")

    def _white_space_shown(self) -> str:
        """Return the white space that the tokens of an answer behind its prompt decode to: the
        template's, and a word's beginning where the tokenizer sees one."""
        prompt = (Turn("user", "1"),)
        try:
            (row,) = self.encode_completions([prompt], ["1"], [False])
        except PolicyError:
            return ""
        text = self._said(self._contexts([prompt])[prompt], row)
        return text[: len(text) - len(text.lstrip())]

    def _behind(self, context: _Context, text: str, whole: list[int]) -> list[int] | None:
        """Return the tokens of an answer, given those of prompt and answer together; None where the
        model has no tokens for it."""
        row = whole[context.length :]
        # An answer that spells a special token stays text.
        if whole[: context.length] != context.ids[: context.length] or not self._special.isdisjoint(row):
            others = list(self._apart(text))
            row = next((other for other in others if self._said(context, other) == text), others[0])
        # An end inside an answer would have been its end; other special tokens are no text, though
        # the pieces of a Unigram model may spell them.
        never = {self._tokenizer.unk_token_id, *self.stop_ids, *self._special}
        return None if (text and not row) or not never.isdisjoint(row) or max(row, default=0) >= self._rows else row

    def _apart(self, text: str) -> Iterator[list[int]]:
        """Yield encodings of an answer that do not join it to anything."""
        for anchor in ANCHORS:
            alone, row = self._tokenizer(
                [anchor, anchor + text], add_special_tokens=False, split_special_tokens=True
            )["input_ids"]  # fmt: skip
            if row[: len(alone)] == alone:
                yield row[len(alone) :]

    def _said(self, context: _Context, row: Sequence[int]) -> str:
        """Return the text of an answer's tokens behind its prompt."""
        (text,) = self.decode([[*context.ids[-TAIL:], *row]])
        return text.removeprefix(context.tail) if text.startswith(context.tail) else self.decode([row])[0]
