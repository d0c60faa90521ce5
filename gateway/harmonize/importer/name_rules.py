"""Derives the names of fields, elements, meanings and code lists, and labels, from names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from typing import Final

from gateway.harmonize.types import to_element_name

__all__ = [
    "make_camel_case",
    "make_element_name",
    "make_field_key",
    "make_label",
    "make_slug",
    "make_snake_case",
    "make_unique_name",
]

_LONGEST: Final = 60
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def make_field_key(name: str, label: str, number: int) -> str:
    """Return the key of a field in a mapping: letters, digits and _, a letter first."""
    for text in (name, label):
        found = _keep_ascii(text)
        if found:
            return (found if found[0].isalpha() else f"n_{found}")[:_LONGEST].rstrip("_")
    return f"field_{number}"


def _keep_ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")


def make_slug(text: str) -> str:
    """Return a document's id as the first part of a meaning's name: ``PORT-X-1`` becomes ``port_x_1``."""
    return _keep_ascii(text).lower() or "document"


def make_snake_case(path: str) -> str:
    """Return a WCO path as the name of a meaning: ``A/GoodsItem/ID`` becomes ``a.goods_item.id``."""
    return ".".join(_HUMP.sub("_", part).lower() for part in path.split("/"))


def make_camel_case(text: str) -> str:
    """Return words as the name of a code list: ``MFDS food type`` becomes ``mfdsFoodType``."""
    words = [word for word in _keep_ascii(text).split("_") if word]
    if not words:
        return "list"
    first = words[0].lower() if words[0].isupper() else words[0][:1].lower() + words[0][1:]
    name = first + "".join(word[:1].upper() + word[1:] for word in words[1:])
    return (name if name[0].isalpha() else f"list{name}")[:_LONGEST]


def make_element_name(name: str) -> str:
    """Return a name with dots as the name of an element: ``importer.name`` becomes ``ImporterName``."""
    return to_element_name(name.replace(".", "_"))


def make_label(name: str) -> str:
    """Return a name as a label: ``lot_no`` becomes ``Lot number``."""
    words = [word for word in re.split(r"[_.\s/-]+", _HUMP.sub(" ", name)) if word]
    words = ["number" if word.lower() == "no" and len(words) > 1 else word for word in words]
    words = ["%" if word.lower() == "pct" and len(words) > 1 else word for word in words]
    text = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return text[:1].upper() + text[1:] or name


def make_unique_name(name: str, taken: Container[str], divider: str = "_") -> str:
    """Return `name`, or where it is taken the first free one of ``name_2``, ``name_3`` and so on."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}{divider}{number}", number + 1
    return found
