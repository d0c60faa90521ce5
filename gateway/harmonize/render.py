"""Writes one request from the target tree, noting for every value where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from gateway.errors import CODE_UNKNOWN, VALUE_DOES_NOT_FIT
from gateway.harmonize.asks import Ask
from gateway.harmonize.documents import Document
from gateway.harmonize.marks import Mark
from gateway.harmonize.scopes import Scope
from gateway.harmonize.shapes import Shape
from gateway.harmonize.sources import MisfitError, Taken, Value
from gateway.harmonize.targets import AttributePut, Each, Part, Target

__all__ = ["Origin", "pieces", "render"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value of a request came from: its path there, its leaves, its rule, what was done to it."""

    target: str
    source: str
    leaves: tuple[int, ...]
    rule: Mark
    transforms: tuple[str, ...]


@dataclass(slots=True)
class _Pen:
    """Writes elements of one document."""

    namespace: str
    origins: list[Origin] = field(default_factory=list)


def render(document: Document, scope: Scope) -> tuple[etree._Element, tuple[Origin, ...]]:
    """Return the request of `document` for the application of `scope`, and the origin of each value.

    What cannot be written is noted in the scope's trace, and left out.
    """
    pen = _Pen(f"{{{document.namespace}}}")
    root = etree.Element(f"{pen.namespace}{document.root.name}", nsmap=_default(document.namespace))
    for child in document.root.children:
        _write(pen, child, scope, root, document.root.name)
    return root, tuple(pen.origins)


def _default(namespace: str) -> Any:
    """Return the map that makes `namespace` the default one; the stubs of lxml know no such map."""
    return {None: namespace}


def pieces(text: str, part: Part) -> list[str] | None:
    """Return `text` in at most as many pieces as there are parts; None when it does not fit.

    No character is cut in two, nothing is dropped or added: the pieces joined are the text.
    """
    found, rest = [], text
    for _ in range(part.of):
        if not rest:
            break
        size = _fitting(rest, part)
        if size == 0:
            return None
        found.append(rest[:size])
        rest = rest[size:]
    return None if rest else found


def _fitting(text: str, part: Part) -> int:
    """Return how many characters of `text` fit into one piece."""
    if part.chars is not None:
        return min(part.chars, len(text))
    room = part.octets or 0
    for position, character in enumerate(text):
        try:
            room -= len(character.encode(part.charset))
        except UnicodeEncodeError:
            return 0
        if room < 0:
            return position
    return len(text)


def _write(pen: _Pen, target: Target, scope: Scope, parent: etree._Element, path: str) -> None:
    """Write `target`, once or for each occurrence of what it goes over."""
    path = f"{path}/{target.name}" + "".join(f"[@{name}='{value}']" for name, value in target.fixed)
    if target.when is not None and not target.when.holds(scope):
        _withhold(target, scope, target.mark)
        return
    if target.each is None:
        _write_once(pen, target, scope, parent, path)
        return
    scopes = _occurrences(target.each, scope)
    high = target.each.bound[1]
    if len(scopes) > high:
        detail = f"{target.name} would stand {len(scopes)} times, at most {high}"
        scope.trace.trouble(VALUE_DOES_NOT_FIT, detail, "", (scope.application, target.each.mark))
    for position, inner in enumerate(scopes, 1):
        _write_once(pen, target, inner, parent, f"{path}[{position}]")


def _occurrences(each: Each, scope: Scope) -> list[Scope]:
    if each.ask is not None:
        return scope.into_asked(each.ask)
    if each.over == "common":
        return scope.into_common(each.group)
    if each.key is not None:
        for number, element in scope.facts.items.items():
            for found in scope.facts.find(each.key, element, number).found:
                scope.trace.note(found.leaves, "consumed", each.mark)
    return scope.into_items()


def _write_once(pen: _Pen, target: Target, scope: Scope, parent: etree._Element, path: str) -> None:
    if target.content is not None:
        values = _values(target, scope)
        for position, value in enumerate(values, 1):
            _write_value(
                pen, target, scope, (value, parent, f"{path}[{position}]" if len(values) > 1 else path)
            )
        return
    element = etree.SubElement(parent, f"{pen.namespace}{target.name}", dict(target.fixed))
    for child in target.children:
        _write(pen, child, scope, element, path)
    for attribute in target.attributes:
        _write_attribute(pen, attribute, scope, (None, element, path))
    # A container that holds nothing says nothing; a repeated one says that it occurred.
    if len(element) == 0 and len(element.attrib) == len(target.fixed) and target.each is None:
        parent.remove(element)


def _values(target: Target, scope: Scope) -> list[Value]:
    """Return the converted values of a leaf; one that cannot be converted is noted and marked as used."""
    assert target.content is not None
    try:
        values = list(target.content.values(scope, target.mark))
    except MisfitError as misfit:
        raw = target.content.source.values(scope, target.mark)
        _note_misfit(target, scope, raw, misfit)
        return []
    if target.bound[1] and len(values) > max(target.bound[1], 1):
        detail = f"{target.name} would stand {len(values)} times, at most {target.bound[1]}"
        scope.trace.trouble(
            VALUE_DOES_NOT_FIT, detail, _pointer(scope, values[0]), (scope.application, target.mark)
        )
        for value in values[target.bound[1] :]:
            scope.trace.note(value.leaves, "withheld", target.mark)
        values = values[: target.bound[1]]
    if not values:
        # Left out by the rule (an unknown code of an open list): the leaf has been read for it.
        for value in target.content.source.values(scope, target.mark):
            scope.trace.note(value.leaves, "consumed", target.mark)
    return values


def _note_misfit(target: Target, scope: Scope, values: list[Value], misfit: MisfitError) -> None:
    for value in values:
        scope.trace.forward(value.leaves, target.name, target.mark)
    pointer = _pointer(scope, values[0]) if values else ""
    detail = f"{target.name}: {misfit.detail}"
    scope.trace.trouble(misfit.problem, detail, pointer, (scope.application, target.mark))


def _pointer(scope: Scope, value: Value) -> str:
    return scope.facts.leaves[value.leaves[0]].pointer if value.leaves else ""


def _write_value(pen: _Pen, target: Target, scope: Scope, place: tuple[Value, etree._Element, str]) -> None:
    value, parent, path = place
    text, shape = value.text, target.shape
    if target.part is not None:
        cut = pieces(text, target.part)
        if cut is None:
            if target.part.number == 0:
                detail = f"{target.name}: {text[:60]!r} does not fit into {target.part.of} pieces"
                where = (scope.application, target.mark)
                scope.trace.trouble(VALUE_DOES_NOT_FIT, detail, _pointer(scope, value), where)
                scope.trace.forward(value.leaves, path, target.mark)
            return
        if target.part.number >= len(cut):
            return
        text = cut[target.part.number]
        value = Value(text, value.leaves, value.origin, (*value.transforms, "split"), value.found)
    elif not target.empty:
        _check(scope, target, shape, value)
    element = etree.SubElement(parent, f"{pen.namespace}{target.name}", dict(target.fixed))
    if not target.empty:
        element.text = text
    scope.trace.forward(value.leaves, path, target.mark)
    pen.origins.append(Origin(path, value.origin, value.leaves, target.mark, value.transforms))
    for attribute in target.attributes:
        _write_attribute(pen, attribute, scope, (value, element, path))


def _check(scope: Scope, target: Target, shape: Shape, value: Value) -> None:
    refusal = shape.refuse(value.text)
    # A wrong answer to an asked field has been reported with the field itself.
    if refusal is not None and not _reported(target, value):
        detail = f"{target.name}: {refusal[1]}"
        scope.trace.trouble(refusal[0], detail, _pointer(scope, value), (scope.application, target.mark))


def _reported(target: Target, value: Value) -> bool:
    source = target.content.source if target.content is not None else None
    if not isinstance(source, Taken) or not isinstance(source.source, Ask):
        return False
    return source.source.shape.refuse(value.text) is not None


def _write_attribute(
    pen: _Pen, put: AttributePut, scope: Scope, place: tuple[Value | None, etree._Element, str]
) -> None:
    value, element, path = place
    path = f"{path}/@{put.name}"
    if put.content is not None:
        try:
            found = next(iter(put.content.values(scope, put.mark)), None)
        except MisfitError as misfit:
            scope.trace.trouble(misfit.problem, misfit.detail, "", (scope.application, put.mark))
            return
    else:
        found = _carried(put, scope, value, path)
    if found is None:
        return
    refusal = put.shape.refuse(found.text)
    # What an applicant wrote beside an asked field was judged with the field.
    if refusal is not None and (put.content is not None or not put.required):
        scope.trace.trouble(refusal[0], refusal[1], _pointer(scope, found), (scope.application, put.mark))
    element.set(put.name, found.text)
    scope.trace.forward(found.leaves, path, put.mark)
    pen.origins.append(Origin(path, found.origin, found.leaves, put.mark, found.transforms))


def _carried(put: AttributePut, scope: Scope, value: Value | None, path: str) -> Value | None:
    """Return the unit, currency or content id that belongs to a value."""
    if value is None or value.found is None or put.of_value is None:
        return None
    text = value.found.element.get(put.of_value)
    if text is None:
        return Value(put.default, (), "const") if put.default is not None else None
    leaf = scope.facts.attributes.get((value.found.element, put.of_value))
    leaves = () if leaf is None else (leaf,)
    carried = Value(str(text), leaves, f"{value.origin}/@{put.of_value}")
    if put.via is None:
        return carried
    translated = put.via.translate(carried.text)
    if translated is None:
        scope.trace.forward(leaves, path, put.mark)
        detail = f"{carried.text[:60]!r} is not in the list {put.via.name}"
        scope.trace.trouble(CODE_UNKNOWN, detail, _pointer(scope, carried), (scope.application, put.mark))
        return None
    return Value(translated, leaves, carried.origin, (f"via {put.via.name}@{put.via.version}",))


def _withhold(target: Target, scope: Scope, rule: Mark) -> None:
    """Note that a condition kept this element, and what it would have held, out of the request."""
    scopes = _occurrences(target.each, scope) if target.each is not None else [scope]
    for inner in scopes:
        if target.content is not None:
            for value in target.content.source.values(inner, rule):
                inner.trace.note(value.leaves, "withheld", rule)
        for child in target.children:
            _withhold(child, inner, rule)
