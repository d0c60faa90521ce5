"""Writes YAML that the strict reader reads back unchanged: one line for a field, with comments above."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["write_comment", "write_csv", "write_flow", "write_scalar"]

_PLAIN: Final = re.compile(
    r"[A-Za-z0-9가-힣ㄱ-ㅎ](?:[A-Za-z0-9가-힣ㄱ-ㅎ ._/()+·%&'<>=;*-]*[A-Za-z0-9가-힣ㄱ-ㅎ._/()+%'*])?"
)
_WIDTH: Final = 100


def write_scalar(text: str) -> str:
    """Return a text as a YAML scalar."""
    if _PLAIN.fullmatch(text) and " #" not in text:
        return text
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(letter if _is_printable(letter) else _escape_letter(letter) for letter in shown)


def _is_printable(letter: str) -> bool:
    return letter.isprintable() and letter not in "\ufeff\u0085\u2028\u2029"


def _escape_letter(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def write_flow(value: Any) -> str:
    """Return a text, or a list or table of them, as YAML on one line."""
    if isinstance(value, str):
        return write_scalar(value)
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{write_scalar(key)}: {write_flow(inner)}" for key, inner in value.items()) + "}"
        )
    if isinstance(value, Sequence):
        return "[" + ", ".join(write_flow(inner) for inner in value) + "]"
    return write_scalar(str(value))


def write_comment(text: str, indent: str) -> list[str]:
    """Return the lines of a comment about work that is left (``to finish: …``)."""
    words, lines, line = f"to finish: {text}".split(), [], ""
    for word in words:
        word = "".join(letter for letter in word if letter.isprintable())
        if line and len(indent) + len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = f"  {word}"
        else:
            line = f"{line} {word}" if line else word
    return [f"{indent}# {part}" for part in [*lines, line]]


def write_csv(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in CSV."""
    return "".join(",".join(_write_cell(cell) for cell in row) + "\n" for row in rows)


def _write_cell(text: str) -> str:
    shown = " ".join(text.split())
    return f'"{shown.replace(chr(34), chr(34) * 2)}"' if re.search(r'[",]', shown) else shown
