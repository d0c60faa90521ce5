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
    TargetElement,
    find_item_identifiers,
)
from gateway.harmonize.notices.notice_facts import NoticeFact, NoticeFacts
from gateway.harmonize.notices.notice_reader import make_notice_error
from gateway.harmonize.types import count_octets

__all__ = [
    "RequestPlace",
    "check_error_keys",
    "find_error_place",
    "get_error_keys",
    "list_error_places",
    "list_request_leaves",
]

_LONGEST_KEY: Final = 10
_LONGEST_SECTION: Final = 50


@dataclass(frozen=True, slots=True)
class RequestPlace:
    """A place in a request: its path from the root without positions, and the item, where one is given.

    `exact` is true where it is one leaf; `target` is the element of the mapping. `named_by` is the key
    that names the item. `lost` is a key that names nothing, where the leaf is one of an item all the
    same: nobody knows of which.
    """

    path: str
    item: str | None
    exact: bool
    target: TargetElement
    named_by: NoticeFact | None = None
    lost: NoticeFact | None = None


@dataclass(frozen=True, slots=True)
class _RequestLeaf:
    path: str
    target: TargetElement
    per_item: bool


def list_request_leaves(document: DocumentMapping) -> Iterator[tuple[str, TargetElement]]:
    """Yield every element of a document's requests that has a value, with its path from the root."""
    return ((leaf.path, leaf.target) for leaf in _walk_leaves(document.root, document.root.name, False))


def _walk_leaves(target: TargetElement, path: str, per_item: bool) -> Iterator[_RequestLeaf]:
    per_item = per_item or (target.each is not None and target.each.over == "item")
    if target.content is not None:
        yield _RequestLeaf(path, target, per_item)
    for child in target.children:
        yield from _walk_leaves(child, f"{path}/{child.name}{child.path_predicates}", per_item)


def list_error_places(facts: NoticeFacts) -> Iterator[tuple[Mapping[str, NoticeFact], RequestPlace]]:
    """Yield each error and each correction of a notice, with its place in the request."""
    if facts.document is None:
        return
    for group in ("error", "correction"):
        for said in facts.list_occurrences(group):
            yield said, find_error_place(facts.document, said)


def find_error_place(document: DocumentMapping, error: Mapping[str, NoticeFact]) -> RequestPlace:
    """Return the place in the requests of `document` that one error of an error notice is about.

    A correction by the agency names the changed field in words; these are used as the section.
    """
    facts = {name.rpartition(".")[2]: fact for name, fact in error.items()}
    said = {name: fact.value for name, fact in facts.items()}
    said.setdefault("section", said.get("field", ""))
    ids, item, named_by, words = find_item_identifiers(document), None, None, []
    for key in (facts[name] for name in ("key1", "key2") if said.get(name)):
        number = ids.parse_item_number(key.value)
        if number is not None and item is None:
            item, named_by = number, key
        else:
            words.append(key)
    item = None if item == ALL_ITEMS else item
    every = list(_walk_leaves(document.root, document.root.name, False))
    part = "item" if item is not None else said.get("part")
    known = [leaf for leaf in every if part is None or leaf.per_item == (part == "item")]
    found = _filter_by_name(known, said.get("section", ""), document, _list_section_tests)
    lost = None
    for word in words:
        narrowed = _find_by_name(found, word.value, document, _list_name_tests)
        lost, found = (lost, narrowed) if narrowed else (lost or word, found)
    place = _find_narrowest_place(document, found, item)
    guessed = place.exact and found[0].per_item and named_by is None
    return replace(place, named_by=named_by, lost=lost if guessed else None)


def check_error_keys(facts: NoticeFacts) -> None:
    """Raise GW402 for an error about a field of an item whose key names neither an item nor a field."""
    for _, place in list_error_places(facts):
        if place.lost is not None:
            detail = f"{place.lost.value[:40]!r} names no item and no field of the application"
            raise make_notice_error(place.lost.xpath, detail)


def _find_narrowest_place(
    document: DocumentMapping, found: list[_RequestLeaf], item: str | None
) -> RequestPlace:
    """Return the one remaining leaf, or the smallest element around the remaining leaves."""
    if len({leaf.target.mark for leaf in found}) == 1:
        return RequestPlace(found[0].path, item, True, found[0].target)
    steps, target = [document.root.name], document.root
    while True:
        inner = [
            child
            for child in target.children
            if all(
                f"{leaf.path}/".startswith("/".join([*steps, f"{child.name}{child.path_predicates}", ""]))
                for leaf in found
            )
        ]
        if not inner or not found:
            return RequestPlace("/".join(steps), item, False, target)
        target = inner[0]
        steps.append(f"{target.name}{target.path_predicates}")


_Tests = Callable[[str, DocumentMapping], list[Callable[[_RequestLeaf], bool]]]


def _filter_by_name(
    leaves: list[_RequestLeaf], text: str, document: DocumentMapping, tests: _Tests
) -> list[_RequestLeaf]:
    """Return the leaves that the first successful test finds for `text`; all leaves where none does."""
    return _find_by_name(leaves, text, document, tests) or leaves


def _find_by_name(
    leaves: list[_RequestLeaf], text: str, document: DocumentMapping, tests: _Tests
) -> list[_RequestLeaf]:
    """Return the leaves that the first successful test finds for `text`, none where none does."""
    for test in tests(text, document) if text else ():
        found = [leaf for leaf in leaves if test(leaf)]
        if found:
            return found
    return []


def _list_section_tests(text: str, document: DocumentMapping) -> list[Callable[[_RequestLeaf], bool]]:
    tail = text.removeprefix(f"{document.root.name}/").strip("/")
    return [
        lambda leaf: leaf.path == text,
        lambda leaf: f"/{leaf.path}/".endswith(f"/{tail}/"),
        lambda leaf: f"/{leaf.path.rpartition('/')[0]}/".endswith(f"/{tail}/"),
        lambda leaf: f"/{tail}/" in f"/{leaf.path}/",
        lambda leaf: text in _list_label_texts(leaf.target),
    ]


def _list_name_tests(text: str, _document: DocumentMapping) -> list[Callable[[_RequestLeaf], bool]]:
    return [
        lambda leaf: leaf.target.name == text,
        lambda leaf: leaf.target.name[:_LONGEST_KEY] == text,
        lambda leaf: text in _list_label_texts(leaf.target),
        lambda leaf: text in leaf.path.split("/"),
    ]


def _list_label_texts(target: TargetElement) -> tuple[str, ...]:
    source = target.content.source if target.content is not None else None
    return (source.source.ko, source.source.en) if isinstance(source, FieldValue) else ()


def get_error_keys(document: DocumentMapping, path: str, item: str | None) -> tuple[str, str, str]:
    """Return section, first and second key by which an error names the leaf at `path`.

    Of several candidates, return the first that `find_error_place` resolves to the leaf; where
    none does (the texts are short), return the last one, which resolves to an enclosing element.
    """
    *around, name = path.removeprefix(f"{document.root.name}/").split("/")
    key = name.partition("[")[0][:_LONGEST_KEY]
    keys = (key, "") if item is None else (find_item_identifiers(document).format_item_identifier(item), key)
    sections = [path, _cut_path_end([*around, name]), _cut_path_end(around), ""]
    wanted = next(
        (
            leaf.target.mark
            for leaf in _walk_leaves(document.root, document.root.name, False)
            if leaf.path == path
        ),
        None,
    )
    for section in sections:
        said = {"error.section": section, "error.key1": keys[0], "error.key2": keys[1]}
        found = find_error_place(
            document, {n: NoticeFact(n, v, "", document.mark) for n, v in said.items() if v}
        )
        short = (count_octets(section, "utf-8") or 0) <= _LONGEST_SECTION
        if short and found.exact and found.target.mark == wanted:
            return section, *keys
    return _cut_path_end(around), *keys


def _cut_path_end(steps: list[str]) -> str:
    """Return the end of a path that fits into a section, since the end identifies the place."""
    while steps and (count_octets("/".join(steps), "utf-8") or 0) > _LONGEST_SECTION:
        steps = steps[1:]
    return "/".join(steps)
