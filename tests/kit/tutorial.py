"""The document that the manual builds from nothing: its blocks, added up and run as a reader would.

A fenced block says in its first line what it is: ``file=NAME`` is a whole file of the folder,
``beside=NAME`` one beside it, ``add`` lines for the document, ``fields`` and ``fields item`` what
the applicant answers; ``wrong`` and ``wrong fields item`` are there for one command only.  There are
also the ``submission`` and a ``notice``.  A block ``sh`` is run in the folder above the mappings, and
the ``text`` below it is what it prints: ``…`` stands for whatever is left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOLDER = "harbour"
DOCUMENT = "agencies/HARBOUR/DG-NOTICE.yaml"
SUBMISSION = "submission.xml"
CUT = "…"

Run = Callable[[list[str]], str]


@dataclass(frozen=True)
class Block:
    """One fenced block: the line of the page, language, kind and content."""

    line: int
    language: str
    kind: str
    content: str


@dataclass
class Step:
    """One command with what was written before it and what it prints."""

    line: int
    blocks: list[Block] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    printed: str = ""


def blocks(text: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        yield Block(text[: found.start()].count("\n") + 1, found[1], found[2].strip(), found[3])


def steps(text: str) -> list[Step]:
    """Return the steps of the page; each ends with the text that a command prints."""
    found: list[Step] = []
    step: Step | None = None
    for block in blocks(text):
        step = step or Step(block.line)
        if block.language == "sh":
            step.commands += block.content.splitlines()
        elif block.language == "text":
            assert step.commands, f"line {block.line}: printed by no command"
            step.printed = block.content
            found.append(step)
            step = None
        else:
            step.blocks.append(block)
    assert step is None, "the last example has no end"
    return found


def merged(document: str, added: str) -> str:
    """Return a document with lines added: each at the end of the part that the lines above it name."""
    return "\n".join(_merge(document.splitlines(), added.splitlines())) + "\n"


def _merge(old: list[str], new: list[str]) -> list[str]:
    parts = _parts(old)
    for head, below in _parts(new):
        known = next((part for part in parts if _key(part[0]) == _key(head)), None)
        if known is None:
            parts.append((head, below))
        elif known[1] and below:
            known[1][:] = _merge(known[1], below)
        else:
            assert not known[1], f"{head.strip()} is there already"
            parts[parts.index(known)] = (head, below)
    return [line for head, below in parts for line in (head, *below)]


def _key(line: str) -> str:
    """Return what a line says something about: two lines with one key are the same line."""
    found = re.match(r"- (?:id|[A-Z@\"][^{}:]*):(?: [a-z_]+$)?|[^-{}: ]+:", line.strip())
    return found[0] if found else line


def _parts(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Return the lines that are least indented, each with those below it."""
    parts: list[tuple[str, list[str]]] = []
    least = min((_indent(line) for line in lines), default=0)
    for line in lines:
        if _indent(line) == least and not line.strip().startswith(("}", "]")):
            parts.append((line, []))
        else:
            parts[-1][1].append(line)
    return parts


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class Desk:
    """The reader's desk: a folder of mappings and a submission, which grow from step to step."""

    def __init__(self, place: Path, run: Run) -> None:
        self.place, self.run = place, run

    def take(self, step: Step) -> str:
        """Do what a step says; return what its commands print."""
        kept = {path: path.read_text(encoding="utf-8") for path in self._growing() if path.is_file()}
        for block in step.blocks:
            self._write(block)
        printed = "".join(self._said(command) for command in step.commands)
        if any(block.kind.startswith("wrong") for block in step.blocks):
            for path, text in kept.items():
                path.write_text(text, encoding="utf-8")
        return printed

    def _growing(self) -> tuple[Path, Path]:
        return self._file(DOCUMENT), self.place / SUBMISSION

    def _said(self, command: str) -> str:
        words = shlex.split(command)[1:]
        printed = self.run(words)
        if words[:2] == ["map", "sample"]:
            (self.place / "sample.xml").write_text(printed, encoding="utf-8")
        return printed

    def _file(self, name: str) -> Path:
        return self.place / FOLDER / name

    def _write(self, block: Block) -> None:
        name = block.kind.removeprefix("file=")
        if name != block.kind:
            path = self._file(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content, encoding="utf-8")
        elif block.kind.startswith("beside="):
            (self.place / block.kind.removeprefix("beside=")).write_text(block.content, encoding="utf-8")
        elif block.kind in ("submission", "notice"):
            (self.place / f"{block.kind}.xml").write_text(block.content, encoding="utf-8")
        elif block.kind in ("add", "wrong"):
            path = self._file(DOCUMENT)
            path.write_text(merged(path.read_text(encoding="utf-8"), block.content), encoding="utf-8")
        elif block.kind in ("fields", "fields item", "wrong fields item"):
            self._answer(block.content, in_item="item" in block.kind)
        else:
            raise AssertionError(f"line {block.line}: a block of no kind that is run: {block.kind}")

    def _answer(self, content: str, *, in_item: bool) -> None:
        path, end = self.place / SUBMISSION, "      </d:Item>" if in_item else "      <d:Item"
        blanks = " " * (8 if in_item else 6)
        lines = "".join(f"{blanks}{line}\n" for line in content.splitlines())
        path.write_text(path.read_text(encoding="utf-8").replace(end, lines + end, 1), encoding="utf-8")


def shows(printed: str, expected: str) -> bool:
    """Return whether `expected` is what was printed.

    A line of ``…`` alone stands for any lines, also none, a ``…`` in a line for a part of it.
    """
    pattern = ""
    for line in expected.strip().splitlines():
        inner = r"[^\n]*".join(re.escape(part) for part in line.split(CUT))
        pattern += r"(?:[^\n]*\n)*?" if line.strip() == CUT else rf"{inner}\n"
    return re.fullmatch(pattern, printed.strip() + "\n") is not None
