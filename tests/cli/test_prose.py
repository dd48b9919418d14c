"""Prose about the code, held against it: commands, attacks, settings, files, links cannot rot."""

import importlib.util
import re
import shlex
from dataclasses import fields, is_dataclass
from pathlib import Path

import click
import pytest
from markdown_shapes import anchors, blocks, code_in_lines, links, prose, rows

from swarm.cli.main import main
from swarm.config.schema import Config
from swarm.sim.attacks import ATTACKS

ROOT = Path(__file__).parents[2]
GENERATED = {"docs/cli.md", "docs/exit-codes.md"}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/*.md")
    for path in ROOT.glob(pattern)
)
WRITTEN = [page for page in PAGES if page not in GENERATED]
NOW = [page for page in WRITTEN if page != "CHANGELOG.md"]
README_WORDS = 900
COLUMNS = 100


def commands(page: str) -> list[str]:
    """Every line of shell on a page, continued lines joined and comments taken off, and all code in
    lines."""
    lines = []
    for block in blocks(ROOT / page, "sh"):
        lines += re.sub(r"\\\n", " ", block).splitlines()
    return [*lines, *code_in_lines(ROOT / page)]


def calls(program: str, pages: list[str]) -> list[tuple[str, str]]:
    """(page, call) of each call of a program, also of those inside $(…)."""
    found = []
    for page in pages:
        for line in commands(page):
            line = line.partition(" #")[0].replace("…", "X")
            inner = re.findall(r"\$\(([^)]*)\)", line)
            for part in [*inner, *re.split(r"&&|\|\||;|\s&|\s\d?>", re.sub(r'"?\$\([^)]*\)"?', "X", line))]:
                if re.match(rf"{program}( |$)", part.strip()):
                    found.append((page, part.strip()))
    return found


def parse(words: list[str]) -> None:
    """Walk down the groups and have each command parse its options, without converting or running
    anything."""
    command: click.Command = main
    context = click.Context(main, info_name="swarmd")
    while True:
        command.allow_interspersed_args = not isinstance(command, click.Group)
        parser = command.make_parser(context)
        try:
            rest = parser.parse_args(list(words))[1]
        except click.BadOptionUsage:
            rest = parser.parse_args([*words, "X"])[1]  # an option that was named alone, without its value
        if not isinstance(command, click.Group):
            assert not rest, f"{context.command_path} takes no {rest}"
            return
        if not rest:
            return
        below = command.get_command(context, rest[0])
        assert below is not None, f"{context.command_path} has no command {rest[0]}"
        command, words = below, rest[1:]
        context = click.Context(below, info_name=rest[0], parent=context)


@pytest.mark.parametrize(("page", "call"), calls("swarmd", NOW))
def test_every_command_that_is_written_down_exists(page: str, call: str) -> None:
    parse(shlex.split(call)[1:])


@pytest.mark.parametrize("wrong", ["strat", "init --invites X", "config explian", "stop now", "sim --seed=1 --rond"])
def test_a_command_that_does_not_exist_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, click.NoSuchOption)):
        parse(wrong.split())


@pytest.mark.parametrize(("page", "call"), calls(r"python -m (?:benchmarks|fuzz)\S*", NOW))
def test_every_program_that_is_written_down_exists(page: str, call: str) -> None:
    name, *options = re.findall(r"(?<=-m )\S+|--[a-z-]+", call)
    module = importlib.util.find_spec(name)
    assert module is not None, name
    assert module.origin is not None, name
    written = "".join(path.read_text() for path in Path(module.origin).parent.rglob("*.py"))
    for option in options:
        assert f'"{option}"' in written, f"{name} has no {option}"


@pytest.mark.parametrize(("page", "call"), calls("make", NOW))
def test_every_target_exists(page: str, call: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^[a-z]+", call.removeprefix("make ")[:20])) <= set(targets), call


@pytest.mark.parametrize("page", ["docs/results.md", "docs/report.md"])
def test_the_tables_of_attacks_name_all_of_them(page: str) -> None:
    named = [name for row in rows(ROOT / page, "attack") for name in re.findall(r"`([^`]+)`", row[0])]
    assert named == list(ATTACKS)


def test_every_setting_that_is_written_down_exists() -> None:
    sections = {section.name: section.default_factory for section in fields(Config)}
    names = {f"{section}.{field.name}" for section, kind in sections.items() if is_dataclass(kind) for field in fields(kind)}
    assert "policy.model" in names
    pattern = re.compile(rf"\b((?:{'|'.join(sections)})\.[a-z_]+)\b(?!\.)")
    for page in NOW:
        for code in [*code_in_lines(ROOT / page), *blocks(ROOT / page, "sh")]:
            written = {name for name in pattern.findall(code) if not name.endswith((".toml", ".sqlite", ".py"))}
            assert written <= names, page


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in links(ROOT / page):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / name if name else ROOT / page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", NOW)
def test_every_file_that_is_named_is_there(page: str) -> None:
    for code in code_in_lines(ROOT / page):
        if re.fullmatch(r"(swarm|protocols|benchmarks|tests|docs|tools)/[\w/.-]*", code):
            assert (ROOT / code).exists(), code


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


@pytest.mark.parametrize("page", WRITTEN)
def test_prose_is_wrapped(page: str) -> None:
    for line in prose(ROOT / page).splitlines():
        lone = not re.search(r"\s", re.sub(r"!?\[[^\]]*\]\([^)]*\)", "", line).strip("-* "))
        assert len(line) <= COLUMNS or lone or line.startswith(("|", "#")), line
