"""Every command that a remedy, a message, an example or a page names is one that the program has.

A command in an example block must be parsed completely by the parser of its verb. A command that is
named in running text may leave out what the reader fills in, but its verb, its options and the
arguments that it does name must be those of the verb.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from gateway.cli.added_verbs import list_nouns, list_verbs
from gateway.cli.verb_groups import build_root, load_verb
from gateway.errors import PROBLEMS
from tests.kit.paths import MANUAL, ROOT
from tests.kit.source_tree import list_sources, walk_source

NOUNS = list_nouns()
VERBS = list_verbs()

FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
QUOTED = re.compile(r"(?<!`)`(?:\.venv/bin/)?(gateway [a-z][^`]*)`")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: What the reader fills in.
GAP = re.compile(r"<[^>]+>|[A-Z][A-Z0-9_]+|…")
#: Where a command ends in a shell.
SHELL = {">", ">>", "<", "|", "&&", "||", ";", "&", "2>", "\\"}


def pages() -> dict[str, str]:
    found = {name: (ROOT / name).read_text(encoding="utf-8") for name in FRONT}
    for path in sorted(MANUAL.rglob("*.md")):
        found[path.relative_to(MANUAL).as_posix()] = path.read_text(encoding="utf-8")
    return found


PAGES = pages()


def quoted(text: str) -> Iterator[str]:
    """Yield the commands in running text; `gateway queue hold, release` names two."""
    for said in QUOTED.findall(re.sub(r"\s+", " ", text)):
        first, *more = re.split(r", (?=[a-z-]+(?:,|$))", said)
        yield first
        for verb in more:
            yield f"{first.rpartition(' ')[0]} {verb}"


def blocks(text: str) -> Iterator[str]:
    """Yield the commands in the example blocks of a page."""
    told = [body for language, body in FENCE.findall(text) if language in ("sh", "", "console", "bash")]
    told.append("\n".join(re.findall(r"^ {4}(.*)$", FENCE.sub("", text), re.MULTILINE)))
    for line in "\n".join(told).replace("\\\n", " ").splitlines():
        for part in re.split(r" && | \|\| |; ", line.strip().removeprefix("$ ")):
            if re.match(r"(\S*/)?gateway [a-z]", part.strip()):
                yield "gateway " + part.strip().partition("gateway ")[2]


def literals(path: Path) -> Iterator[str]:
    """Yield the texts of a source file, the parts of f-strings joined by a gap."""
    for node in walk_source(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "GAP" for one in node.values)


def find_verb(words: list[str]) -> tuple[str | None, list[str]]:
    """Return the verb that the words begin with, and the rest."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name, words[length:]
    return None, words


def check_command(command: str, *, whole: bool) -> None:
    """Fail unless the command exists; `whole`: and unless it is complete."""
    words = shlex.split(command, comments=True)[1:]
    words = list(takewhile(lambda word: word not in SHELL, words))
    name, rest = find_verb(words)
    if name is None:
        group = " ".join(words)
        about = words in (["--help"], ["--version"]) or words[-1:] == ["--help"]
        assert group in NOUNS or about, f"there is no `{command}`"
        return
    if rest or whole:
        parse_arguments(command, name, rest, whole=whole)


def parse_arguments(command: str, name: str, rest: list[str], *, whole: bool) -> None:
    verb = load_verb(name)
    parent = build_root().make_context("gateway", [], resilient_parsing=True)
    last: click.UsageError | None = None
    for fill in ("1", "2026-01-01", None, *choices_of(verb)):
        words = [GAP.sub(fill, word) if fill and GAP.fullmatch(word) else word for word in rest]
        try:
            verb.make_context(name, words, parent=parent)
        except click.exceptions.Exit:  # --help
            return
        except click.UsageError as problem:
            if not whole and is_left_out(problem, rest):
                return
            last = problem
        else:
            return
    pytest.fail(f"`{command}`: {last.format_message() if last else ''}")


def choices_of(verb: click.Command) -> list[str]:
    return [
        str(one)
        for param in verb.params
        if isinstance(param.type, click.Choice)
        for one in param.type.choices
    ]


def is_left_out(problem: click.UsageError, rest: list[str]) -> bool:
    """Return whether only something is missing that the reader fills in."""
    if isinstance(problem, click.MissingParameter):
        return True
    return (
        isinstance(problem, click.BadOptionUsage)
        and "requires an argument" in problem.message
        and (rest[-1] == problem.option_name)
    )


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda one: one.id)
def test_the_commands_of_a_remedy_exist(problem: object) -> None:
    for field in ("meaning", "cause", "remedy"):
        for command in quoted(getattr(problem, field)):
            check_command(command, whole=True)


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_that_a_page_names_exist(name: str) -> None:
    for command in quoted(FENCE.sub("", PAGES[name])):
        check_command(command, whole=False)


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_can_be_parsed(name: str) -> None:
    for command in blocks(PAGES[name]):
        check_command(command, whole=True)


@pytest.mark.parametrize("name", VERBS)
def test_the_example_of_a_verb_is_complete(name: str) -> None:
    check_command(VERBS[name].format_example(name), whole=True)


def test_the_commands_that_messages_name_exist() -> None:
    found = 0
    for path in list_sources():
        for text in literals(path):
            for command in quoted(text):
                if "GAP" not in command.split()[1]:
                    check_command(command, whole=False)
                    found += 1
    assert found > 50


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("gateway queue shows", False),
        ("gateway queue list --stat FAILED", False),
        ("gateway queue show twelve", False),
        ("gateway queue show", True),
        ("gateway queue list --limit many", False),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, whole: bool) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_command(command, whole=whole)
