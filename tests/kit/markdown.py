"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["cell", "table"]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(cell(one) for one in line) + " |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Return a text as it stands in a cell: one line, without a bar."""
    return text.replace("\n", " ").replace("|", "\\|").strip() or " "
