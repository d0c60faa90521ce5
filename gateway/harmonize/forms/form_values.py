"""The values of a form: texts by their keys, with the applications, the goods items and the attachments.

A key names a place and a field: ``h/importer.name``, ``i#2/item.hs``, ``i#2/package#1/package.count``,
``a#1/drug_class``, ``a#1/i#2/ingredient#3/ingredient.name``, ``s/payment.method``. ``h`` is the
declaration, ``i#2`` goods item 2, ``a#1`` the first application, ``s`` the fields that several documents
share. ``#`` with a number counts occurrences, and ``@`` at the end is the unit or the currency.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.errors import DOCUMENT_INVALID, GatewayError

_KEY: Final = re.compile(r"[his](#[0-9]{1,5})?(/[^/\s]{1,200})*|a#[0-9]{1,3}(/[^/\s]{1,200})*")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_MAX_VALUES: Final = 200_000
_MAX_TEXT_LENGTH: Final = 20_000


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
    """The values that have been entered in a form.

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
        return tuple(dict.fromkeys(application.document for application in self.applications))

    def list_documents_of(self, item: str) -> tuple[str, ...]:
        """Return the documents that concern a goods item."""
        return tuple(application.document for application in self.applications if item in application.items)

    def drop_empty_values(self) -> FormValues:
        """Return the same values without those that have been left empty."""
        return replace(self, values={key: text for key, text in self.values.items() if text.strip()})


def count_occurrences(keys: Iterable[str], base_key: str, name: str) -> int:
    """Return the number of the last occurrence ``base_key/name#number`` among `keys`; 0 if there is none."""
    prefix = f"{base_key}/{name}#"
    return max((_read_number(key, prefix) for key in keys if key.startswith(prefix)), default=0)


def remove_occurrence(values: Mapping[str, str], base_key: str, name: str, number: int) -> dict[str, str]:
    """Return the values without one occurrence; those behind it move up."""
    prefix, remaining = f"{base_key}/{name}#", {}
    for key, text in values.items():
        occurrence = _read_number(key, prefix) if key.startswith(prefix) else 0
        if occurrence == number:
            continue
        if occurrence > number:
            key = prefix + _NUMBER.sub(str(occurrence - 1), key[len(prefix) :], count=1)
        remaining[key] = text
    return remaining


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
    allowed_keys = {"applications", "items", "values", "attachments", "function", "disclaimers", "further"}
    for name in table:
        if name not in allowed_keys:
            raise _make_error(f"there is no key {name[:40]!r}", name[:40])
    return FormValues(
        applications=tuple(_read_application(row, at) for at, row in _list_rows(table, "applications")),
        items=_read_numbers(table.get("items", []), "items"),
        values=_read_texts(table, "values"),
        attachments=tuple(_read_attachment(row, at) for at, row in _list_rows(table, "attachments")),
        function=_read_text(table, "function", "function", "9"),
        disclaimers=tuple(_read_disclaimer(row, at) for at, row in _list_rows(table, "disclaimers")),
        further=_read_texts(table, "further", key_pattern=None),
    )


def _make_error(detail: str, location: str) -> GatewayError:
    return GatewayError(DOCUMENT_INVALID, detail, location)


def _list_rows(table: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    rows = table.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _make_error("it is a list of objects", name)
    return [(f"{name}[{number}]", row) for number, row in enumerate(rows, 1)]


def _read_text(row: Mapping[str, Any], name: str, location: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str) or len(value) > _MAX_TEXT_LENGTH:
        raise _make_error(f"{name} is a text", location)
    return value


def _read_numbers(value: Any, location: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(number, str) and _NUMBER.fullmatch(number) for number in value
    ):
        raise _make_error("it is a list of item numbers, each a text of digits", location)
    return tuple(dict.fromkeys(value))


def _read_texts(
    table: Mapping[str, Any], name: str, key_pattern: re.Pattern[str] | None = _KEY
) -> dict[str, str]:
    """Return the object of texts at `name` of a table, whose keys match the pattern (None: any key)."""
    texts = table.get(name, {})
    if not isinstance(texts, dict) or len(texts) > _MAX_VALUES:
        raise _make_error("it is an object of texts", name)
    for key, value in texts.items():
        if key_pattern is not None and key_pattern.fullmatch(key) is None:
            raise _make_error(f"{key[:80]!r} is not the key of a field", name)
        _read_text({"value": value}, "value", f"{name}/{key[:80]}")
    return dict(texts)


def _read_application(row: Mapping[str, Any], location: str) -> FiledApplication:
    items = _read_numbers(row.get("items", []), f"{location}/items")
    return FiledApplication(_read_text(row, "id", location), _read_text(row, "document", location), items)


def _read_attachment(row: Mapping[str, Any], location: str) -> FormAttachment:
    """Return the attachment that `row` describes; raise GW402 at `location` for a wrong member."""
    numbers = row.get("application", 1), row.get("size")
    if not all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers
    ):
        raise _make_error("application and size are numbers", location)
    texts = [_read_text(row, name, location) for name in ("cid", "media_type", "sha256")]
    kind = _read_text(row, "kind", location, "")
    return FormAttachment(
        texts[0], int(row.get("application", 1)), texts[1], texts[2], int(row["size"]), kind
    )


def _read_disclaimer(row: Mapping[str, Any], location: str) -> FiledDisclaimer:
    item, law, reason = (_read_text(row, name, location) for name in ("item", "law", "reason"))
    return FiledDisclaimer(item, law, reason, _read_text(row, "text", location, ""))
