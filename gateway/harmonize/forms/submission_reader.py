"""Reads a submission back into the values of a form: the inverse of the composition.

Content of the declaration for which the form has no field is kept as further values, with the place where it
stood; the composition writes it back. Content that can have no place in the form is listed by its pointer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from gateway.harmonize.forms.filing_form import DocumentSection, FilingForm, FormField, compose_form
from gateway.harmonize.forms.form_values import FiledApplication, FiledDisclaimer, FormAttachment, FormValues
from gateway.harmonize.forms.submission_composer import POSITION
from gateway.harmonize.language import CommonMeaning, MappingBundle, UniqueField
from gateway.harmonize.split import (
    DEC,
    FoundValue,
    SubmissionIndex,
    index_submission,
    parse_sequence_number,
    read_element_text,
)
from gateway.wire import SUB, WCO_MD, list_attributes

_DEC: Final = f"{{{DEC}}}"
_SUB: Final = f"{{{SUB}}}"
_MD: Final = f"{{{WCO_MD}}}"
_NUMBER: Final = f"{_DEC}SequenceNumeric"
_SHELL: Final = {"WCODataModelVersionCode": "3.6", "WCOTypeName": "DEC"}


@dataclass(frozen=True, slots=True)
class FormReading:
    """The form of a submission's documents, its values, and the pointers of content without a field."""

    form: FilingForm
    values: FormValues
    lost: tuple[str, ...]


def read_form_values(bundle: MappingBundle, root: etree._Element) -> FormReading:
    """Return the values of a submission for the form of its documents.

    Raises GW402 for another document, GW501 for a document without a mapping.
    """
    facts = index_submission(root)
    form = compose_form(bundle, [str(application.get("document", "")) for application in facts.applications])
    return _Reader(facts, form).read()


@dataclass(slots=True)
class _Reader:
    """The state of one reading; `read_elements` are elements whose content is in a value of the form.

    `reserved_elements` are elements that a value or a group has for itself: they do not count among their
    siblings.
    """

    submission_index: SubmissionIndex
    form: FilingForm
    values: dict[str, str] = field(default_factory=dict)
    further_values: dict[str, str] = field(default_factory=dict)
    read_elements: dict[etree._Element, None] = field(default_factory=dict)
    reserved_elements: dict[etree._Element, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def read(self) -> FormReading:
        """Read the whole document."""
        facts, root = self.submission_index, self.submission_index.root
        function = (root.findtext(f"{_SUB}Function") or "9").strip()
        self._skip_derived_element(facts.declaration, "FunctionCode", function)
        self._skip_derived_element(facts.declaration, "GoodsItemQuantity", None)
        for number, element in facts.items.items():
            self._skip_derived_element(element, "SequenceNumeric", None)
            self.reserved_elements[element] = f"i#{number}"
        self._read_sibling_fields(facts.declaration, "h", self.form.header, None)
        for number, element in facts.items.items():
            self._read_sibling_fields(element, f"i#{number}", self.form.item, number)
        self._read_reference(root)
        self._store_unread_leaves(facts.declaration, "h", "")
        for number, element in facts.items.items():
            self._store_unread_leaves(element, f"i#{number}", "")
        self._store_shell_texts()
        self._store_unread_supplement()
        applications = tuple(
            self._read_application(application, at) for at, application in enumerate(facts.applications, 1)
        )
        values = FormValues(
            applications=applications,
            items=tuple(facts.items),
            values=self.values,
            attachments=tuple(self._list_attachments()),
            function=function,
            disclaimers=tuple(_list_disclaimers(root)),
            further=self.further_values,
        )
        return FormReading(self.form, values, tuple(self.lost))

    def _skip_derived_element(self, parent: etree._Element, name: str, expected: str | None) -> None:
        """Leave out an element that the composition writes by itself.

        Appends its pointer to `lost` where its text is not the `expected` one (None: any).
        """
        element = parent.find(f"{_DEC}{name}")
        if element is None:
            return
        self.read_elements[element] = None
        if expected is not None and read_element_text(element).strip() != expected:
            self.lost.append(self.submission_index.get_pointer(element))

    def _read_reference(self, root: etree._Element) -> None:
        if any(
            form_field.name == "reference" and form_field.source is None for form_field in self.form.header
        ):
            self.values["h/reference"] = (root.findtext(f"{_SUB}Reference") or "").strip()

    def _read_sibling_fields(
        self, base: etree._Element, base_key: str, fields: Iterable[FormField], item: str | None
    ) -> None:
        """Read the fields below the element `base` into the values, by keys that begin with `base_key`.

        Groups that the value of a sibling selects are read first, then other groups, then single fields.
        """
        ordered = sorted(fields, key=lambda form_field: (form_field.pinned is None, not form_field.is_group))
        pinned = 0
        for form_field in ordered:
            if form_field.pinned is not None:
                pinned += self._read_pinned_group(base, base_key, form_field, item, pinned)
            elif form_field.is_group:
                self._read_group(base, base_key, form_field, item)
            elif isinstance(form_field.source, CommonMeaning):
                self._read_meaning(base, base_key, form_field, item)

    def _read_pinned_group(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None, before: int
    ) -> int:
        """Read the occurrence of a group that a sibling selects, where its selecting value is the usual one.

        Return how many there are, none or one; `before` is the number of those before it.
        """
        meaning = form_field.pinned
        assert meaning is not None
        assert meaning.selector is not None
        assert form_field.group is not None
        for value in self.submission_index.find_values(meaning, base, item):
            parent = value.element.getparent()
            if parent is None or parent in self.reserved_elements:
                continue
            sibling = parent.find(f"{_DEC}{meaning.selector.element}")
            selecting_value = "none" if sibling is None else read_element_text(sibling)
            if selecting_value != meaning.selector.values[0]:
                continue
            inner = f"{base_key}/{form_field.name}"
            self._reserve_element(parent, inner, sibling)
            first, *members = form_field.fields
            self.values[f"{inner}/{first.name}"] = value.text
            self._mark_as_read(value)
            self._read_sibling_fields(parent, inner, members, item)
            self._store_unread_leaves(parent, inner, "")
            present = [
                e
                for e in self.submission_index.list_group_elements(form_field.group, base)
                if e is parent or _has_value(e)
            ]
            position = 1 + present.index(parent)
            if position != before + 1:
                self.further_values[f"{inner}{POSITION}"] = str(position)
            return 1
        return 0

    def _reserve_element(
        self, element: etree._Element, base_key: str, sibling: etree._Element | None
    ) -> None:
        """Reserve `element` for the value or group at `base_key`: its siblings are then counted without it.

        Mark as read, without a value, its sequence number if this is its position, and the child `sibling`
        that selects the value (None if there is none).
        """
        self.reserved_elements[element] = base_key
        for leaf in (sibling, self._find_plain_number(element)):
            if leaf is not None:
                self.read_elements[leaf] = None

    def _find_plain_number(self, element: etree._Element) -> etree._Element | None:
        """Return the sequence number of an element where it is only its position."""
        number = element.find(_NUMBER)
        position = 1 + sum(1 for _ in element.itersiblings(element.tag, preceding=True))
        if number is not None and parse_sequence_number(read_element_text(number)) == str(position):
            return number
        return None

    def _read_group(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None
    ) -> None:
        """Read each occurrence of a repeated group below `base`; number those with a value from 1."""
        assert form_field.group is not None
        number = 1
        for element in [
            e
            for e in self.submission_index.list_group_elements(form_field.group, base)
            if e not in self.reserved_elements
        ]:
            inner = f"{base_key}/{form_field.name}#{number}"
            self._reserve_element(element, inner, None)
            before = len(self.values) + len(self.further_values)
            self._read_sibling_fields(element, inner, form_field.fields, item)
            self._store_unread_leaves(element, inner, "")
            # An occurrence without any value gets no number: the next one takes it.
            number += before < len(self.values) + len(self.further_values)

    def _read_meaning(
        self, base: etree._Element, base_key: str, form_field: FormField, item: str | None
    ) -> None:
        """Store the values of a common meaning below `base` in `values`, with the unit.

        A value that the composition would not write at its place remains unread.
        """
        meaning, key = form_field.source, f"{base_key}/{form_field.name}"
        assert isinstance(meaning, CommonMeaning)
        values = self.submission_index.find_values(meaning, base, item)
        if form_field.is_repeated:
            for number, value in enumerate(values, 1):
                self.values[f"{key}#{number}"] = value.text
                self._mark_as_read(value)
            return
        if not values or not self._is_readable(base, meaning, values[0].element):
            return
        self.values[key] = values[0].text
        self._mark_as_read(values[0])
        if form_field.attribute is not None and values[0].element.get(form_field.attribute) is not None:
            self.values[f"{key}@"] = str(values[0].element.get(form_field.attribute))
        if meaning.selector is not None:
            self._reserve_selected_elements(key, meaning, values[0])

    def _reserve_selected_elements(self, key: str, meaning: CommonMeaning, value: FoundValue) -> None:
        """Reserve the elements of a value that a sibling selects: the composition writes new ones."""
        assert meaning.selector is not None
        for leaf in value.leaves:
            parent = self.submission_index.leaves[leaf].element.getparent()
            if parent is not None:
                self._reserve_element(parent, key, parent.find(f"{_DEC}{meaning.selector.element}"))
                if meaning.join:
                    self._report_unread_leaves(parent)
                else:
                    self._store_unread_leaves(parent, key, "")

    def _is_readable(self, base: etree._Element, meaning: CommonMeaning, element: etree._Element) -> bool:
        """Return whether a value is where the composition would write it: in first elements only."""
        if meaning.supplement or meaning.selector is not None:
            return True
        while element.getparent() is not base:
            parent = element.getparent()
            if parent is None:
                return False
            if str(element.tag).startswith(_DEC) and next(self._list_plain_siblings(element)) is not element:
                return False
            element = parent
        return next(self._list_plain_siblings(element)) is element

    def _list_plain_siblings(self, element: etree._Element) -> Iterator[etree._Element]:
        """Yield the siblings of one name that belong to no single value or group."""
        parent = element.getparent()
        assert parent is not None
        return (
            sibling
            for sibling in parent.iterchildren(element.tag)
            if sibling is element or sibling not in self.reserved_elements
        )

    def _mark_as_read(self, value: FoundValue) -> None:
        for leaf in value.leaves:
            self.read_elements[self.submission_index.leaves[leaf].element] = None

    def _store_unread_leaves(self, element: etree._Element, base_key: str, path: str) -> None:
        """Store in `further_values` each unread leaf below `element`, by `base_key` and path."""
        for child in element.iterchildren(tag=etree.Element):
            if child in self.reserved_elements or child in self.read_elements:
                continue
            siblings = [sibling for sibling in self._list_plain_siblings(child)]
            number = 1 + next(at for at, sibling in enumerate(siblings) if sibling is child)
            name = str(child.tag).removeprefix(_DEC)
            inner = f"{path}/{name}[{number}]" if path else f"{name}[{number}]"
            if len(child):
                self._store_unread_leaves(child, base_key, inner)
            elif child is not self._find_plain_number(element):
                self.further_values[f"{base_key}|{inner}"] = read_element_text(child)
            for attribute, text in list_attributes(child):
                self.further_values[f"{base_key}|{inner}@{attribute!s}"] = str(text)

    def _report_unread_leaves(self, element: etree._Element) -> None:
        for leaf in element.iter(tag=etree.Element):
            if not len(leaf) and leaf not in self.read_elements:
                self.lost.append(self.submission_index.get_pointer(leaf))

    def _store_shell_texts(self) -> None:
        shell = self.submission_index.root.find(f".//{_MD}MetaData")
        for child in () if shell is None else shell.iterchildren(tag=etree.Element):
            name, text = etree.QName(child).localname, read_element_text(child)
            if str(child.tag).startswith(_MD) and not len(child) and _SHELL.get(name) != text:
                self.further_values[f"m|{name}[1]"] = text

    def _store_unread_supplement(self) -> None:
        """Store each value of the Supplement that no field has read in `further_values`."""
        counts: Counter[str] = Counter()
        for value in self.submission_index.root.findall(f"{_SUB}Supplement/{_SUB}Value"):
            if value not in self.read_elements:
                names = ";".join(f"{name!s}={text!s}" for name, text in list_attributes(value))
                counts[names] += 1
                # Another value of the same place, which the schema permits, gets a number.
                suffix = f";{counts[names]}" if counts[names] > 1 else ""
                self.further_values[f"x|{names}{suffix}"] = read_element_text(value)

    def _read_application(self, element: etree._Element, number: int) -> FiledApplication:
        """Read the answers of the application at position `number`; return its id, document and items."""
        section = self.form.sections[str(element.get("document", ""))]
        namespace = section.document.namespace
        containers: list[tuple[etree._Element, str | None]] = []
        for fields in element.findall(f"{_SUB}Fields")[:1]:
            containers.append((fields, None))
            for child in fields.iterchildren(f"{{{namespace}}}Item"):
                containers.append((child, parse_sequence_number(str(child.get("sequence", "")))))
        for container, item in containers:
            self._read_answers(container, number, section, item)
        items = self.submission_index.list_item_numbers(element)
        return FiledApplication(str(element.get("id", "")), section.document.id, items)

    def _read_answers(
        self,
        element: etree._Element,
        number: int,
        section: DocumentSection,
        item: str | None,
    ) -> None:
        """Read the answers of the application with this number; `section` has the fields of its document."""
        namespace = section.document.namespace
        own_fields = {
            form_field.name: form_field
            for form_field in (section.application if item is None else section.item)
        }
        shared = {
            form_field.name: form_field
            for form_field in (self.form.shared_header if item is None else self.form.shared_item)
        }
        for ask in section.document.asks:
            if (ask.per == "item") != (item is not None):
                continue
            answers = list(element.iterchildren(f"{{{namespace}}}{ask.tag}"))
            if ask.name in own_fields:
                base_key = f"a#{number}" if item is None else f"a#{number}/i#{item}"
                self._read_answer(answers, base_key, own_fields[ask.name], namespace)
            elif ask.means in shared and answers:
                base_key = "s" if item is None else f"s/i#{item}"
                if not any(key.startswith(f"{base_key}/{ask.means}") for key in self.values):
                    self._read_answer(answers, base_key, shared[ask.means], namespace)

    def _read_answer(
        self, answers: list[etree._Element], base_key: str, form_field: FormField, namespace: str
    ) -> None:
        """Store the answers to a unique field in `values`, with their units; of a group, those of members.

        List in `lost` the second and later answers to a field that is not repeated.
        """
        ask, key = form_field.source, f"{base_key}/{form_field.name}"
        assert isinstance(ask, UniqueField)
        if form_field.is_group:
            for number, element in enumerate(answers, 1):
                for member in form_field.fields:
                    assert isinstance(member.source, UniqueField)
                    inner = list(element.iterchildren(f"{{{namespace}}}{member.source.tag}"))
                    self._read_answer(inner, f"{key}#{number}", member, namespace)
            return
        for number, element in enumerate(answers, 1):
            name = f"{key}#{number}" if form_field.is_repeated else key
            if number > 1 and not form_field.is_repeated:
                self.lost.append(self.submission_index.get_pointer(element))
                continue
            text = str(element.get("cid", "")) if ask.type == "attachment" else read_element_text(element)
            if text.strip():
                self.values[name] = text
            if (
                form_field.attribute is not None
                and element.get(form_field.attribute) is not None
                and text.strip()
            ):
                self.values[f"{name}@"] = str(element.get(form_field.attribute))

    def _list_attachments(self) -> Iterator[FormAttachment]:
        """Yield the attachments of all applications; a size that is no number becomes 0."""
        for number, application in enumerate(self.submission_index.applications, 1):
            for attachment in application.findall(f"{_SUB}Attachment"):
                size = parse_sequence_number(str(attachment.get("size", "0"))) or "0"
                yield FormAttachment(
                    str(attachment.get("cid", "")),
                    number,
                    str(attachment.get("mediaType", "")),
                    str(attachment.get("sha256", "")).lower(),
                    int(size),
                    str(attachment.get("kind", "")),
                )


def _has_value(element: etree._Element) -> bool:
    """Return whether an element holds a value, apart from sequence numbers."""
    leaves = (leaf for leaf in element.iter(tag=etree.Element) if not len(leaf) and leaf.tag != _NUMBER)
    return any(read_element_text(leaf).strip() or leaf.attrib for leaf in leaves)


def _list_disclaimers(root: etree._Element) -> Iterator[FiledDisclaimer]:
    for disclaimer in root.findall(f"{_SUB}Disclaimer"):
        item, law, reason = (str(disclaimer.get(name, "")) for name in ("item", "law", "reason"))
        yield FiledDisclaimer(item, law, reason, (disclaimer.text or "").strip())
