"""Shared answers: a field answered in one application of a submission serves all that ask its meaning.

A field that documents ask with one meaning and ``shared: yes`` is given in one application.
The answer is used in all other applications of the submission that ask the field in this
way: for the same goods item where the field belongs to an item; a group as a whole.  Only
fields that both documents declare as shared are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lxml import etree

from gateway.harmonize.language.document_mapping import DocumentMapping
from gateway.harmonize.language.unique_fields import UniqueField
from gateway.harmonize.split import (
    SubmissionIndex,
    parse_sequence_number,
    read_element_text,
    read_item_numbers,
)
from gateway.wire import SUB, read_leaf_text

_FIELDS = f"{{{SUB}}}Fields"
#: Direction of the document, meaning, and the goods item; None: for the whole application.
Key = tuple[str, str, str | None]


class SharedAnswer(NamedTuple):
    """The answer to a shared field in one application: its elements there, and the field that they answer."""

    application: etree._Element
    ask: UniqueField
    elements: tuple[etree._Element, ...]


@dataclass(slots=True)
class SharedAnswers:
    """Every answer to one shared meaning, in the order of the applications; compared once for all of them."""

    answers: list[SharedAnswer] = field(default_factory=list)
    _by_application: dict[etree._Element, SharedAnswer] = field(default_factory=dict)
    _differences: list[etree._Element] | None = None

    def add_answer(self, answer: SharedAnswer) -> None:
        """Add the answer of the next application; of one application the first counts as its own."""
        self.answers.append(answer)
        self._by_application.setdefault(answer.application, answer)

    def find_own_answer(self, application: etree._Element) -> SharedAnswer | None:
        """Return the answer of an application, None where it gives none."""
        return self._by_application.get(application)

    def list_differences(self) -> list[etree._Element]:
        """Return the first element of every answer that differs from the first answer."""
        if self._differences is None:
            differences = (find_first_difference(self.answers[0], offer) for offer in self.answers[1:])
            self._differences = [difference for difference in differences if difference is not None]
        return self._differences


_NO_ANSWERS: Final = SharedAnswers()


def find_shared_answers(
    submission_index: SubmissionIndex,
    documents: Mapping[str, DocumentMapping],
    direction: str,
    means: str,
    item: str | None,
) -> SharedAnswers:
    """Return every answer to the shared meaning `means`; none for a meaning that only one field asks.

    `direction` is that of the documents; `item` is a goods item, None for the whole application.
    """
    if not submission_index.shared_answers:
        for position, asks in find_sharing_applications(submission_index, documents).items():
            application = submission_index.applications[position]
            document = documents[str(application.get("document", ""))]
            for name, answer in _list_application_answers(application, document, asks):
                if name not in submission_index.shared_answers:
                    submission_index.shared_answers[name] = SharedAnswers()
                submission_index.shared_answers[name].add_answer(answer)
        submission_index.shared_answers.setdefault(("", "", None), _NO_ANSWERS)
    answers: SharedAnswers = submission_index.shared_answers.get((direction, means, item), _NO_ANSWERS)
    return answers


def find_sharing_applications(
    submission_index: SubmissionIndex, documents: Mapping[str, DocumentMapping]
) -> dict[int, list[UniqueField]]:
    """Return the positions of the applications that may share answers, with their fields that are shared.

    A field whose meaning no other application asks is left out. The result is kept for all applications.
    """
    if submission_index.sharing_applications is None:
        submission_index.sharing_applications = _find_sharing_applications(submission_index, documents)
    return submission_index.sharing_applications


def _find_sharing_applications(
    submission_index: SubmissionIndex, documents: Mapping[str, DocumentMapping]
) -> dict[int, list[UniqueField]]:
    """Return by position the applications with shared fields that another one of the direction asks, too."""
    names = [str(application.get("document", "")) for application in submission_index.applications]
    filed = [(position, documents[name]) for position, name in enumerate(names) if name in documents]
    ask_counts = Counter(
        (document.direction, ask.means) for _, document in filed for ask in document.shared_asks
    )
    shared_asks = {
        position: [ask for ask in document.shared_asks if ask_counts[document.direction, ask.means] > 1]
        for position, document in filed
    }
    return {position: asks for position, asks in shared_asks.items() if asks}


def _list_application_answers(
    application: etree._Element, document: DocumentMapping, asks: Sequence[UniqueField]
) -> Iterator[tuple[Key, SharedAnswer]]:
    """Yield the answers of an application to the shared fields `asks`, by direction, meaning and item."""
    fields = application.find(_FIELDS) if asks else None
    if fields is None:
        return
    namespace = document.namespace
    concerned = frozenset(read_item_numbers(application))
    containers_by_item: dict[str | None, etree._Element] = {None: fields}
    for element in fields.iterchildren(f"{{{namespace}}}Item"):
        number = parse_sequence_number(str(element.get("sequence", "")))
        if number in concerned:
            containers_by_item.setdefault(number, element)
    tagged = [(ask, ask.per == "item", f"{{{namespace}}}{ask.tag}") for ask in asks]
    for item, container in containers_by_item.items():
        for ask, in_item, tag in tagged:
            if in_item == (item is not None):
                answers = tuple([e for e in container.iterchildren(tag) if _is_answered(ask, e)])
                if answers:
                    yield (document.direction, ask.means, item), SharedAnswer(application, ask, answers)


def _is_answered(ask: UniqueField, element: etree._Element) -> bool:
    """Return whether an element answers a field: an empty one does not, an empty group does."""
    return ask.type == "group" or bool(read_element_text(element).strip())


def is_same_member(first: UniqueField, second: UniqueField) -> bool:
    """Return whether two members of shared groups correspond: by meaning, or by name where both have none."""
    if first.means or second.means:
        return first.means == second.means
    return first.name.rpartition(".")[2] == second.name.rpartition(".")[2]


def find_matching_member(ask: UniqueField, members: Iterable[UniqueField]) -> UniqueField | None:
    """Return the one of `members` that corresponds to `ask`, None where there is none."""
    return next((member for member in members if is_same_member(member, ask)), None)


def list_member_answers(
    element: etree._Element, ask: UniqueField
) -> Iterator[tuple[etree._Element, UniqueField]]:
    """Yield the answers inside an occurrence of the group `ask`, each with the field that it answers."""
    members = {member.tag: member for member in ask.fields}
    for child in element.iterchildren(tag=etree.Element):
        name = etree.QName(child)
        if name.namespace == etree.QName(element).namespace and name.localname in members:
            yield child, members[name.localname]


def find_first_difference(first: SharedAnswer, second: SharedAnswer) -> etree._Element | None:
    """Return the first element of `second` that differs from `first`, None where they agree.

    Of groups, only the members that both documents ask are compared.
    """
    return _find_difference(first.elements, first.ask, second.elements, second.ask)


def _find_difference(
    old: tuple[etree._Element, ...],
    old_ask: UniqueField,
    new: tuple[etree._Element, ...],
    new_ask: UniqueField,
) -> etree._Element | None:
    """Return the first element of `new` that differs from `old`, its last if `new` is shorter, else None."""
    for old_element, new_element in zip(old, new, strict=False):
        if new_ask.type == "group":
            difference = _find_member_difference(old_element, old_ask, new_element, new_ask)
            if difference is not None:
                return difference
        elif _read_stated_value(old_element, old_ask) != _read_stated_value(new_element, new_ask):
            return new_element
    if len(old) == len(new):
        return None
    return new[len(old)] if len(new) > len(old) else new[-1]


def _find_member_difference(
    old_element: etree._Element, old_ask: UniqueField, new_element: etree._Element, new_ask: UniqueField
) -> etree._Element | None:
    """Return the first difference of two group elements, in the members that both fields have."""
    for member in new_ask.fields:
        old_member = find_matching_member(member, old_ask.fields)
        if old_member is None:
            continue
        old, new = (
            _select_member_answers(old_element, old_ask, old_member),
            _select_member_answers(new_element, new_ask, member),
        )
        if old and not new:
            return new_element
        difference = _find_difference(old, old_member, new, member)
        if difference is not None:
            return difference
    return None


def _select_member_answers(
    element: etree._Element, ask: UniqueField, member: UniqueField
) -> tuple[etree._Element, ...]:
    """Return the elements in the group element `element` that answer `member` with a value."""
    return tuple(
        e
        for e, answered_field in list_member_answers(element, ask)
        if answered_field is member and _is_answered(member, e)
    )


def _read_stated_value(element: etree._Element, ask: UniqueField) -> tuple[str, str | None]:
    """Return the value of an answer with its unit or currency; the fixed unit where none is written."""
    unit = None if ask.attribute is None else element.get(ask.attribute, ask.fixed_unit)
    return read_leaf_text(element).strip(), None if unit is None else str(unit)
