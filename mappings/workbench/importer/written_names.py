"""Names and texts as mappings have them: derived from the words of an inventory, and written as YAML or CSV.

The strict reader reads the written texts back unchanged: one line for a field, with comments above it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

from gateway.harmonize import to_element_name

_MAX_NAME_LENGTH: Final = 60
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def make_field_key(name: str, label: str, number: int) -> str:
    """Return the key of a field in a mapping: letters, digits and _, a letter first."""
    for text in (name, label):
        key = _make_ascii_words(text)
        if key:
            return (key if key[0].isalpha() else f"n_{key}")[:_MAX_NAME_LENGTH].rstrip("_")
    return f"field_{number}"


def _make_ascii_words(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")


def make_slug(text: str) -> str:
    """Return a document's id as the first part of a meaning's name: ``PORT-X-1`` becomes ``port_x_1``."""
    return _make_ascii_words(text).lower() or "document"


def make_snake_case(path: str) -> str:
    """Return a WCO path as the name of a meaning: ``A/GoodsItem/ID`` becomes ``a.goods_item.id``."""
    return ".".join(_HUMP.sub("_", part).lower() for part in path.split("/"))


def make_camel_case(text: str) -> str:
    """Return words as the name of a code list: ``MFDS food type`` becomes ``mfdsFoodType``."""
    parts = [word for word in _make_ascii_words(text).split("_") if word]
    if not parts:
        return "list"
    first = parts[0].lower() if parts[0].isupper() else parts[0][:1].lower() + parts[0][1:]
    name = first + "".join(word[:1].upper() + word[1:] for word in parts[1:])
    return (name if name[0].isalpha() else f"list{name}")[:_MAX_NAME_LENGTH]


def make_element_name(name: str) -> str:
    """Return a name with dots as the name of an element: ``importer.name`` becomes ``ImporterName``."""
    return to_element_name(name.replace(".", "_"))


def make_label(name: str) -> str:
    """Return a name as a label: ``lot_no`` becomes ``Lot number``."""
    parts = [word for word in re.split(r"[_.\s/-]+", _HUMP.sub(" ", name)) if word]
    parts = ["number" if word.lower() == "no" and len(parts) > 1 else word for word in parts]
    parts = ["%" if word.lower() == "pct" and len(parts) > 1 else word for word in parts]
    text = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in parts)
    return text[:1].upper() + text[1:] or name


def make_unique_name(name: str, used_names: Container[str], divider: str = "_") -> str:
    """Return `name`, or where it is taken the first free one of ``name_2``, ``name_3`` and so on."""
    unique, number = name, 2
    while unique in used_names:
        unique, number = f"{name}{divider}{number}", number + 1
    return unique


_PLAIN: Final = re.compile(
    r"[A-Za-z0-9가-힣ㄱ-ㅎ](?:[A-Za-z0-9가-힣ㄱ-ㅎ ._/()+·%&'<>=;*-]*[A-Za-z0-9가-힣ㄱ-ㅎ._/()+%'*])?"
)
_WIDTH: Final = 100


def write_scalar(text: str) -> str:
    """Return a text as a YAML scalar."""
    if _PLAIN.fullmatch(text) and " #" not in text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if _is_printable(letter) else _escape_letter(letter) for letter in quoted)


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
    parts, lines, line = f"to finish: {text}".split(), [], ""
    for word in parts:
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
    cell = " ".join(text.split())
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if re.search(r'[",]', cell) else cell
