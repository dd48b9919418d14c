"""Problems that take a list or a text through several steps; a level is a number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from string import ascii_lowercase

from swarm.tasks.code.drafts import Draft, Phrase, draw, phrase

STEPS = (1, 2, 3, 5)  # of each level
SMALL, THRESHOLD, DIGIT = range(2, 10), range(-15, 40), range(2, 6)

# Every step is total: it takes the empty list to a list.
ON_LISTS = (
    phrase("Keep only the even numbers.", "[n for n in numbers if n % 2 == 0]"),
    phrase("Keep only the odd numbers.", "[n for n in numbers if n % 2 == 1]"),
    phrase("Keep only the numbers that {k} divides.", "[n for n in numbers if n % {k} == 0]", k=range(3, 6)),
    phrase("Remove the numbers that {k} divides.", "[n for n in numbers if n % {k} != 0]", k=range(3, 8)),
    phrase("Keep only the numbers greater than {t}.", "[n for n in numbers if n > {t}]", t=THRESHOLD),
    phrase("Remove the numbers greater than {t}.", "[n for n in numbers if n <= {t}]", t=THRESHOLD),
    phrase("Replace the numbers greater than {t} by {t}.", "[min(n, {t}) for n in numbers]", t=THRESHOLD),
    phrase("Replace the numbers smaller than {t} by {t}.", "[max(n, {t}) for n in numbers]", t=THRESHOLD),
    phrase("Multiply every number by {k}.", "[n * {k} for n in numbers]", k=SMALL),
    phrase("Add {k} to every number.", "[n + {k} for n in numbers]", k=SMALL),
    phrase("Replace every number n by {k} - n.", "[{k} - n for n in numbers]", k=range(50)),
    phrase("Replace every number by its absolute value.", "[abs(n) for n in numbers]"),
    phrase("Replace every number n by n % {k}, as Python computes it.", "[n % {k} for n in numbers]", k=range(3, 20)),
    phrase(
        "Replace every number by the sum of the digits of its absolute value.", "[sum(map(int, str(abs(n)))) for n in numbers]"
    ),
    phrase(
        "Multiply every number by its position, counting from {k}.", "[n * i for i, n in enumerate(numbers, {k})]", k=(0, 1, 2)
    ),
    phrase("Reverse the list.", "numbers[::-1]"),
    phrase("Sort the numbers from the smallest to the largest.", "sorted(numbers)"),
    phrase("Sort the numbers from the largest to the smallest.", "sorted(numbers, reverse=True)"),
    phrase("Remove repeated numbers: keep the first of each, in their order.", "list(dict.fromkeys(numbers))"),
    phrase("Keep only the first {k} numbers.", "numbers[:{k}]", k=DIGIT),
    phrase("Remove the first {k} numbers, or all if there are fewer.", "numbers[{k}:]", k=(1, 2, 3)),
    phrase("Keep only the last {k} numbers.", "numbers[-{k}:]", k=DIGIT),
    phrase("Keep the first number and every {k}th after it.", "numbers[::{k}]", k=(2, 3, 4)),
    phrase("Move the first {k} numbers, or all if there are fewer, to the end.", "numbers[{k}:] + numbers[:{k}]", k=DIGIT),
    phrase(
        "Replace every number by the sum of itself and all before it.", "[sum(numbers[: i + 1]) for i in range(len(numbers))]"
    ),
    phrase(
        "Replace the list by the differences of neighbours, each number minus the one before it; the list gets one shorter.",
        "[b - a for a, b in zip(numbers, numbers[1:])]",
    ),
    phrase("Append the sum of all numbers (0 if there are none) to the list.", "[*numbers, sum(numbers)]"),
)
FROM_LISTS = (
    phrase("Return the list.", "numbers"),
    phrase("Return the sum of the numbers (0 if there are none).", "sum(numbers)"),
    phrase("Return the sum of the squares of the numbers (0 if there are none).", "sum(n * n for n in numbers)"),
    phrase("Return the largest number (0 if there are none).", "max(numbers, default=0)"),
    phrase("Return the smallest number (0 if there are none).", "min(numbers, default=0)"),
    phrase("Return the largest minus the smallest number (0 if there are none).",
        "max(numbers, default=0) - min(numbers, default=0)"),
    phrase("Return first minus second plus third minus fourth number and so on.", "sum(numbers[::2]) - sum(numbers[1::2])"),
    phrase("Return the list of the largest and the smallest number ([] if there are none).",
        "[f(numbers) for f in (max, min) if numbers]"),
    phrase('Return the numbers as one text, joined by "{c}".', '"{c}".join(map(str, numbers))', c=("-", ",", " ", "+", "/")),
)  # fmt: skip

LETTERS = "aeiorstln"
ON_TEXTS = (
    phrase("Reverse the text.", "text[::-1]"),
    phrase("Turn all letters into capitals.", "text.upper()"),
    phrase("Turn all letters into small ones.", "text.lower()"),
    phrase("Turn capitals into small letters and small letters into capitals.", "text.swapcase()"),
    phrase("Remove all vowels (a, e, i, o and u, also as capitals).", '"".join(c for c in text if c.lower() not in "aeiou")'),
    phrase('Remove every "{c}".', 'text.replace("{c}", "")', c=LETTERS),
    phrase('Replace every "{c}" by "{d}".', 'text.replace("{c}", "{d}")', c=LETTERS, d=("x", "_", "ee", "7", "K")),
    phrase('Put "{d}" after every "{c}".', 'text.replace("{c}", "{c}{d}")', c=LETTERS, d=("x", "_", "7")),
    phrase("Keep the first character and every {k}th after it.", "text[::{k}]", k=(2, 3)),
    phrase("Double every character.", '"".join(c * 2 for c in text)'),
    phrase("Of neighbouring equal characters keep only one.", '"".join(c for i, c in enumerate(text) if text[i - 1 : i] != c)'),
    phrase("Keep only the first {k} characters.", "text[:{k}]", k=range(6, 15)),
    phrase("Move the first {k} characters to the end (all, if there are fewer).", "text[{k}:] + text[:{k}]", k=SMALL),
    phrase(
        "Move every small letter from a to z by {k} places in the alphabet, going on with a after z; leave the rest.",
        '"".join(chr((ord(c) - 97 + {k}) % 26 + 97) if "a" <= c <= "z" else c for c in text)',
        k=range(1, 26),
    ),
    phrase("Split the text into words, and join them by single spaces in reverse order.", '" ".join(text.split()[::-1])'),
    phrase("Split the text into words, reverse each, and join them by single spaces.", '" ".join(w[::-1] for w in text.split())'),
    phrase(
        "Split the text into words, sort them as Python does, and join them by single spaces.", '" ".join(sorted(text.split()))'
    ),
    phrase(
        "Split the text into words, sort them by length (equally long ones keep their order), and join them by single spaces.",
        '" ".join(sorted(text.split(), key=len))',
    ),
    phrase(
        "Split the text into words, and join those of more than {k} characters by single spaces.",
        '" ".join(w for w in text.split() if len(w) > {k})',
        k=DIGIT,
    ),
    phrase(
        "Split the text into words, make the first letter of each a capital and the rest small, and join them by single spaces.",
        '" ".join(w.capitalize() for w in text.split())',
    ),
)
FROM_TEXTS = (
    phrase("Return the text.", "text"),
    phrase("Return the number of its characters.", "len(text)"),
    phrase('Return how often "{c}" is in it.', 'text.count("{c}")', c=LETTERS),
    phrase("Split it into words and return the list of their lengths.", "[len(w) for w in text.split()]"),
    phrase("Split it into words and return the list of them.", "text.split()"),
    phrase('Split it into words and return the longest, of equally long ones the first ("" if there are none).',
        'max(text.split(), key=len, default="")'),
    phrase("Split it into words and return the list of their first characters.", "[w[0] for w in text.split()]"),
    phrase("Return the list of its different characters, sorted as Python does.", "sorted(set(text))"),
    phrase("Return the list of the positions, counting from 0, of its vowels (a, e, i, o and u, also as capitals).",
        '[i for i, c in enumerate(text) if c.lower() in "aeiou"]'),
)  # fmt: skip


def lists(random: Random, level: int) -> Draft:
    """Draw a pipeline over a list of whole numbers."""
    return _pipeline(("numbers", "a list of whole numbers"), ON_LISTS, FROM_LISTS, _numbers, random, level)


def strings(random: Random, level: int) -> Draft:
    """Draw a pipeline over a text of words."""
    return _pipeline(("text", "a text of words with a space between any two"), ON_TEXTS, FROM_TEXTS, _words, random, level)


def _pipeline(
    argument: tuple[str, str],
    steps: Sequence[Phrase],
    endings: Sequence[Phrase],
    draw_case: Callable[[Random], object],
    random: Random,
    level: int,
) -> Draft:
    name, meaning = argument
    chosen = [step.filled(random) for step in random.sample(steps, STEPS[level])]
    ending, result = draw(endings, random)
    words = [words for words, _ in chosen] + [ending]
    question = f"Write a function solve({name}), where {name} is {meaning}. It does this, in this order:\n"
    question += "\n".join(f"{place}. {text}" for place, text in enumerate(words, 1))
    lines = [f"def solve({name}):", *(f"    {name} = {code}" for _, code in chosen), f"    return {result}", ""]
    return Draft(question, "\n".join(lines), draw_case)


def _numbers(random: Random) -> list[int]:
    return [random.randint(-20, 60) for _ in range(random.randint(0, 9))]


def _words(random: Random) -> str:
    words = []
    for _ in range(random.randint(1, 6)):
        letters = [random.choice(LETTERS if random.random() < 0.7 else ascii_lowercase) for _ in range(random.randint(1, 7))]
        word = "".join(letters)
        words.append(word.capitalize() if random.random() < 0.3 else word)
    return " ".join(words)
