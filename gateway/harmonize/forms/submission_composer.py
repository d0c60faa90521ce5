"""Composes the submission of a filled form, and remembers which element each value went to.

The declaration has its values in the order of its schema. A value that is shared by several documents
is written into the first application that asks it. A field that was left empty is not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize.forms.filing_form import REFERENCE_PATH, DocumentSection, FilingForm, FormField
from gateway.harmonize.forms.form_values import FiledApplication, FormValues, count_occurrences
from gateway.harmonize.language import ITEM_PATH, CommonMeaning, UniqueField
from gateway.harmonize.split import DEC, add_sequence_numbers, sort_declaration
from gateway.wire import SUB, WCO_MD

_DEC: Final = f"{{{DEC}}}"
_SUB: Final = f"{{{SUB}}}"
_MD: Final = f"{{{WCO_MD}}}"
_DS: Final = "urn:wco:datamodel:WCO:Declaration_DS:DMS:2"
_STEP: Final = re.compile(r"((?:\{[^}]*\})?[^\[\]/@]+)\[([0-9]{1,5})\]")
_SHELL: Final = {"WCODataModelVersionCode": "3.6", "WCOTypeName": "DEC"}
#: The elements of the shell before the declaration, in the order of its schema (xsd/wco/shell.xsd).
_SHELL_ORDER: Final = (
    "WCODataModelVersionCode",
    "WCOTypeName",
    "ResponsibleCountryCode",
    "ResponsibleAgencyName",
    "AgencyAssignedCustomizationCode",
    "AgencyAssignedCustomizationVersionCode",
)
#: The end of a further key: where an occurrence that a sibling selects stood among the others of its group.
POSITION: Final = "|position"
_ZONE: Final = re.compile(r"(.*?)(Z|[+-][0-9]{2}:[0-9]{2})?")
#: 2026-01-31, with a time if there is one, in the long or the short form of ISO 8601.
_MOMENT: Final = re.compile(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}(?:T?[0-9]{2}(:?)[0-9]{2}(?:\2[0-9]{2})?)?")


@dataclass(frozen=True, slots=True)
class ValuePlace:
    """Where a value of the form went: an element, or an attribute of it."""

    element: etree._Element
    attribute: str | None = None


@dataclass(frozen=True, slots=True)
class ComposedSubmission:
    """A composed submission, without a signature, and the place of each value by its key."""

    root: etree._Element
    places: Mapping[str, ValuePlace] = field(repr=False)


def compose_submission(form: FilingForm, values: FormValues) -> ComposedSubmission:
    """Return the submission that the values of a form make.

    Raises GW402 for a value with a character that XML does not permit; the location is its key.
    """
    return _Composer(form, values.drop_empty_values()).compose()


def find_reference(form: FilingForm, values: Mapping[str, str]) -> tuple[str, str]:
    """Return the key of the declarant's reference, and the reference."""
    for form_field in form.header:
        if isinstance(form_field.source, CommonMeaning) and form_field.source.path == REFERENCE_PATH:
            return f"h/{form_field.name}", values.get(f"h/{form_field.name}", "").strip()
    return "h/reference", values.get("h/reference", "").strip()


class _Composer:
    """Writes one submission; `_reserved_elements` are elements that one value or group has for itself."""

    def __init__(self, form: FilingForm, values: FormValues) -> None:
        self._form = form
        self._form_values = values
        self._values = values.values
        self._places: dict[str, ValuePlace] = {}
        self._reserved_elements: dict[etree._Element, None] = {}
        self._supplement: list[tuple[str, CommonMeaning, str | None, int | None]] = []
        self._unmapped = _group_further_values(values.further)
        self._positions = {
            key.removesuffix(POSITION): [text]
            for key, text in values.further.items()
            if key.endswith(POSITION) and text.isascii() and text.isdigit()
        }

    def compose(self) -> ComposedSubmission:
        """Write the whole document."""
        root = etree.Element(f"{_SUB}Submission", nsmap=_make_nsmap(SUB), version="1")
        key, reference = find_reference(self._form, self._values)
        self._put_text(key, etree.SubElement(root, f"{_SUB}Reference"), reference)
        etree.SubElement(root, f"{_SUB}Function").text = self._form_values.function
        self._write_declaration(root)
        self._write_supplement(root)
        for number, application in enumerate(self._form_values.applications, 1):
            self._write_application(root, number, application)
        for disclaimer in self._form_values.disclaimers:
            names = {"item": disclaimer.item, "law": disclaimer.law, "reason": disclaimer.reason}
            etree.SubElement(root, f"{_SUB}Disclaimer", names).text = disclaimer.text
        etree.indent(root)
        return ComposedSubmission(root, self._places)

    def _write_declaration(self, root: etree._Element) -> None:
        """Write the MetaData element with the Declaration and its goods items below `root`, sorted."""
        shell = etree.SubElement(root, f"{_MD}MetaData", nsmap={"md": WCO_MD})
        texts = {**_SHELL, **self._read_shell()}
        # Values are kept with their keys sorted, so their order has no meaning. A name that the schema does
        # not know comes last, where the schema refuses it by its name.
        for name in (*_SHELL_ORDER, *(shell_name for shell_name in texts if shell_name not in _SHELL_ORDER)):
            if name in texts:
                etree.SubElement(shell, f"{_MD}{name}").text = texts[name]
        declaration = etree.SubElement(shell, f"{_DEC}Declaration", nsmap=_make_nsmap(DEC))
        self._write_derived(declaration, "FunctionCode", self._form_values.function)
        self._write_derived(declaration, "GoodsItemQuantity", str(len(self._form_values.items)))
        self._write_fields(declaration, "h", self._form.header, None)
        for number in self._form_values.items:
            parent = self._reach_by_names(declaration, ITEM_PATH.split("/")[1:-1])
            item = self._add_reserved_element(parent, ITEM_PATH.rpartition("/")[2])
            self._write_derived(item, "SequenceNumeric", number)
            self._write_fields(item, f"i#{number}", self._form.item, number)
        add_sequence_numbers(declaration)
        sort_declaration(declaration)

    def _read_shell(self) -> dict[str, str]:
        return {path.partition("[")[0]: text for path, _, text in self._unmapped.get("m", ())}

    def _write_derived(self, parent: etree._Element, name: str, text: str) -> None:
        etree.SubElement(parent, f"{_DEC}{name}").text = text

    def _write_fields(
        self, base: etree._Element, base_key: str, fields: Iterable[FormField], item: str | None
    ) -> None:
        """Write the values of fields below `base`, and further values of a copied declaration there."""
        moved: list[tuple[int, etree._Element]] = []
        for form_field in fields:
            if form_field.pinned is not None:
                moved += self._write_pinned_group(base, base_key, form_field, item)
            elif form_field.is_group:
                self._write_group(base, base_key, form_field, item)
            elif isinstance(form_field.source, CommonMeaning):
                self._write_meaning(base, base_key, form_field, item)
        for position, element in sorted(moved, key=lambda pair: pair[0]):
            self._move_element(element, position)
        self._write_further(base, base_key)

    def _move_element(self, element: etree._Element, position: int) -> None:
        """Put an occurrence of a group where a copied declaration had it among the others."""
        parent = element.getparent()
        assert parent is not None
        others = [
            sibling
            for sibling in parent.iterchildren(element.tag)
            if sibling in self._reserved_elements and sibling is not element
        ]
        if position <= len(others):
            others[position - 1].addprevious(element)
        elif others:
            others[-1].addnext(element)

    def _write_further(self, base: etree._Element, base_key: str) -> None:
        """Write below `base` the values of a copied declaration for which the form has no field."""
        for path, attribute, text in self._unmapped.get(base_key, ()):
            element = self._reach_by_path(base, path)
            if attribute is None:
                element.text = text
            else:
                element.set(attribute, text)

    def _write_group(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None
    ) -> None:
        """Write below `base` each occurrence of a repeated group that has a value."""
        assert form_field.group is not None
        count = count_occurrences([*self._values, *self._unmapped], base_key, form_field.name)
        for number in range(1, count + 1):
            inner = f"{base_key}/{form_field.name}#{number}"
            if self._is_given(inner):
                *parent_names, last = form_field.group.path.split("/")
                element = self._add_reserved_element(self._reach_by_names(base, parent_names), last)
                self._write_fields(element, inner, form_field.fields, item)

    def _is_given(self, base_key: str) -> bool:
        return any(key.startswith(f"{base_key}/") for key in self._values) or any(
            key == base_key or key.startswith(f"{base_key}/") for key in self._unmapped
        )

    def _write_pinned_group(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None
    ) -> list[tuple[int, etree._Element]]:
        """Write the occurrence of a group that a sibling selects.

        Return it with its number where a copied declaration had it among the others, else nothing.
        """
        inner = f"{base_key}/{form_field.name}"
        if not any(key.startswith(f"{inner}/") for key in self._values):
            return []
        meaning = form_field.pinned
        assert meaning is not None
        *parent_names, last = meaning.relative[:-1]
        element = self._add_reserved_element(self._reach_by_names(base, parent_names), last)
        self._write_sibling(element, meaning)
        first, *members = form_field.fields
        text = self._values.get(f"{inner}/{first.name}", "")
        if text:
            self._put_value(f"{inner}/{first.name}", element, meaning.relative[-1], first)
        self._write_fields(element, inner, members, item)
        return [(int(text), element) for text in self._positions.get(inner, ())]

    def _write_sibling(self, element: etree._Element, meaning: CommonMeaning) -> None:
        assert meaning.selector is not None
        if meaning.selector.values[0] != "none":
            etree.SubElement(element, f"{_DEC}{meaning.selector.element}").text = meaning.selector.values[0]

    def _write_meaning(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None
    ) -> None:
        """Write the value of a common meaning below `base`, or collect it in `_supplement`.

        A repeated meaning, and one outside the schema of the declaration, belongs to the Supplement.
        """
        meaning, key = form_field.source, f"{base_key}/{form_field.name}"
        assert isinstance(meaning, CommonMeaning)
        if form_field.is_repeated:
            for number in range(1, count_occurrences(self._values, base_key, form_field.name) + 1):
                if f"{key}#{number}" in self._values:
                    self._supplement.append((f"{key}#{number}", meaning, item, number))
        elif key not in self._values:
            return
        elif meaning.supplement:
            self._supplement.append((key, meaning, item, None))
        elif meaning.selector is not None:
            *parent_names, last = meaning.relative[:-1]
            element = self._add_reserved_element(self._reach_by_names(base, parent_names), last)
            self._write_sibling(element, meaning)
            self._put_value(key, element, meaning.relative[-1], form_field)
            self._write_further(element, key)
        else:
            self._put_value(
                key, self._reach_by_names(base, meaning.relative[:-1]), meaning.relative[-1], form_field
            )

    def _put_value(self, key: str, parent: etree._Element, name: str, form_field: FormField) -> None:
        """Add to `parent` an element with the value at `key`: a date as DateTimeString, others with unit."""
        element = etree.SubElement(parent, f"{_DEC}{name}")
        if form_field.kind != "datetime":
            self._put_text(key, element, self._values[key])
            self._put_attribute(key, element, form_field)
            return
        digits, code = _format_moment(self._values[key])
        inner = etree.SubElement(element, f"{{{_DS}}}DateTimeString", nsmap={"dt": _DS}, formatCode=code)
        self._put_text(key, inner, digits)

    def _put_text(self, key: str, element: etree._Element, text: str) -> None:
        """Set the text of the element and store it as the place of `key`.

        Raise GW402 for a character that XML does not permit.
        """
        try:
            element.text = text
        except ValueError:
            detail = "the value has a character that XML does not permit"
            raise GatewayError(DOCUMENT_INVALID, detail, key) from None
        self._places[key] = ValuePlace(element)

    def _put_attribute(self, key: str, element: etree._Element, form_field: FormField) -> None:
        """Set the unit or currency of the value at `key`; its own key ends with ``@``.

        Raise GW402 for a character that XML does not permit.
        """
        if form_field.attribute is None:
            return
        self._places[f"{key}@"] = ValuePlace(element, form_field.attribute)
        unit = self._values.get(f"{key}@")
        if unit:
            try:
                element.set(form_field.attribute, unit)
            except ValueError:
                detail = "the unit has a character that XML does not permit"
                raise GatewayError(DOCUMENT_INVALID, detail, f"{key}@") from None

    def _write_supplement(self, root: etree._Element) -> None:
        """Write the Supplement if it has a value: those of the form, then those of a copied declaration."""
        carried_over = self._unmapped.get("x", ())
        if not self._supplement and not carried_over:
            return
        supplement = etree.SubElement(root, f"{_SUB}Supplement")
        for key, meaning, item, number in self._supplement:
            value = etree.SubElement(supplement, f"{_SUB}Value", path=meaning.path, wcoID=meaning.wco)
            if item is not None:
                value.set("item", item)
            if number is not None:
                value.set("n", str(number))
            self._put_text(key, value, self._values[key])
        for path, _, text in carried_over:
            value = etree.SubElement(supplement, f"{_SUB}Value")
            for part in path.split(";"):
                # A part without "=" is the number of a further value of the same place.
                name, equals, attribute_value = part.partition("=")
                if equals:
                    value.set(name, attribute_value)
            value.text = text

    def _write_application(self, root: etree._Element, number: int, filed: FiledApplication) -> None:
        """Write the application at position `number` (from 1) with its items, fields and attachments."""
        section = self._form.sections[filed.document]
        element = etree.SubElement(root, f"{_SUB}Application", id=filed.id, document=filed.document)
        items = etree.SubElement(element, f"{_SUB}Items")
        self._put_text(f"a#{number}/items", items, " ".join(filed.items))
        fields = etree.SubElement(element, f"{_SUB}Fields", nsmap={"f": section.document.namespace})
        self._write_answers(fields, number, section, None)
        for item in filed.items:
            inner = etree.Element(f"{{{section.document.namespace}}}Item", sequence=item)
            self._write_answers(inner, number, section, item)
            if len(inner):
                fields.append(inner)
        for attachment in self._form_values.attachments:
            if attachment.application == number:
                names = {
                    "cid": attachment.cid,
                    "mediaType": attachment.media_type,
                    "sha256": attachment.sha256,
                }
                kind = {"kind": attachment.kind} if attachment.kind else {}
                etree.SubElement(
                    element, f"{_SUB}Attachment", {**names, "size": str(attachment.size), **kind}
                )

    def _write_answers(
        self, parent: etree._Element, number: int, section: DocumentSection, item: str | None
    ) -> None:
        """Write the answers of the application with this number, in the order in which its document asks.

        They are those for goods item `item`, or those for the whole application where that is None.
        """
        base_key = f"a#{number}" if item is None else f"a#{number}/i#{item}"
        own_fields = {
            form_field.name: form_field
            for form_field in (section.application if item is None else section.item)
        }
        for ask in section.document.asks:
            if (ask.per == "item") != (item is not None):
                continue
            if ask.name in own_fields:
                self._write_answer(parent, base_key, own_fields[ask.name], section.document.namespace)
            elif self._is_first_asker(number, ask, item):
                shared = self._find_shared_field(ask, item)
                if shared is not None:
                    base = "s" if item is None else f"s/i#{item}"
                    self._write_answer(parent, base, shared, section.document.namespace, ask.tag)

    def _find_shared_field(self, ask: UniqueField, item: str | None) -> FormField | None:
        fields = self._form.shared_header if item is None else self._form.shared_item
        return next((form_field for form_field in fields if form_field.name == ask.means), None)

    def _is_first_asker(self, number: int, ask: UniqueField, item: str | None) -> bool:
        """Return whether application `number` is the first that asks the shared field `ask`.

        Only the applications that concern `item` count, if it is given.
        """
        for position, application in enumerate(self._form_values.applications, 1):
            asks = self._form.sections[application.document].document.asks
            asks_same = any(other_ask.shared and other_ask.means == ask.means for other_ask in asks)
            if asks_same and (item is None or item in application.items):
                return position == number
        return False

    def _write_answer(
        self, parent: etree._Element, base_key: str, form_field: FormField, namespace: str, tag: str = ""
    ) -> None:
        """Add the answers to a unique field to `parent`, a group with its members unless it is empty.

        `tag` is the name of the element if it is not that of the field.
        """
        ask, key = form_field.source, f"{base_key}/{form_field.name}"
        assert isinstance(ask, UniqueField)
        tag = f"{{{namespace}}}{tag or ask.tag}"
        if form_field.is_group:
            for number in range(1, count_occurrences(self._values, base_key, form_field.name) + 1):
                inner = etree.Element(tag)
                for member in form_field.fields:
                    self._write_answer(inner, f"{key}#{number}", member, namespace)
                if len(inner):
                    parent.append(inner)
            return
        for name in self._list_value_keys(base_key, form_field):
            element = etree.SubElement(parent, tag)
            if ask.type == "attachment":
                element.set("cid", self._values[name])
                self._places[name] = ValuePlace(element)
            else:
                self._put_text(name, element, self._values[name])
                self._put_attribute(name, element, form_field)

    def _list_value_keys(self, base_key: str, form_field: FormField) -> Iterator[str]:
        """Yield the keys of the values given for a field: one, or one for each value of a repeated field."""
        key = f"{base_key}/{form_field.name}"
        if not form_field.is_repeated:
            if key in self._values:
                yield key
            return
        for number in range(1, count_occurrences(self._values, base_key, form_field.name) + 1):
            if f"{key}#{number}" in self._values:
                yield f"{key}#{number}"

    def _reach_by_names(self, element: etree._Element, names: Iterable[str]) -> etree._Element:
        for name in names:
            element = self._reach_child(element, f"{_DEC}{name}", 1)
        return element

    def _reach_by_path(self, element: etree._Element, path: str) -> etree._Element:
        for name, number in _STEP.findall(path):
            tag = name if name.startswith("{") else f"{_DEC}{name}"
            element = self._reach_child(element, tag, int(number))
        return element

    def _reach_child(self, element: etree._Element, tag: str, number: int) -> etree._Element:
        """Return the `number`-th child with this tag, without the reserved ones; add the missing children."""
        children = [child for child in element.iterchildren(tag) if child not in self._reserved_elements]
        while len(children) < number:
            children.append(etree.SubElement(element, tag))
        return children[number - 1]

    def _add_reserved_element(self, parent: etree._Element, name: str) -> etree._Element:
        element = etree.SubElement(parent, f"{_DEC}{name}")
        self._reserved_elements[element] = None
        return element


def _group_further_values(carried_over: Mapping[str, str]) -> dict[str, list[tuple[str, str | None, str]]]:
    """Return path, attribute and text of the further values, by their place."""
    grouped: dict[str, list[tuple[str, str | None, str]]] = {}
    for key, text in carried_over.items():
        if key.endswith(POSITION):
            continue
        base_key, _, rest = key.partition("|")
        path, mark, attribute = rest.partition("]@")
        path = f"{path}]" if mark else path
        grouped.setdefault(base_key, []).append((path, attribute if mark else None, text))
    return grouped


def _format_moment(text: str) -> tuple[str, str]:
    """Return a date or a time as the declaration writes it, with its format code; other text unchanged."""
    moment, zone = _ZONE.fullmatch(text.strip()).groups()  # type: ignore[union-attr]
    if not _MOMENT.fullmatch(moment):
        return text, "304"
    digits = re.sub(r"[-:T]", "", moment)
    if len(digits) == 8:
        return digits, "102"
    if zone and zone != "Z":
        zone = zone[:3] if zone.endswith(":00") else zone.replace(":", "")
    return f"{digits.ljust(14, '0')}{zone or ''}", "304"


def _make_nsmap(namespace: str) -> Any:
    # The lxml stubs do not allow a default namespace.
    return {None: namespace}
