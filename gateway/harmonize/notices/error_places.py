"""Finds the place in a request that an agency's error is about, from a section and two keys.

An agency gives the place of an error as three short texts.  The section is a part of the
request in words (from a code list), the end of a path in it, or the label of a field.  One
of the keys may be the identifier of an item, the other the name of an element (its first
ten characters) or a label.  Where they are ambiguous, the place is the smallest element
that contains all matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language import (
    ALL_ITEMS,
    DocumentMapping,
    FieldValue,
    MappingLine,
    TargetElement,
    find_item_identifiers,
    list_mapping_lines,
)
from gateway.harmonize.notices.notice_facts import NoticeFacts
from gateway.harmonize.notices.notice_reader import NoticeFact, make_notice_error

_MAX_KEY_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class RequestPlace:
    """A place in a request: its path from the root without positions, and the item, where one is given.

    `is_single_leaf` is true where it is one leaf; `target` is the element of the mapping. `named_by` is the
    key that names the item. `unmatched_key` is a key that names no item although the leaf belongs to one: the
    item is not known.
    """

    path: str
    item: str | None
    is_single_leaf: bool
    target: TargetElement
    named_by: NoticeFact | None = None
    unmatched_key: NoticeFact | None = None


def list_error_places(facts: NoticeFacts) -> Iterator[tuple[Mapping[str, NoticeFact], RequestPlace]]:
    """Yield each error and each correction of a notice, with its place in the request."""
    if facts.document is None:
        return
    for group in ("error", "correction"):
        for occurrence in facts.list_occurrences(group):
            yield occurrence, find_error_place(facts.document, occurrence)


def find_error_place(document: DocumentMapping, error: Mapping[str, NoticeFact]) -> RequestPlace:
    """Return the place in the requests of `document` that one error of an error notice is about.

    A correction by the agency names the changed field in words; these are used as the section.
    """
    facts = {name.rpartition(".")[2]: fact for name, fact in error.items()}
    values = {name: fact.value for name, fact in facts.items()}
    values.setdefault("section", values.get("field", ""))
    ids, item, named_by, name_facts = find_item_identifiers(document), None, None, []
    for key in (facts[name] for name in ("key1", "key2") if values.get(name)):
        number = ids.parse_item_number(key.value)
        if number is not None and item is None:
            item, named_by = number, key
        else:
            name_facts.append(key)
    item = None if item == ALL_ITEMS else item
    every = [line for line in list_mapping_lines(document) if line.attribute is None]
    part = "item" if item is not None else values.get("part")
    candidates = [leaf for leaf in every if part is None or leaf.is_per_item == (part == "item")]
    remaining = _filter_by_name(candidates, values.get("section", ""), document, _list_section_tests)
    unmatched_key = None
    for name_fact in name_facts:
        narrowed = _find_by_name(remaining, name_fact.value, document, _list_name_tests)
        unmatched_key, remaining = (
            (unmatched_key, narrowed) if narrowed else (unmatched_key or name_fact, remaining)
        )
    request_place = _find_narrowest_place(document, remaining, item)
    guessed = request_place.is_single_leaf and remaining[0].is_per_item and named_by is None
    return replace(request_place, named_by=named_by, unmatched_key=unmatched_key if guessed else None)


def check_error_keys(facts: NoticeFacts) -> None:
    """Raise GW402 for an error about a field of an item whose key names neither an item nor a field."""
    for _, request_place in list_error_places(facts):
        if request_place.unmatched_key is not None:
            detail = (
                f"{request_place.unmatched_key.value[:40]!r} names no item and no field of the application"
            )
            raise make_notice_error(request_place.unmatched_key.xpath, detail)


def _find_narrowest_place(
    document: DocumentMapping, leaves: list[MappingLine], item: str | None
) -> RequestPlace:
    """Return the one remaining leaf, or the smallest element around the remaining leaves."""
    if len({leaf.target.mark for leaf in leaves}) == 1:
        return RequestPlace(leaves[0].path, item, True, leaves[0].target)
    steps, target = [document.root.name], document.root
    while True:
        inner = [
            child
            for child in target.children
            if all(
                f"{leaf.path}/".startswith("/".join([*steps, f"{child.name}{child.path_predicates}", ""]))
                for leaf in leaves
            )
        ]
        if not inner or not leaves:
            return RequestPlace("/".join(steps), item, False, target)
        target = inner[0]
        steps.append(f"{target.name}{target.path_predicates}")


_Tests = Callable[[str, DocumentMapping], list[Callable[[MappingLine], bool]]]


def _filter_by_name(
    leaves: list[MappingLine], text: str, document: DocumentMapping, tests: _Tests
) -> list[MappingLine]:
    """Return the leaves that the first successful test selects by `text`, else all leaves."""
    return _find_by_name(leaves, text, document, tests) or leaves


def _find_by_name(
    leaves: list[MappingLine], text: str, document: DocumentMapping, tests: _Tests
) -> list[MappingLine]:
    """Return the leaves that the first successful test selects by `text`, else an empty list."""
    for test in tests(text, document) if text else ():
        matching = [leaf for leaf in leaves if test(leaf)]
        if matching:
            return matching
    return []


def _list_section_tests(text: str, document: DocumentMapping) -> list[Callable[[MappingLine], bool]]:
    """Return the tests of whether a line belongs to the section `text`, the strictest first.

    `text` is a path or the end of one, a part of a path, or a label.
    """
    tail = text.removeprefix(f"{document.root.name}/").strip("/")
    return [
        lambda leaf: leaf.path == text,
        lambda leaf: f"/{leaf.path}/".endswith(f"/{tail}/"),
        lambda leaf: f"/{leaf.path.rpartition('/')[0]}/".endswith(f"/{tail}/"),
        lambda leaf: f"/{tail}/" in f"/{leaf.path}/",
        lambda leaf: text in _list_label_texts(leaf.target),
    ]


def _list_name_tests(text: str, _document: DocumentMapping) -> list[Callable[[MappingLine], bool]]:
    """Return the tests of whether a line has the name `text`, the strictest first.

    `text` is an element name, perhaps cut, a label, or the name of an element around the line.
    """
    return [
        lambda leaf: leaf.target.name == text,
        lambda leaf: leaf.target.name[:_MAX_KEY_LENGTH] == text,
        lambda leaf: text in _list_label_texts(leaf.target),
        lambda leaf: text in leaf.path.split("/"),
    ]


def _list_label_texts(target: TargetElement) -> tuple[str, ...]:
    source = target.content.source if target.content is not None else None
    return (source.source.ko, source.source.en) if isinstance(source, FieldValue) else ()
