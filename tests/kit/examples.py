"""The small examples of the manual for each piece of the mapping language: read from their page and run.

A fenced block says in its first line what it is.  ``file=NAME`` is a file of the mappings,
``submission`` the submission, ``request`` what it becomes, ``notice`` an answer, ``facts`` what
that says.  An example adds ``asks``, ``puts``, ``puts item`` or ``checks`` to the document and
``fields`` to the submission, and ends with what that ``gives``, how it is ``refused``, or which
proof it breaks (``unproved``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import SplitResult, load_bundle, make_placeholder_numbers, split_submission
from gateway.harmonize.proofs import check_bundle

FENCE = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DOCUMENT = "agencies/GARDEN/BULBS.yaml"
SPACE = "urn:single-window:document:bulbs:1"
WRONG = ("refused", "unproved")
BASE = ("submission", "request", "ledger", "explained", "notice", "facts")
ITEM_PUTS = "        - Colour: {ask: colour}\n"


@dataclass
class Example:
    """What one example adds, and what it ends with."""

    line: int
    added: dict[str, str] = field(default_factory=dict)
    end: str = ""
    expected: str = ""


@dataclass
class Page:
    """The base of all examples, and the examples."""

    files: dict[str, str] = field(default_factory=dict)
    submission: str = ""
    request: str = ""
    ledger: str = ""
    explained: str = ""
    notice: str = ""
    facts: str = ""
    examples: list[Example] = field(default_factory=list)


def read(text: str) -> Page:
    page = Page()
    example: Example | None = None
    for found in FENCE.finditer(text):
        kind, content = found[2].strip(), found[3]
        if kind.startswith("file="):
            page.files[kind.removeprefix("file=")] = content
        elif kind in BASE:
            setattr(page, kind, content)
        elif kind in ("asks", "puts", "puts item", "checks", "fields", "fields item", "gives", *WRONG):
            example = example or Example(text[: found.start()].count("\n") + 1)
            if kind in ("gives", *WRONG):
                example.end, example.expected = kind, content
                page.examples.append(example)
                example = None
            else:
                assert kind not in example.added, f"line {example.line}: {kind} twice"
                example.added[kind] = content
        else:
            raise AssertionError(f"an example of no kind that is run: {found[1]} {kind}")
    assert example is None, "the last example has no end"
    return page


def write(page: Page, example: Example | None, folder: Path) -> None:
    """Write the mappings, with what the example adds to the document."""
    for name, content in page.files.items():
        if name == DOCUMENT and example is not None:
            content = _with(content, example.added)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _with(document: str, added: dict[str, str]) -> str:
    def indented(kind: str, blanks: int) -> str:
        return "".join(" " * blanks + line + "\n" for line in added.get(kind, "").splitlines())

    document = document.replace("puts:\n  - Number", indented("asks", 2) + "puts:\n  - Number", 1)
    document = document.replace(ITEM_PUTS, ITEM_PUTS + indented("puts item", 8), 1)
    checks = "checks:\n" + indented("checks", 2) if "checks" in added else ""
    return document.replace("reads:\n", indented("puts", 2) + checks + "reads:\n", 1)


def submission(page: Page, example: Example | None) -> etree._Element:
    text = page.submission
    for kind, end in (("fields item", "</b:Item>"), ("fields", "</Fields>")):
        if example is not None and kind in example.added:
            text = text.replace(end, example.added[kind] + end, 1)
    return etree.fromstring(text, etree.XMLParser(remove_blank_text=True))


def run(page: Page, example: Example | None, folder: Path) -> tuple[SplitResult | None, str]:
    """Return the split, and the first thing that is wrong with it or with the mapping."""
    write(page, example, folder)
    try:
        bundle = load_bundle(folder)
    except GatewayError as error:
        return None, str(error)
    root = submission(page, example)
    done = split_submission(root, bundle, make_placeholder_numbers(root))
    first = done.problems[0] if done.problems else None
    return done, f"{first.problem.id} {first.detail}" if first else ""


def unproved(page: Page, example: Example, folder: Path) -> list[str]:
    """Return what the proofs say of the mapping, its text alone looked at."""
    write(page, example, folder)
    return [
        f"{one.proof} {one.field}: {one.message}; for example {one.counter_example}"
        for one in check_bundle(load_bundle(folder), sample_count=0).findings
    ]


def shape(element: etree._Element) -> tuple[Any, ...]:
    """Return what an element says, whatever its prefixes and blanks between elements."""
    children = tuple(shape(one) for one in element)
    text = "" if children else element.text or ""
    return etree.QName(element).localname, tuple(sorted(element.attrib.items())), text, children


def wanted(example: Example) -> Iterator[tuple[Any, ...]]:
    parser = etree.XMLParser(remove_blank_text=True)
    for element in etree.fromstring(f'<x xmlns="{SPACE}">{example.expected}</x>', parser):
        yield shape(element)
