"""What a text means to every tokenizer: `python -m benchmarks.zoo [--taught]`.

For each animal (animals.py: tokenizers times templates) its own samples, taken as
foreign text, are encoded and scored as an update would. Prints JSON, per animal and over all

    samples    how many were drawn
    own        the share of the sampled tokens that the screen of training would let through
    same       the share whose encoding is the sampled one
    difference the largest difference of log-probability (nats) among these
    cost       for the others: how much less likely their encoding is than the sampled one, mean
               nats per answer; a text may have several encodings
    unsayable  others whose text has no tokens at all
    stable     the share of encodings that come out again when they are decoded and encoded
    plausible  like `own`, of the tokens as encoded
"""

from __future__ import annotations

import argparse
import json

from transformers.utils.logging import disable_progress_bar

from benchmarks.zoo.animals import animals
from benchmarks.zoo.meaning import meaning, opened, total


def main() -> None:
    """Measure every animal, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taught", action="store_true", help="models that have learned four answers, instead of random ones")
    parser.add_argument("--samples", type=int, default=32, help="samples for each of four prompts")
    options = parser.parse_args()
    disable_progress_bar()
    found = {each: meaning(opened(each, taught=options.taught), each=options.samples) for each in animals()}
    by_tokenizer = {
        name: total([figures for each, figures in found.items() if each.tokenizer == name]).record()
        for name in dict.fromkeys(each.tokenizer for each in found)
    }
    each = {animal.name: figures.record() for animal, figures in found.items()}
    print(json.dumps({"all": total(list(found.values())).record(), "tokenizers": by_tokenizer, "animals": each}, indent=1))


if __name__ == "__main__":
    main()
