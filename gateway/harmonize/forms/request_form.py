"""A request as a form: its sections, fields and groups, with labels in both languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_DESCRIPTION: Final = "common:item.description"
_HS_CODE: Final = "common:item.hs"
#: The declared measures of an item; a document forwards some of these.
_MEASURES: Final = ("common:item.quantity", "common:item.net_mass")

#: A label by language, ``ko`` and ``en``.
Translations = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RequestValue:
    """One value: its text, its unit or currency, and the words for a code.

    `changed` marks a value that a supplement changed; `previous` is the text before, None where there was no
    text. A value that was removed has an empty text.
    """

    text: str
    unit: str = ""
    code_label: Translations | None = None
    changed: bool = False
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class RequestField:
    """One field with its values; `is_unique` is true where only this document asks for it.

    `name` is a kind and a name, such as ``common:importer.name``; `pointer` is the field's place in
    the applicant's submission.
    """

    name: str
    label: Translations
    is_unique: bool
    pointer: str
    required: bool = False
    values: tuple[RequestValue, ...] = ()

    @property
    def changed(self) -> bool:
        """Return whether a supplement changed a value of the field."""
        return any(value.changed for value in self.values)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One occurrence of a group: its position, such as ``2`` or ``1/3``, and a field for each column."""

    number: str
    cells: tuple[RequestField, ...]


@dataclass(frozen=True, slots=True)
class RequestGroup:
    """A repeated group of fields: a table of its occurrences."""

    name: str
    label: Translations
    is_unique: bool
    columns: tuple[Translations, ...]
    rows: tuple[RequestRow, ...]


@dataclass(frozen=True, slots=True)
class ItemGoods:
    """The goods of one item: an empty text, or no measure, where the request does not have it."""

    description: str
    hs: str
    measures: tuple[RequestValue, ...]


@dataclass(frozen=True, slots=True)
class RequestSection:
    """The fields of the whole application (`item` is None), or of one goods item."""

    item: str | None
    common: tuple[RequestField, ...]
    unique: tuple[RequestField, ...]
    groups: tuple[RequestGroup, ...]

    def list_fields(self) -> Iterator[RequestField]:
        """Yield every field of the section, those of groups last."""
        yield from self.common
        yield from self.unique
        for group in self.groups:
            for row in group.rows:
                yield from row.cells

    def read_goods(self) -> ItemGoods:
        """Return the goods of the item."""
        values = {
            field.name: [form_value for form_value in field.values if form_value.text]
            for field in self.common
        }
        return ItemGoods(
            description=", ".join(form_value.text for form_value in values.get(_DESCRIPTION, ())),
            hs=", ".join(form_value.text for form_value in values.get(_HS_CODE, ())),
            measures=tuple(form_value for name in _MEASURES for form_value in values.get(name, ())),
        )


@dataclass(frozen=True, slots=True)
class RequestForm:
    """A request that was drawn; `others` are values that no field of the form explains."""

    document: str
    label: Translations
    sections: tuple[RequestSection, ...]
    others: tuple[tuple[str, str], ...]
    attachments: Mapping[str, Translations]

    def list_fields(self) -> Iterator[RequestField]:
        """Yield every field of every section."""
        for section in self.sections:
            yield from section.list_fields()

    def list_goods(self) -> Mapping[int, ItemGoods]:
        """Return the goods of each item by its number."""
        return {
            int(section.item): section.read_goods() for section in self.sections if section.item is not None
        }

    def find_first_text(self, *names: str) -> str:
        """Return the first value of the first of these fields that has one; else an empty text."""
        for name in names:
            for field in self.list_fields():
                if field.name == name and field.values and field.values[0].text:
                    return field.values[0].text
        return ""
