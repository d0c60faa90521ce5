"""The form in which an organisation's system speaks: XML, JSON or fixed records, as data.

``carriers.yaml`` names the organisations that speak another form than XML, each with what that form
leaves open.  The form says nothing about content: what is carried is the document of the mapping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.harmonize.types import CHARSETS, YamlNode, YamlTable

__all__ = ["FORMS", "XML_FORM", "CarrierForm", "FieldFormat", "read_carrier_forms"]

FORMS: Final = ("xml", "json", "fixed")
_NUMBERS: Final = {"json": ("strings", "exact"), "fixed": ("text", "zeros")}
_ENDS: Final = {"none": b"", "lf": b"\n", "crlf": b"\r\n"}
_OVERFLOWS: Final = ("continue", "refuse")


@dataclass(frozen=True, slots=True)
class FieldFormat:
    """What is particular of one field of fixed records; None is as the organisation has it."""

    width: int | None = None
    numbers: str | None = None
    overflow: str | None = None


@dataclass(frozen=True, slots=True)
class CarrierForm:
    """How an organisation's documents are carried.

    `numbers` are ``strings`` or ``exact`` in JSON, ``text`` (to the left, filled with spaces) or ``zeros``
    (to the right, filled with zeros) in fixed records. There `longest` is the most octets of a text field;
    a longer value goes on in continuation records, or is refused, as `overflow` says. `end` closes each
    record. `fields` has what is particular, by the path of the element from the root of its document.
    """

    form: str = "xml"
    charset: str = "utf-8"
    numbers: str = ""
    longest: int = 100
    overflow: str = "continue"
    end: bytes = b"\n"
    fields: Mapping[str, FieldFormat] = field(default_factory=dict)


#: The form of an organisation that ``carriers.yaml`` does not name.
XML_FORM: Final = CarrierForm()


def read_carrier_forms(node: YamlNode, organisations: Collection[str]) -> dict[str, CarrierForm]:
    """Return the form of each organisation that is named; raise GW502 with file, line and field."""
    top = node.read_table("carriers")
    found = {}
    for code, value, mark in top.get_required("carriers").read_table("carriers").take_unread_items():
        YamlNode(code, mark).read_choice("organisation", organisations)
        found[code] = _read_carrier_form(value.read_table(code))
    top.reject_unread_keys()
    return found


def _read_carrier_form(table: YamlTable) -> CarrierForm:
    form = table.get_required("form").read_choice("form", FORMS)
    charset, longest, end = table.get("charset"), table.get("longest"), table.get("end")
    numbers, overflow, fields = table.get("numbers"), table.get("overflow"), table.get("fields")
    made = CarrierForm(
        form,
        charset.read_choice("charset", CHARSETS if form == "fixed" else ("utf-8",)) if charset else "utf-8",
        numbers.read_choice("numbers", _NUMBERS.get(form, ())) if numbers else "",
        longest.read_integer("longest", 4, 9999) if longest else 100,
        overflow.read_choice("overflow", _OVERFLOWS) if overflow else "continue",
        _ENDS[end.read_choice("end", tuple(_ENDS))] if end else b"\n",
        _read_field_formats(fields.read_table("fields")) if fields else {},
    )
    table.reject_unread_keys()
    return made


def _read_field_formats(table: YamlTable) -> dict[str, FieldFormat]:
    found = {}
    for path, value, _ in table.take_unread_items():
        row = value.read_table(path)
        width, numbers, overflow = row.get("width"), row.get("numbers"), row.get("overflow")
        found[path] = FieldFormat(
            width.read_integer("width", 1, 9999) if width else None,
            numbers.read_choice("numbers", _NUMBERS["fixed"]) if numbers else None,
            overflow.read_choice("overflow", _OVERFLOWS) if overflow else None,
        )
        row.reject_unread_keys()
    return found
