"""Reads ``notices.yaml``: what agencies answer, in the lines of a request read backwards.

A notice is declared as a request is, one line an element, but its lines *give*: the
element's value is a fact (`gives`), the repetition of a value that the request held
(`echoes`), or always the same (`const`).  Facts are declared once for all notices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.harmonize.language.noticelines import Within, read_carried, read_line
from gateway.harmonize.language.slots import AttributeSlot, FactKind, Notice, Notices, Repeat, Slot
from gateway.harmonize.language.targets import read_part
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.marks import Mark, Node, Table, wrong
from gateway.harmonize.terms.shapes import Shape
from gateway.wire.namespaces import document_namespace

__all__ = ["SHARED", "Answers", "read_answers", "read_notices"]

SHARED: Final = "shared"
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
    "text": Shape(),
    "item": Shape("digits", longest=5),
    "document": Shape(),
    "integer": Shape("integer", fraction=0),
    "quantity": Shape("decimal"),
    "amount": Shape("decimal"),
    "date": Shape("date"),
    "datetime": Shape("moment"),
    "boolean": Shape("text", codes=("true", "false"), list_name="boolean"),
}
_SEGMENT: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\[@([A-Za-z]+)=([A-Za-z0-9]+)\]|\[([1-9])\])?")
_SPLIT: Final = re.compile(r"\{([A-Za-z0-9]+(?:,[A-Za-z0-9]+)+)\}")
# A slash that no braces enclose.
_STEP: Final = re.compile(r"/(?![^{]*\})")
_ZONE: Final = re.compile(r"[+-][0-9]{2}:[0-9]{2}|Z")


@dataclass(frozen=True, slots=True)
class Answers:
    """The notices that a document is answered by, as its mapping names them; each with its place."""

    notices: tuple[tuple[str, Mark], ...] = ()
    certificate: tuple[str, Mark] | None = None

    def named(self) -> Iterator[tuple[str, Mark]]:
        """Yield every notice that is named alone."""
        yield from ((name, mark) for name, mark in self.notices if name != SHARED)
        if self.certificate is not None:
            yield self.certificate

    def reads(self, notice: Notice) -> bool:
        """Return whether the document may be answered by `notice`."""
        shared = notice.shared and any(name == SHARED for name, _ in self.notices)
        return shared or any(name == notice.id for name, _ in self.named())


def read_answers(table: Table) -> Answers:
    """Return the notices that the ``reads`` of a document name: `notices` and `certificate`."""
    listed, certificate = table.get("notices"), table.get("certificate")
    notices: dict[str, Mark] = {}
    for node in listed.items("notices") if listed is not None else ():
        name = node.text("notices")
        if name in notices:
            raise wrong(node.mark, "notices", "each notice once", name)
        notices[name] = node.mark
    named = (certificate.text("certificate"), certificate.mark) if certificate is not None else None
    return Answers(tuple(notices.items()), named)


def read_notices(node: Node, lists: Mapping[str, CodeList]) -> Notices:
    """Return the facts and notices that a file declares; raises GW502."""
    top = node.table("notices")
    zone_node = top.need("zone")
    zone = zone_node.text("zone")
    if not _ZONE.fullmatch(zone):
        raise wrong(zone_node.mark, "zone", "an offset, as +09:00", zone)
    kinds: dict[str, FactKind] = {}
    for name, value, mark in top.need("facts").table("facts").rest():
        kinds[name] = _read_kind(name, value.table(name), (mark, lists, kinds))
    notices = {}
    for name, value, mark in top.need("notices").table("notices").rest():
        notices[name] = _read_notice(name, value.table(name), mark, Within(lists, kinds))
    top.close()
    _use_every_kind(kinds, notices)
    return Notices(zone, kinds, notices)


def _read_kind(
    name: str, table: Table, context: tuple[Mark, Mapping[str, CodeList], Mapping[str, FactKind]]
) -> FactKind:
    mark, lists, known = context
    of, named = table.text("of"), table.get("list")
    codes = lists.get(named.text("list")) if named is not None else None
    if named is not None and codes is None:
        raise wrong(named.mark, "list", "a code list of codelists.yaml", named.text("list"))
    if of:
        if of not in known or codes is None or codes.to is None:
            raise wrong(mark, name, "of a fact declared above, by a list that translates", of)
        kind, per, shape = "code", known[of].per, Shape("text")
    else:
        kind = table.need("type").one_of("type", (*_SHAPES, "code"))
        per = table.text("per")
        if (kind == "code") != (codes is not None):
            raise wrong(mark, name, "a list exactly where the type is code", kind)
        shape = _SHAPES.get(kind) or _of_list(codes)
    ko, en = table.need("ko").text("ko"), table.need("en").text("en")
    table.close()
    return FactKind(name, kind, shape, per, of, codes if of else None, ko, en, mark)


def _of_list(codes: CodeList | None) -> Shape:
    assert codes is not None
    known = None if codes.pattern else codes.codes
    return Shape("text", pattern=codes.pattern, codes=known, list_name=codes.name)


def _read_notice(name: str, table: Table, mark: Mark, within: Within) -> Notice:
    root_node = table.need("root")
    if _SEGMENT.fullmatch(root_node.text("root")) is None or not (name.isascii() and name.isalnum()):
        raise wrong(mark, name, "names of letters and digits", root_node.text("root"))
    root = Slot(root_node.text("root"), mark)
    within = replace(within, repeats=table.text("repeats") or None)
    _read_lines(table.need("reads"), root, within)
    means = table.get("means")
    notice = Notice(
        id=name,
        namespace=document_namespace(name),
        ko=table.need("ko").text("ko"),
        en=table.need("en").text("en"),
        role=table.need("role").one_of("role", _ROLES),
        status=table.need("status").one_of("status", ("verified", "modelled")),
        shared=table.text("shared", "no") == "yes",
        sender=_one_of(table, "from", _SENDERS),
        root=root,
        means=tuple(_read_means(means, within)) if means is not None else (),
        mark=mark,
    )
    table.text("note")
    table.close()
    _check_notice(notice)
    return notice


def _one_of(table: Table, key: str, choices: tuple[str, ...]) -> str:
    node = table.get(key)
    return node.one_of(key, choices) if node is not None else choices[0]


def _read_means(node: Node, within: Within) -> Iterator[tuple[FactKind, str, Mark]]:
    for name, value, mark in node.table("means").rest():
        kind = within.kinds.get(name)
        if kind is None or kind.of or kind.per:
            raise wrong(mark, "means", "a fact of the whole notice", name)
        text = value.text(name)
        if kind.shape.refuse(text) is not None:
            raise wrong(value.mark, "means", f"what {name} may be", text)
        yield kind, text, mark


def _read_lines(node: Node, parent: Slot, within: Within) -> None:
    for entry in node.items("reads"):
        lines = list(entry.table("reads").rest())
        if len(lines) != 1:
            raise wrong(entry.mark, "reads", "one element a line", f"{len(lines)} of them")
        path, spec, mark = lines[0]
        _read_one(path, spec.table(path), mark, (parent, within))


def _read_one(path: str, table: Table, mark: Mark, where: tuple[Slot, Within]) -> None:
    parent, within = where
    *steps, last = _STEP.split(path)
    for step in steps:
        parent = _child(parent, step, mark)
        if parent.each is not None or parent.fixed or parent.position:
            raise wrong(mark, "reads", "a path through elements that neither repeat nor differ", path)
    if "reads" in table:
        _read_container((path, last), table, mark, (parent, within))
    elif last.startswith("@"):
        line = read_line(path, table, mark, within)
        _add_attribute(
            parent, AttributeSlot(last[1:], line, None, line.shape, line.requirement.mandatory, mark)
        )
    else:
        _read_element((path, last), table, mark, (parent, within))
    table.close()


def _child(parent: Slot, step: str, mark: Mark) -> Slot:
    """Return the child that `step` names, made where it is not there; likes stand together."""
    match = _SEGMENT.fullmatch(step)
    if match is None:
        raise wrong(mark, "reads", "a path of names, as A/B, A/B[@x=v], A/B[1], A/@x or A/{B,C}", step)
    if parent.line is not None:
        raise wrong(mark, "reads", f"an element without a value around {step}", parent.name)
    name, attribute, value, number = match.groups()
    fixed, position = ((attribute, value) if attribute else None), int(number or 0)
    likes = [one for one in parent.children if one.name == name]
    for one in likes:
        if (one.fixed, one.position) == (fixed, position):
            return one
        if (one.fixed is None) != (fixed is None) or (fixed and one.fixed and one.fixed[0] != fixed[0]):
            raise wrong(mark, "reads", f"elements {name} that differ in one attribute", step)
    if position != (len(likes) + 1 if position else 0) or (likes and not (fixed or position)):
        raise wrong(mark, "reads", f"elements {name} numbered from 1", step)
    made = Slot(name, mark, fixed, position)
    places = [index for index, one in enumerate(parent.children) if one.name == name]
    parent.children.insert(places[-1] + 1 if places else len(parent.children), made)
    return made


def _read_container(paths: tuple[str, str], table: Table, mark: Mark, where: tuple[Slot, Within]) -> None:
    (path, last), (parent, within) = paths, where
    slot = _child(parent, last, mark)
    if slot.fixed or slot.position:
        raise wrong(mark, "reads", "a value in an element that differs from its likes", last)
    each = table.get("each")
    if each is not None:
        if slot.children or slot.each:
            raise wrong(mark, last, "a repeated element in one place", "the element again")
        slot.each, within = _read_each(each, path, within)
    _read_lines(table.need("reads"), slot, within.below(path))
    if slot.each is not None and slot.each.keyed:
        keys = [line for line in slot.lines() if line.kind is not None and line.kind.type == "item"]
        if len(keys) != 1 or not keys[0].requirement.mandatory:
            raise wrong(mark, "key", "one mandatory line inside that gives the item", f"{len(keys)} of them")


def _read_each(node: Node, path: str, within: Within) -> tuple[Repeat, Within]:
    table = node.table("each")
    group, key, echo = table.text("group"), table.text("key"), table.get("echoes")
    echoes = within.echo(echo, path) if echo is not None else ""
    bound = table.need("bound").bounds("bound")
    table.close()
    if bool(group) == bool(echoes):
        raise wrong(
            node.mark, "each", "either a group of facts or what of the request it echoes", "both or none"
        )
    if group and group not in {kind.per for kind in within.kinds.values()}:
        raise wrong(node.mark, "each", "a group that facts stand in", group)
    if key not in ("", "item") or (key and within.keyed):
        raise wrong(node.mark, "key", "item, once", key)
    name = group or echoes
    if name in within.inside:
        raise wrong(node.mark, "each", "each repetition once", name)
    inner = replace(within, inside=within.inside | {name}, keyed=within.keyed or bool(key))
    return Repeat(name, bool(key), bound, node.mark), inner


def _add_attribute(slot: Slot, attribute: AttributeSlot) -> None:
    taken = {one.name for one in slot.attributes} | ({slot.fixed[0]} if slot.fixed else set())
    if attribute.name in taken or not (attribute.name.isalnum() and attribute.name.isascii()):
        raise wrong(attribute.mark, "reads", "each attribute once", attribute.name)
    slot.attributes.append(attribute)


def _read_element(paths: tuple[str, str], table: Table, mark: Mark, where: tuple[Slot, Within]) -> None:
    (path, last), (parent, within) = paths, where
    line, carried = read_carried(table, read_line(path, table, mark, within), within)
    split = _SPLIT.fullmatch(last)
    names = split[1].split(",") if split else [last]
    part = read_part(table, len(names)) if split else None
    if part is not None and (line.steps or (line.kind is not None and line.kind.shape != Shape())):
        raise wrong(mark, last, "a text that is split", "another value")
    for number, name in enumerate(names):
        slot = _child(parent, name, mark)
        if slot.line is not None or slot.children:
            raise wrong(mark, last, "each element once", f"{name} again, first in line {slot.mark.line}")
        if line.bound[1] > 1 and (slot.fixed or slot.position or part):
            raise wrong(mark, last, "a bound where an element repeats by itself", "one of several likes")
        slot.line, slot.mark = line, mark
        slot.part = replace(part, number=number) if part is not None else None
        if carried is not None:
            _add_attribute(slot, carried)


def _check_notice(notice: Notice) -> None:
    """Refuse a notice that gives a fact twice, or says in words what it means without saying so."""
    seen: dict[str, Mark] = {kind.name: mark for kind, _, mark in notice.means}
    for line in notice.root.lines():
        name = line.kind.name if line.kind is not None else f"echo of {line.echoes}" if line.echoes else ""
        if name in seen:
            raise wrong(line.mark, notice.id, f"each fact once (first in line {seen[name].line})", name)
        if name:
            seen[name] = line.mark
        if line.echoes and notice.role != "certificate":
            raise wrong(line.mark, notice.id, "echoes in a certificate only", line.echoes)


def _use_every_kind(kinds: Mapping[str, FactKind], notices: Mapping[str, Notice]) -> None:
    given = {kind.name for notice in notices.values() for kind, _, _ in notice.means}
    for notice in notices.values():
        given |= {line.kind.name for line in notice.root.lines() if line.kind is not None}
    for kind in kinds.values():
        if not kind.of and kind.name not in given:
            raise wrong(kind.mark, kind.name, "a notice that gives it", "none")
