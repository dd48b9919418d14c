"""What stands in a Markdown page besides prose: blocks of code, code in a line, links, headings."""

from __future__ import annotations

import re
from pathlib import Path

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in one language, in the order of the page."""
    return [text for written, text in _FENCED.findall(page.read_text(encoding="utf-8")) if written == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def code_in_lines(page: Path) -> list[str]:
    """Everything between single backticks, on one line each; in a table's cell an escaped bar is a
    bar."""
    return [" ".join(code.split()).replace("\\|", "|") for code in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """The targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """What a link can name behind #: every heading, as GitHub spells it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading, without the heading and the line
    below it."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", prose(page), re.MULTILINE)
    assert table, f"{page} has no table of {heading}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]
