"""Make the model that both systems train: a tiny random Llama with a character tokenizer.

Two things are arranged, because a plain random model would leave both systems nothing to do:

- It never ends a completion by itself, so that every completion costs exactly the token cap.
  (Embedding channel 0 is a large constant, hence positive after the last norm; the output rows of
  the special tokens are strongly negative there.)
- Eight of its tokens are whole answers of one digit each. Where the truth is one of them, some of a
  group's answers are right; so the rewards differ, and neither system can skip the update or the
  sharing.

Every token but these is one printable character, so text re-encodes to exactly the tokens it was
decoded from.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
CHARACTERS = ("\n", *(chr(code) for code in range(32, 127)))
ANSWERS = tuple(f"<answer>{digit}</answer>" for digit in range(8))
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make one token per character, and one per answer string, which decoding keeps."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(answer, normalized=False) for answer in ANSWERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int, seed: int) -> LlamaForCausalLM:
    """Make random weights; the special tokens' logits are about -30, all others near 0."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.2  # ten times the spread of the other channels
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[: len(SPECIAL), 0] = -5.0
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tokenizer = make_tokenizer()
    tokens = random.Random(arguments.seed).choices(range(len(SPECIAL), len(tokenizer)), k=500)
    if tokenizer(tokenizer.decode(tokens)).input_ids != tokens:
        raise SystemExit(
            "The tokenizer does not re-encode its own text to the same tokens; the two systems would train different ones."
        )
    tokenizer.save_pretrained(arguments.folder)
    make_model(tokenizer, arguments.hidden, arguments.layers, arguments.seed).save_pretrained(arguments.folder)


if __name__ == "__main__":
    main()
