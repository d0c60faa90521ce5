"""Reads ``notices.yaml``: the notices of agencies, and the facts that they give.

A notice is declared as a request is, with one line for each element, but its lines are read
in the opposite direction: the element's value is a fact (`gives`), the repetition of a value
of the request (`echoes`), or a constant (`const`).  Facts are declared once for all notices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from gateway.harmonize.language.code_lists import CodeList, read_pattern
from gateway.harmonize.language.field_reader import read_range
from gateway.harmonize.language.notice_line_reader import NoticeContext, read_notice_line, read_unit_attribute
from gateway.harmonize.language.notice_tree import (
    AcceptedNotices,
    FactType,
    NoticeAttribute,
    NoticeCatalog,
    NoticeElement,
    NoticeMapping,
    NoticeRepetition,
)
from gateway.harmonize.language.target_tree import read_text_piece
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.wire import SourceMark, YamlNode, YamlTable, make_document_namespace

_ROLES: Final = (
    "error",
    "status",
    "rejection",
    "cancellation",
    "correction",
    "fee",
    "certificate",
    "clearance",
)
_SENDERS: Final = ("agency", "customs", "hub")
_SHAPES: Final = {
    "text": ValueShape(),
    "item": ValueShape("digits", max_length=5),
    "document": ValueShape(),
    "integer": ValueShape("integer", fraction_digits=0),
    "quantity": ValueShape("decimal"),
    "amount": ValueShape("decimal"),
    "date": ValueShape("date"),
    "datetime": ValueShape("moment"),
    "boolean": ValueShape("text", codes=("true", "false"), list_name="boolean"),
}
_SEGMENT: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\[@([A-Za-z]+)=([A-Za-z0-9]+)\]|\[([1-9])\])?")
_SPLIT: Final = re.compile(r"\{([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+)\}")
# A slash that no braces enclose.
_STEP: Final = re.compile(r"/(?![^{]*\})")
#: The nouns for the entries of each list of ``reads``, for error texts.
_NOUNS: Final = {"notices": "notice", "type_codes": "type code"}
_ZONE: Final = re.compile(r"[+-][0-9]{2}:[0-9]{2}|Z")


def read_accepted_notices(node: YamlNode) -> AcceptedNotices:
    """Return the names in the ``reads`` of a document: `notices`, `certificate` and `type_codes`."""
    table = node.read_table("reads")
    certificate = table.get("certificate")
    notices, codes = _read_named_once(table, "notices"), _read_named_once(table, "type_codes")
    marked_certificate = (
        (certificate.read_text("certificate"), certificate.mark) if certificate is not None else None
    )
    table.get("SubmitDecision")  # Bundles of 0.1.0 have it; nothing reads it.
    table.reject_unread_keys()
    return AcceptedNotices(tuple(notices.items()), marked_certificate, tuple(codes.items()))


def _read_named_once(table: YamlTable, key: str) -> dict[str, SourceMark]:
    """Return the names in the list at `key`, each with its line; raise GW502 for a repeated name."""
    listed = table.get(key)
    marks: dict[str, SourceMark] = {}
    for node in listed.read_list(key) if listed is not None else ():
        name = node.read_text(key)
        if name in marks:
            raise node.make_error(key, f"each {_NOUNS[key]} once", name)
        marks[name] = node.mark
    return marks


def read_notice_catalog(node: YamlNode, lists: Mapping[str, CodeList]) -> NoticeCatalog:
    """Return the facts and notices that a file declares; raise GW502 for a wrong declaration."""
    top = node.read_table("notices")
    zone_node = top.get_required("zone")
    zone = zone_node.read_text("zone")
    if not _ZONE.fullmatch(zone):
        raise zone_node.make_error("zone", "an offset, as +09:00", zone)
    fact_types: dict[str, FactType] = {}
    for name, value, mark in top.get_required("facts").read_table("facts").take_unread_items():
        fact_types[name] = _read_fact_type(name, value.read_table(name), mark, lists, fact_types)
    notices = {}
    for name, value, mark in top.get_required("notices").read_table("notices").take_unread_items():
        notices[name] = _read_notice_mapping(
            name, value.read_table(name), mark, NoticeContext(lists, fact_types)
        )
    top.reject_unread_keys()
    _check_fact_usage(fact_types, notices)
    return NoticeCatalog(zone, fact_types, notices)


def _read_fact_type(
    name: str,
    table: YamlTable,
    mark: SourceMark,
    lists: Mapping[str, CodeList],
    fact_types: Mapping[str, FactType],
) -> FactType:
    """Return a fact; `fact_types` are those declared above it, which it may translate."""
    of, list_node = table.read_text("of"), table.get("list")
    codes = lists.get(list_node.read_text("list")) if list_node is not None else None
    if list_node is not None and codes is None:
        raise list_node.make_error("list", "a code list of codelists.yaml", list_node.read_text("list"))
    if of:
        if of not in fact_types or codes is None or codes.translations is None:
            raise mark.make_error(name, "of a fact declared above, by a list that translates", of)
        kind, per, shape = "code", fact_types[of].per, ValueShape("text")
    else:
        kind = table.get_required("type").read_choice("type", (*_SHAPES, "code"))
        per = table.read_text("per")
        if (kind == "code") != (codes is not None):
            raise mark.make_error(name, "a list exactly where the type is code", kind)
        shape = _SHAPES.get(kind) or _make_code_shape(codes)
    if kind == "integer":
        low, high = read_range(table, None)
        shape = replace(shape, min_value=low or shape.min_value, max_value=high)
    ko, en = table.get_required("ko").read_text("ko"), table.get_required("en").read_text("en")
    pattern = read_pattern(table) if kind == "document" else None
    table.reject_unread_keys()
    return FactType(name, kind, shape, per, of, codes if of else None, ko, en, mark, pattern)


def _make_code_shape(codes: CodeList | None) -> ValueShape:
    assert codes is not None
    closed_codes = None if codes.pattern else codes.codes
    return ValueShape("text", pattern=codes.pattern, codes=closed_codes, list_name=codes.name)


def _read_notice_mapping(
    name: str, table: YamlTable, mark: SourceMark, within: NoticeContext
) -> NoticeMapping:
    """Return the notice mapping `name` of a table; raise GW502 for a wrong key."""
    root_node = table.get_required("root")
    if _SEGMENT.fullmatch(root_node.read_text("root")) is None or not (name.isascii() and name.isalnum()):
        raise mark.make_error(name, "names of letters and digits", root_node.read_text("root"))
    root = NoticeElement(root_node.read_text("root"), mark)
    within = replace(within, repeated_path=table.read_text("repeats") or None)
    _read_notice_lines(table.get_required("reads"), root, within)
    means = table.get("means")
    notice = NoticeMapping(
        id=name,
        namespace=make_document_namespace(name),
        ko=table.get_required("ko").read_text("ko"),
        en=table.get_required("en").read_text("en"),
        role=table.get_required("role").read_choice("role", _ROLES),
        status=table.get_required("status").read_choice("status", ("verified", "modelled")),
        shared=table.read_text("shared", "no") == "yes",
        sender=_read_choice(table, "from", _SENDERS),
        root=root,
        implied_facts=tuple(_read_implied_facts(means, within)) if means is not None else (),
        mark=mark,
    )
    table.read_text("note")
    table.reject_unread_keys()
    _check_notice_facts(notice)
    return notice


def _read_choice(table: YamlTable, key: str, choices: tuple[str, ...]) -> str:
    node = table.get(key)
    return node.read_choice(key, choices) if node is not None else choices[0]


def _read_implied_facts(node: YamlNode, within: NoticeContext) -> Iterator[tuple[FactType, str, SourceMark]]:
    """Yield type, value and mark of each fact that every notice of this kind states without a line."""
    for name, value, mark in node.read_table("means").take_unread_items():
        fact_type = within.fact_types.get(name)
        if fact_type is None or fact_type.base_fact or fact_type.per:
            raise mark.make_error("means", "a fact of the whole notice", name)
        text = value.read_text(name)
        if fact_type.shape.find_violation(text) is not None:
            raise value.make_error("means", f"what {name} may be", text)
        yield fact_type, text, mark


def _read_notice_lines(node: YamlNode, parent: NoticeElement, within: NoticeContext) -> None:
    for path, spec, mark in node.read_lines("reads", "element"):
        _read_path_line(path, spec.read_table(path), mark, parent, within)


def _read_path_line(
    path: str, table: YamlTable, mark: SourceMark, parent: NoticeElement, within: NoticeContext
) -> None:
    """Add below `parent` the element or attribute at `path` as a line declares it."""
    *steps, last = _STEP.split(path)
    for step in steps:
        parent = _find_or_add_child(parent, step, mark)
        if parent.repetition is not None or parent.fixed_attribute or parent.position:
            raise mark.make_error("reads", "a path through elements that neither repeat nor differ", path)
    if "reads" in table:
        _read_container(path, table, mark, parent, within)
    elif last.startswith("@"):
        line = read_notice_line(path, table, mark, within)
        _add_attribute(
            parent, NoticeAttribute(last[1:], line, None, line.shape, line.requirement.mandatory, mark)
        )
    else:
        _read_element(path, table, mark, parent, within)
    table.reject_unread_keys()


def _find_or_add_child(parent: NoticeElement, step: str, mark: SourceMark) -> NoticeElement:
    """Return the child that `step` names, added where it is missing; elements of one name are adjacent."""
    match = _SEGMENT.fullmatch(step)
    if match is None:
        raise mark.make_error("reads", "a path of names, as A/B, A/B[@x=v], A/B[1], A/@x or A/{B,C}", step)
    if parent.line is not None:
        raise mark.make_error("reads", f"an element without a value around {step}", parent.name)
    name, attribute, value, number = match.groups()
    fixed, position = ((attribute, value) if attribute else None), int(number or 0)
    likes = [child for child in parent.children if child.name == name]
    for child in likes:
        if (child.fixed_attribute, child.position) == (fixed, position):
            return child
        if (child.fixed_attribute is None) != (fixed is None) or (
            fixed and child.fixed_attribute and child.fixed_attribute[0] != fixed[0]
        ):
            raise mark.make_error("reads", f"elements {name} that differ in one attribute", step)
    if position != (len(likes) + 1 if position else 0) or (likes and not (fixed or position)):
        raise mark.make_error("reads", f"elements {name} numbered from 1", step)
    added = NoticeElement(name, mark, fixed, position)
    sibling_indexes = [index for index, child in enumerate(parent.children) if child.name == name]
    parent.children.insert(sibling_indexes[-1] + 1 if sibling_indexes else len(parent.children), added)
    return added


def _read_container(
    path: str, table: YamlTable, mark: SourceMark, parent: NoticeElement, within: NoticeContext
) -> None:
    """Add the last element of `path` below `parent`, with the lines inside it."""
    last = _STEP.split(path)[-1]
    slot = _find_or_add_child(parent, last, mark)
    if slot.fixed_attribute or slot.position:
        raise mark.make_error("reads", "a value in an element that differs from its likes", last)
    each = table.get("each")
    if each is not None:
        if slot.children or slot.repetition:
            raise mark.make_error(last, "a repeated element in one place", "the element again")
        slot.repetition, within = _read_repetition(each, path, within)
    _read_notice_lines(table.get_required("reads"), slot, within.enter_element(path))
    if slot.repetition is not None and slot.repetition.has_item_key:
        keys = [
            line for line in slot.list_lines() if line.fact_type is not None and line.fact_type.type == "item"
        ]
        if len(keys) != 1 or not keys[0].requirement.mandatory:
            raise mark.make_error(
                "key", "one mandatory line inside that gives the item", f"{len(keys)} of them"
            )


def _read_repetition(
    node: YamlNode, path: str, within: NoticeContext
) -> tuple[NoticeRepetition, NoticeContext]:
    """Return the repetition that ``each`` declares, and the context of the lines inside it."""
    table = node.read_table("each")
    group, key, echo = table.read_text("group"), table.read_text("key"), table.get("echoes")
    echoes = within.read_echo_path(echo, path) if echo is not None else ""
    bound = table.get_required("bound").read_bounds("bound")
    table.reject_unread_keys()
    if bool(group) == bool(echoes):
        raise node.make_error(
            "each", "either a group of facts or what of the request it echoes", "both or none"
        )
    if group and group not in {kind.per for kind in within.fact_types.values()}:
        raise node.make_error("each", "a group that facts stand in", group)
    if key not in ("", "item") or (key and within.has_item_key):
        raise node.make_error("key", "item, once", key)
    name = group or echoes
    if name in within.repetitions:
        raise node.make_error("each", "each repetition once", name)
    inner = replace(
        within, repetitions=within.repetitions | {name}, has_item_key=within.has_item_key or bool(key)
    )
    return NoticeRepetition(name, bool(key), bound, node.mark), inner


def _add_attribute(slot: NoticeElement, attribute: NoticeAttribute) -> None:
    """Add an attribute to the element `slot`; raise GW502 for a name that is wrong or used there."""
    used_names = {earlier.name for earlier in slot.attributes} | (
        {slot.fixed_attribute[0]} if slot.fixed_attribute else set()
    )
    if attribute.name in used_names or not (attribute.name.isalnum() and attribute.name.isascii()):
        raise attribute.mark.make_error("reads", "each attribute once", attribute.name)
    slot.attributes.append(attribute)


def _read_element(
    path: str, table: YamlTable, mark: SourceMark, parent: NoticeElement, within: NoticeContext
) -> None:
    """Add the element of `path` below `parent`; for ``A/{B,C}``, the elements that share a split text."""
    last = _STEP.split(path)[-1]
    line, unit_attribute = read_unit_attribute(table, read_notice_line(path, table, mark, within), within)
    split = _SPLIT.fullmatch(last)
    names = split[1].split(",") if split else [last]
    text_piece = read_text_piece(table, len(names)) if split else None
    if text_piece is not None and (
        line.steps or (line.fact_type is not None and line.fact_type.shape != ValueShape())
    ):
        raise mark.make_error(last, "a text that is split", "another value")
    for number, name in enumerate(names):
        slot = _find_or_add_child(parent, name, mark)
        if slot.line is not None or slot.children:
            raise mark.make_error(last, "each element once", f"{name} again, first in line {slot.mark.line}")
        if line.bound.high > 1 and (slot.fixed_attribute or slot.position or text_piece):
            raise mark.make_error(last, "a bound where an element repeats by itself", "one of several likes")
        slot.line, slot.mark = line, mark
        slot.text_piece = replace(text_piece, piece_number=number) if text_piece is not None else None
        if unit_attribute is not None:
            _add_attribute(slot, unit_attribute)


def _check_notice_facts(notice: NoticeMapping) -> None:
    """Raise GW502 for a fact that a notice gives twice (by lines or ``means``), or a misplaced echo."""
    seen: dict[str, SourceMark] = {kind.name: mark for kind, _, mark in notice.implied_facts}
    for line in notice.root.list_lines():
        name = (
            line.fact_type.name
            if line.fact_type is not None
            else f"echo of {line.request_path}"
            if line.request_path
            else ""
        )
        if name in seen:
            raise line.mark.make_error(notice.id, f"each fact once (first in line {seen[name].line})", name)
        if name:
            seen[name] = line.mark
        if line.request_path and notice.role != "certificate":
            raise line.mark.make_error(notice.id, "echoes in a certificate only", line.request_path)


def _check_fact_usage(fact_types: Mapping[str, FactType], notices: Mapping[str, NoticeMapping]) -> None:
    """Raise GW502 for a fact type that no notice gives; base facts are exempt."""
    named_kinds = {kind.name for notice in notices.values() for kind, _, _ in notice.implied_facts}
    for notice in notices.values():
        named_kinds |= {
            line.fact_type.name for line in notice.root.list_lines() if line.fact_type is not None
        }
    for kind in fact_types.values():
        if not kind.base_fact and kind.name not in named_kinds:
            raise kind.mark.make_error(kind.name, "a notice that gives it", "none")
