"""The table of TLS as the manual has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.kit.paths import ROOT
from tests.system.tls.row import Row

PAGE: Path = ROOT / "gateway" / "manual" / "tls.md"


def _place(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- tls: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def drawn(rows: Sequence[Row]) -> str:
    """Return rows as a table of the manual."""
    lines = ["| | what comes of it |", "| --- | --- |", *(f"| {row.who} | {row.seen} |" for row in rows)]
    return "\n".join(lines) + "\n"


def told(name: str) -> str:
    """Return the table of that name that stands in the manual."""
    found = _place(name).search(PAGE.read_text(encoding="utf-8"))
    return found[2] if found else ""


def write(name: str, rows: Sequence[Row]) -> None:
    """Put a table into the manual."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_place(name).sub(lambda found: found[1] + drawn(rows) + found[3], text), encoding="utf-8")
