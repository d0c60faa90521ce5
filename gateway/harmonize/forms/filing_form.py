"""Composes one form for a set of documents: their common values once, then the fields that each asks.

A common value is in the form once, whichever documents need it. A field that documents ask as shared is
there once too. The form knows for which documents a field is needed, always or on a condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import MAPPING_MISSING, GatewayError
from gateway.harmonize.language import (
    ITEM_PATH,
    CommonMeaning,
    Condition,
    DataDictionary,
    DocumentMapping,
    MappingBundle,
    MeaningGroup,
    UniqueField,
    ValueShape,
)
from gateway.wire import AT_MOST_ONCE, Occurs

REFERENCE_PATH: Final = "Declaration/FunctionalReferenceID"
#: The paths of values that the composition writes by itself, without a field in the form.
DERIVED_PATHS: Final = (
    "Declaration/FunctionCode",
    "Declaration/GoodsItemQuantity",
    f"{ITEM_PATH}/SequenceNumeric",
)
#: The values that the gateway itself needs in every submission, also where no document needs them.
_ALWAYS: Final = (
    REFERENCE_PATH,
    "Declaration/IssueDateTime",
    "Declaration/TypeCode",
    "Declaration/Declarant/ID",
    "Declaration/Agent/ID",
)


@dataclass(frozen=True, slots=True)
class FieldUse:
    """A document that uses a field: always, where a condition holds, or at will.

    With `forbidden` it may not be given where the condition does not hold.
    """

    document: str
    mandatory: bool
    when: Condition | None = None
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class FormField:
    """One field, or a group of fields that may be repeated.

    `source` is the entry of the mappings for a field, or for an asked group. `group` is the repeated element
    of a group of common fields; `pinned` is the meaning that selects its one occurrence.
    """

    name: str
    ko: str
    en: str
    source: CommonMeaning | UniqueField | None
    uses: tuple[FieldUse, ...]
    repeat: Occurs = AT_MOST_ONCE
    fields: tuple[FormField, ...] = ()
    group: MeaningGroup | None = None
    pinned: CommonMeaning | None = None
    shared: bool = False

    @property
    def is_group(self) -> bool:
        """Return whether it holds other fields."""
        return bool(self.fields)

    @property
    def is_repeated(self) -> bool:
        """Return whether it may be given several times, side by side."""
        return self.repeat.high > 1

    @property
    def kind(self) -> str:
        """Return the kind of its value, such as ``text`` or ``amount``; ``group`` for a group."""
        if self.is_group:
            return "group"
        return "text" if self.source is None else self.source.type

    @property
    def shape(self) -> ValueShape:
        """Return the form of its value."""
        return ValueShape() if self.source is None else self.source.shape

    @property
    def attribute(self) -> str | None:
        """Return the attribute that the applicant gives with the value: a unit or a currency."""
        if self.source is None or self.source.fixed_unit is not None:
            return None
        attribute = self.source.attribute
        return attribute if attribute in ("unitCode", "currencyID") else None

    @property
    def units(self) -> tuple[str, ...]:
        """Return the units or currencies that are possible; empty where all of a standard list are."""
        return () if self.source is None else self.source.units

    def is_needed(self, documents: Iterable[str]) -> bool:
        """Return whether one of these documents always needs it."""
        document_names = set(documents)
        return any(use.mandatory and use.document in document_names for use in self.uses)


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """The fields that one document alone asks: for the application, and for each of its goods items."""

    document: DocumentMapping
    application: tuple[FormField, ...]
    item: tuple[FormField, ...]


@dataclass(frozen=True, slots=True)
class FilingForm:
    """The form of a set of documents.

    `header` and `item` are the common fields of the declaration and of each goods item. `shared_header`
    and `shared_item` are the fields that several documents ask and that are answered once.
    """

    header: tuple[FormField, ...]
    item: tuple[FormField, ...]
    shared_header: tuple[FormField, ...]
    shared_item: tuple[FormField, ...]
    sections: Mapping[str, DocumentSection] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[str, ...]:
        """Return the documents, in the order in which they were chosen."""
        return tuple(self.sections)


def compose_form(bundle: MappingBundle, documents: Sequence[str]) -> FilingForm:
    """Return the form of these documents, each once; raise GW501 for one without a mapping."""
    chosen = [_get_document(bundle, name) for name in dict.fromkeys(documents)]
    shared = _list_shared_fields(chosen)
    common = _list_common_fields(bundle.dictionary, chosen)
    header = _arrange_common_fields(bundle.dictionary, common, "header")
    if not any(meaning.path == REFERENCE_PATH for meaning in bundle.dictionary.meanings.values()):
        header = (FormField("reference", "참조번호", "Reference", None, ()), *header)
    return FilingForm(
        header=header,
        item=_arrange_common_fields(bundle.dictionary, common, "item"),
        shared_header=tuple(form_field for key, form_field in shared.items() if key[2] == "application"),
        shared_item=tuple(form_field for key, form_field in shared.items() if key[2] == "item"),
        sections={
            document.id: DocumentSection(
                document,
                tuple(_list_own_fields(document, "application", shared)),
                tuple(_list_own_fields(document, "item", shared)),
            )
            for document in chosen
        },
    )


def _get_document(bundle: MappingBundle, name: str) -> DocumentMapping:
    document = bundle.documents.get(name)
    if document is None:
        raise GatewayError(MAPPING_MISSING, f"no mapping for the document {name[:70]!r}", name[:70])
    return document


def _list_common_fields(
    dictionary: DataDictionary, documents: Sequence[DocumentMapping]
) -> dict[str, FormField]:
    """Return every common field that a document uses, by its name, in the order of the dictionary."""
    uses: dict[str, list[FieldUse]] = {
        meaning.name: [] for meaning in dictionary.meanings.values() if meaning.path in _ALWAYS
    }
    for document in documents:
        for need in document.needs:
            use = FieldUse(document.id, need.mandatory, need.when)
            uses.setdefault(need.meaning.name, []).append(use)
    return {
        name: FormField(
            name,
            meaning.ko,
            meaning.en,
            meaning,
            tuple(uses[name]),
            Occurs(0, 99) if meaning.many and meaning.supplement else AT_MOST_ONCE,
        )
        for name, meaning in dictionary.meanings.items()
        if name in uses and meaning.path not in DERIVED_PATHS
    }


def _arrange_common_fields(
    dictionary: DataDictionary, fields: Mapping[str, FormField], per: str
) -> tuple[FormField, ...]:
    """Return the fields of the declaration or of an item, those of groups within their groups."""
    groups = [group for group in dictionary.groups.values() if _holds_fields(dictionary, group, fields)]
    own_groups = [group for group in groups if group.per == per]
    pinned = {
        pinned_field.name: group
        for group in own_groups
        for pinned_field in _list_pinned_fields(group, fields, per)
    }
    arranged: list[FormField] = []
    for form_field in fields.values():
        assert isinstance(form_field.source, CommonMeaning)
        if form_field.source.per == per:
            group = pinned.get(form_field.name)
            arranged.append(form_field if group is None else _pin_field(form_field, group, fields))
    arranged += [_make_group_field(dictionary, group, fields) for group in own_groups]
    return tuple(arranged)


def _holds_fields(dictionary: DataDictionary, group: MeaningGroup, fields: Mapping[str, FormField]) -> bool:
    return any(
        isinstance(form_field.source, CommonMeaning)
        and group.name in dictionary.list_enclosing_groups(form_field.source.per)
        for form_field in fields.values()
    )


def _list_members(group: MeaningGroup, fields: Mapping[str, FormField]) -> list[FormField]:
    return [
        form_field
        for form_field in fields.values()
        if isinstance(form_field.source, CommonMeaning) and form_field.source.per == group.name
    ]


def _list_pinned_fields(
    group: MeaningGroup, fields: Mapping[str, FormField], per: str
) -> Iterator[FormField]:
    """Yield the fields whose value is in an element of the group that the value of a sibling selects."""
    element = tuple(group.path.split("/"))
    for form_field in fields.values():
        meaning = form_field.source
        if not isinstance(meaning, CommonMeaning) or meaning.per != per or meaning.selector is None:
            continue
        if meaning.relative[:-1] == element and not meaning.join:
            yield form_field


def _pin_field(form_field: FormField, group: MeaningGroup, fields: Mapping[str, FormField]) -> FormField:
    """Return an occurrence of a group that holds this field; its other members are asked beside it."""
    meaning = form_field.source
    assert isinstance(meaning, CommonMeaning)
    siblings = [
        member
        for member in _list_members(group, fields)
        if isinstance(member.source, CommonMeaning) and member.source.relative != meaning.relative[-1:]
    ]
    name = f"{group.name}={form_field.name}"
    return FormField(
        name,
        form_field.ko,
        form_field.en,
        None,
        form_field.uses,
        AT_MOST_ONCE,
        (form_field, *siblings),
        group=group,
        pinned=meaning,
    )


def _make_group_field(
    dictionary: DataDictionary, group: MeaningGroup, fields: Mapping[str, FormField]
) -> FormField:
    """Return the form field of a meaning group: its members in `fields`, then the groups inside it."""
    members = _list_members(group, fields)
    inner = [
        _make_group_field(dictionary, inner_group, fields)
        for inner_group in dictionary.groups.values()
        if inner_group.per == group.name and _holds_fields(dictionary, inner_group, fields)
    ]
    parts = [*members, *inner]
    ko, en = (", ".join(getattr(part, name) for part in parts) for name in ("ko", "en"))
    return FormField(group.name, ko, en, None, (), Occurs(0, 999), tuple(parts), group=group)


_SharedKey = tuple[str, str, str]


def _make_shared_key(document: DocumentMapping, ask: UniqueField) -> _SharedKey:
    return (document.direction, ask.means, ask.per)


def _list_shared_fields(documents: Sequence[DocumentMapping]) -> dict[_SharedKey, FormField]:
    """Return the fields that several of the documents ask as shared, as the first of them asks."""
    asked_fields: dict[_SharedKey, list[tuple[DocumentMapping, UniqueField]]] = {}
    for document in documents:
        for ask in document.asks:
            if ask.shared and ask.type != "group":
                asked_fields.setdefault(_make_shared_key(document, ask), []).append((document, ask))
    shared_fields = {}
    for key, askers in asked_fields.items():
        if len(askers) > 1:
            uses = tuple(_make_use(document, ask) for document, ask in askers)
            first = askers[0][1]
            shared_fields[key] = FormField(
                first.means, first.ko, first.en, first, uses, _bound_repeat(first), shared=True
            )
    return shared_fields


def _list_own_fields(
    document: DocumentMapping, per: str, shared: Mapping[_SharedKey, FormField]
) -> Iterator[FormField]:
    for ask in document.asks:
        if ask.per == per and (not ask.shared or _make_shared_key(document, ask) not in shared):
            yield _make_own_field(document, ask)


def _make_own_field(document: DocumentMapping, ask: UniqueField) -> FormField:
    """Return the form field of the unique field `ask` of `document`, with its members."""
    return FormField(
        ask.name,
        ask.ko,
        ask.en,
        ask,
        (_make_use(document, ask),),
        _bound_repeat(ask),
        tuple(_make_own_field(document, member) for member in ask.fields),
    )


def _make_use(document: DocumentMapping, ask: UniqueField) -> FieldUse:
    need = ask.requirement
    return FieldUse(document.id, need.mandatory, need.when, need.forbidden_otherwise)


def _bound_repeat(ask: UniqueField) -> Occurs:
    return Occurs(ask.repeat.low, max(ask.repeat.high, 1))
