"""The values of a form: texts by their keys, with the applications, the goods items and the attachments.

A key names a place and a field: ``h/importer.name``, ``i#2/item.hs``, ``i#2/package#1/package.count``,
``a#1/drug_class``, ``a#1/i#2/ingredient#3/ingredient.name``, ``s/payment.method``. ``h`` is the
declaration, ``i#2`` goods item 2, ``a#1`` the first application, ``s`` what several documents share.
``#`` with a number counts occurrences, and ``@`` at the end is the unit or the currency.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.errors import DOCUMENT_INVALID, GatewayError

__all__ = [
    "FiledApplication",
    "FiledDisclaimer",
    "FormAttachment",
    "FormValues",
    "count_occurrences",
    "parse_form_values",
    "remove_occurrence",
    "write_form_values",
]

_KEY: Final = re.compile(r"[his](#[0-9]{1,5})?(/[^/\s]{1,200})*|a#[0-9]{1,3}(/[^/\s]{1,200})*")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_MOST_VALUES: Final = 200_000
_LONGEST: Final = 20_000


@dataclass(frozen=True, slots=True)
class FiledApplication:
    """One application: its id in the submission, its document, and the goods items that it concerns."""

    id: str
    document: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FormAttachment:
    """The declared properties of a file; `application` counts from 1."""

    cid: str
    application: int
    media_type: str
    sha256: str
    size: int
    kind: str = ""


@dataclass(frozen=True, slots=True)
class FiledDisclaimer:
    """The declarant's statement that a law does not apply to an item, with the reason."""

    item: str
    law: str
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class FormValues:
    """What has been entered in a form.

    `further` are values of a copied declaration for which the form has no field, such as those that
    only customs uses; they are written back unchanged.
    """

    applications: tuple[FiledApplication, ...] = ()
    items: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[FormAttachment, ...] = ()
    function: str = "9"
    disclaimers: tuple[FiledDisclaimer, ...] = ()
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[str, ...]:
        """Return the documents of the applications, each once."""
        return tuple(dict.fromkeys(one.document for one in self.applications))

    def list_documents_of(self, item: str) -> tuple[str, ...]:
        """Return the documents that concern a goods item."""
        return tuple(one.document for one in self.applications if item in one.items)

    def drop_empty_values(self) -> FormValues:
        """Return the same values without those that have been left empty."""
        return replace(self, values={key: text for key, text in self.values.items() if text.strip()})


def count_occurrences(keys: Iterable[str], place: str, name: str) -> int:
    """Return the highest number of an occurrence ``place/name#number`` that has a value."""
    prefix = f"{place}/{name}#"
    return max((_read_number(key, prefix) for key in keys if key.startswith(prefix)), default=0)


def remove_occurrence(values: Mapping[str, str], place: str, name: str, number: int) -> dict[str, str]:
    """Return the values without one occurrence; those behind it move up."""
    prefix, kept = f"{place}/{name}#", {}
    for key, text in values.items():
        found = _read_number(key, prefix) if key.startswith(prefix) else 0
        if found == number:
            continue
        if found > number:
            key = f"{prefix}{found - 1}{key[len(prefix) + len(str(found)) :]}"
        kept[key] = text
    return kept


def _read_number(key: str, prefix: str) -> int:
    match = _NUMBER.match(key, len(prefix))
    return int(match[0]) if match else 0


def write_form_values(values: FormValues) -> str:
    """Return the values as JSON."""
    return json.dumps(asdict(values), ensure_ascii=False, indent=1, sort_keys=True)


def parse_form_values(text: str | bytes) -> FormValues:
    """Return the values that JSON gives; raise GW402 for other JSON, naming the place."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise _make_error("the file is not JSON", "/") from None
    if not isinstance(table, dict):
        raise _make_error("the values are an object", "/")
    known = {"applications", "items", "values", "attachments", "function", "disclaimers", "further"}
    for name in table:
        if name not in known:
            raise _make_error(f"there is no key {name[:40]!r}", name[:40])
    return FormValues(
        applications=tuple(_read_application(one, at) for at, one in _list_rows(table, "applications")),
        items=_read_numbers(table.get("items", []), "items"),
        values=_read_texts(table, "values"),
        attachments=tuple(_read_attachment(one, at) for at, one in _list_rows(table, "attachments")),
        function=_read_text(table, "function", "function", "9"),
        disclaimers=tuple(_read_disclaimer(one, at) for at, one in _list_rows(table, "disclaimers")),
        further=_read_texts(table, "further", keys=None),
    )


def _make_error(detail: str, place: str) -> GatewayError:
    return GatewayError(DOCUMENT_INVALID, detail, place)


def _list_rows(table: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    rows = table.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
        raise _make_error("it is a list of objects", name)
    return [(f"{name}[{number}]", one) for number, one in enumerate(rows, 1)]


def _read_text(row: Mapping[str, Any], name: str, place: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise _make_error(f"{name} is a text", place)
    return value


def _read_numbers(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(one, str) and _NUMBER.fullmatch(one) for one in value
    ):
        raise _make_error("it is a list of item numbers, each a text of digits", place)
    return tuple(dict.fromkeys(value))


def _read_texts(table: Mapping[str, Any], name: str, keys: re.Pattern[str] | None = _KEY) -> dict[str, str]:
    found = table.get(name, {})
    if not isinstance(found, dict) or len(found) > _MOST_VALUES:
        raise _make_error("it is an object of texts", name)
    for key, value in found.items():
        if keys is not None and keys.fullmatch(key) is None:
            raise _make_error(f"{key[:80]!r} is not the key of a field", name)
        _read_text({"value": value}, "value", f"{name}/{key[:80]}")
    return dict(found)


def _read_application(row: Mapping[str, Any], place: str) -> FiledApplication:
    items = _read_numbers(row.get("items", []), f"{place}/items")
    return FiledApplication(_read_text(row, "id", place), _read_text(row, "document", place), items)


def _read_attachment(row: Mapping[str, Any], place: str) -> FormAttachment:
    numbers = row.get("application", 1), row.get("size")
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in numbers):
        raise _make_error("application and size are numbers", place)
    texts = [_read_text(row, name, place) for name in ("cid", "media_type", "sha256")]
    kind = _read_text(row, "kind", place, "")
    return FormAttachment(
        texts[0], int(row.get("application", 1)), texts[1], texts[2], int(row["size"]), kind
    )


def _read_disclaimer(row: Mapping[str, Any], place: str) -> FiledDisclaimer:
    item, law, reason = (_read_text(row, name, place) for name in ("item", "law", "reason"))
    return FiledDisclaimer(item, law, reason, _read_text(row, "text", place, ""))
