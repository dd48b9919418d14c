"""Solves problems about texts, machines, lists and logic."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

Item = Mapping[str, Any]


def machine(item: Item) -> str:
    program = item["metadata"]["bf_program"]
    inner, pairs = [], {}
    for place, sign in enumerate(program):
        if sign == "[":
            inner.append(place)
        elif sign == "]":
            pairs[place] = inner.pop()
            pairs[pairs[place]] = place
    tape, at, place, said = Counter[int](), 0, 0, ""
    while place < len(program):
        sign = program[place]
        at += (sign == ">") - (sign == "<")
        tape[at] = (tape[at] + (sign == "+") - (sign == "-")) % 256
        said += chr(tape[at]) if sign == "." else ""
        if (sign == "[" and not tape[at]) or (sign == "]" and tape[at]):
            place = pairs[place]
        place += 1
    return said


def rewritten(item: Item) -> str:
    lines = item["question"].split("following program:")[1].splitlines()
    text = next(line for line in lines if re.fullmatch(r"(?:(?:A#|#A|B#|#B) ?)+", line))
    rules = {"A# #A": "", "A# #B": "#B A#", "B# #A": "#A B#", "B# #B": ""}
    while match := re.search("|".join(rules), text):
        text = " ".join(f"{text[: match.start()]}{rules[match[0]]}{text[match.end() :]}".split())
    return str(text)


def inserted(item: Item) -> str:
    text, after, at = item["metadata"]["string"], {"ABCD": "A", "BCDE": "B", "CDEA": "C", "DEAB": "D", "EABC": "E"}, 0
    said = ""
    while at < len(text):
        piece = text[at : at + 4]
        said += piece + after[piece] if piece in after else text[at]
        at += 4 if piece in after else 1
    return said


def finishes(item: Item) -> str:
    needs = {course: {b for a, b in item["metadata"]["prerequisites"] if a == course} for course in item["metadata"]["courses"]}
    while ready := [course for course, before in needs.items() if not before & set(needs)]:
        for course in ready:
            del needs[course]
    return str(not needs)


def circuit(item: Item) -> str:
    data = item["metadata"]

    def joined(sign: str, bits: Sequence[int]) -> int:
        # ↑ is NAND, ↓ is NOR.
        found = {"&": min(bits), "+": max(bits), "⊕": sum(bits) % 2, "↑": 1 - min(bits), "↓": 1 - max(bits)}
        return int(found[sign])

    def term(text: str) -> int:
        sign = next((each for each in "&↑↓⊕+" if each in text), "&")
        return joined(sign, [data["assignments"][name.rstrip("'")] ^ name.endswith("'") for name in text.split(sign)])

    final = {"AND": "&", "OR": "+", "XOR": "⊕", "NAND": "↑", "NOR": "↓"}[data["final_gate"]]
    return str(joined(final, [term(text) for text in data["term_strings"]]))


def says(statement: Any, honest: Sequence[bool]) -> bool:
    kind, *parts = statement
    if kind in ("telling-truth", "lying"):
        return bool(honest[parts[0]] == (kind == "telling-truth"))
    known = [says(part, honest) for part in parts]
    if kind in ("and", "or", "not"):
        return {"and": all(known), "or": any(known), "not": not known[0]}[kind]
    return {"->": not known[0] or known[1], "<=>": known[0] == known[1]}[kind]


def knights(item: Item) -> bool:
    data = item["metadata"]
    models = [
        honest
        for honest in product((False, True), repeat=len(data["names"]))
        if all(says(statement, honest) == honest[who] for who, statement in enumerate(data["statements"]))
    ]
    return models == [tuple(data["solution"])]


def references(item: Item) -> str:
    """Count the assignments in which each of the seven statements is as true as it says."""
    said_of = (r"At least (\d)", r"At most (\d)", r"Exactly (\d) of these 7 statements are true", r"Exactly (\d) .* are false")
    a, b, c, d = (int(re.findall(pattern, item["question"])[0]) for pattern in said_of)
    count = 0
    for said in product((False, True), repeat=7):
        true = sum(said)
        holds = (true >= a, 7 - true <= b, true == c, 7 - true == d, said[2] != said[3], true in (2, 3, 5, 7), 7 - true in (4, 6))
        count += holds == said
    return str(count)


def cube(item: Item) -> str:
    """Turn the cube so that a side comes to the top, over the edge between them."""
    state, rings = dict(item["metadata"]["initial_state"]), {"front": "top front bottom back", "right": "top right bottom left"}
    rings |= {"back": "top back bottom front", "left": "top left bottom right", "bottom": "top front bottom back"}
    for side in item["metadata"]["rotations"]:
        if side != "top":
            ring = rings[side].split()
            turns = 2 if side == "bottom" else 1
            for _ in range(turns):
                state |= {to: state[source] for to, source in zip(ring, ring[1:] + ring[:1], strict=True)}
    return str(state[item["metadata"]["target_side"]])


def hidden_sentence(item: Item) -> str:
    """Return the text whose bytes stand as variation selectors behind an emoji."""
    shown = item["question"].partition("Here is a hint")[0]
    codes = [ord(sign) for sign in shown if 0xFE00 <= ord(sign) <= 0xFE0F or 0xE0100 <= ord(sign) <= 0xE01EF]
    return bytes(code - 0xFE00 if code <= 0xFE0F else code - 0xE0100 + 16 for code in codes).decode(errors="replace")


def partitions(text: str) -> Iterator[list[str]]:
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        if text[:end] == text[:end][::-1]:
            yield from ([text[:end], *rest] for rest in partitions(text[end:]))


def filtered(item: Item) -> str:
    data = item["metadata"]
    bound, (verb, side) = Fraction(str(data["filter_value"])), data["operation"].split("_")
    kept = [
        each
        for each in data["original_numbers"]
        if ((Fraction(each) > bound) if side == "larger" else (Fraction(each) < bound)) == (verb == "keep")
    ]
    return str(kept)


def grouped(item: Item) -> str:
    groups: dict[str, list[str]] = {}
    for each in item["metadata"]["words"]:
        groups.setdefault("".join(sorted(each)), []).append(each)
    return json.dumps(list(groups.values()))


def by_order(item: Item) -> bool:
    data = item["metadata"]
    return list(data["sorted_words"]) == sorted(data["transformed_words"], reverse=data["direction"] == "descending")


def numbers_in_order(item: Item) -> str:
    data = item["metadata"]
    return str(sorted(data["original_numbers"], key=Fraction, reverse=data["direction"] == "descending"))


def star(item: Item) -> bool:
    edges = set(re.findall(r"(?<=\|)(\d+ \d+)", item["question"].split("following task:")[1]))
    steps = item["answer"].split()
    start, end = item["question"].split("/")[-1].split("=")[0].split()
    return (steps[0], steps[-1]) == (start, end) and all(f"{a} {b}" in edges for a, b in pairwise(steps))


def letters(item: Item) -> str:
    data = item["metadata"]
    return str(" ".join(data["span"]).lower().count(data["target_letter"].lower()))
