"""Tables in Markdown: written, and read again."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["cell", "read_table", "table"]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(cell(one) for one in line) + " |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Return a text as it stands in a cell: one line, without a bar."""
    return text.replace("\n", " ").replace("|", "\\|").strip() or " "


def read_table(text: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table under a heading, each by the names of the columns."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table under {heading}"
    names, _, *rows = lines
    return [dict(zip(names, row, strict=True)) for row in rows]
