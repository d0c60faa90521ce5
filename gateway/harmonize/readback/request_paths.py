"""Resolves an agency's path in a request: with or without prefixes, by position or by item id.

Agencies write paths in different ways: ``/Declaration/LPCO[2]/ID``,
``dec:LPCO[FR2002]/dec:ID``, ``LPCO[DetailContents/X='1']``.  A step is a name with predicates;
a predicate is a position, ``@name='value'``, ``child='value'``, or an item's own identifier
somewhere in the element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.harmonize.split import read_element_text

_STEP: Final = re.compile(r"(?:\{[^{}]*\})?(?:[\w.-]+:)?(@?)([\w.-]+)((?:\[[^\[\]]{1,200}\])*)")
_PREDICATE: Final = re.compile(r"\[([^\[\]]{1,200})\]")
_EQUAL: Final = re.compile(r"(@?)(?:[\w.-]+:)?([\w.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(.*))")
_MAX_PATH_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step of a path: an element or attribute with predicates.

    `equal_values` are tuples (is an attribute, name, value); `ids` are identifiers that must occur
    somewhere in the element; `position` counts from 1 among the elements of this name that
    match the other predicates.
    """

    name: str
    is_attribute: bool = False
    position: int | None = None
    equal_values: tuple[tuple[bool, str, str], ...] = ()
    ids: tuple[str, ...] = ()


def read_path(path: str) -> tuple[PathStep, ...]:
    """Return the steps of a path; raise GW404 for a text that is no path."""
    steps, position = [], 0
    text = path.strip().removeprefix("/")
    while len(text) <= _MAX_PATH_LENGTH:
        match = _STEP.match(text, position)
        if match is None:
            break
        steps.append(_make_step(match))
        position = match.end()
        if position == len(text):
            return tuple(steps)
        if text[position] != "/":
            break
        position += 1
    raise GatewayError(RULE_BROKEN, f"{path[:80]!r} is no path of a request", path[:80])


def format_names(steps: tuple[PathStep, ...]) -> str:
    """Return the path by its names and constant predicates, as the lines of a mapping write it."""
    segments = []
    for step in steps:
        predicates = "".join(
            f"[{'@' if attribute else ''}{name}='{value}']" for attribute, name, value in step.equal_values
        )
        segments.append(f"{'@' if step.is_attribute else ''}{step.name}{predicates}")
    return "/".join(segments)


def find_in_request(
    xml: etree._Element, steps: tuple[PathStep, ...]
) -> Iterator[tuple[etree._Element, str | None]]:
    """Yield every element of the request that a path selects, with the name of a selected attribute.

    The root's own name may be left out.  Without a position, all matching elements are selected.
    """
    selected = [xml]
    for number, step in enumerate(steps):
        if step.is_attribute:
            names = [(element, name) for element in selected for name in map(str, element.attrib)]
            yield from ((e, name) for e, name in names if name.rpartition("}")[2] == step.name)
            return
        if number == 0 and step.name == etree.QName(xml).localname:
            selected = [element for element in selected if _matches_predicates(element, step)]
            continue
        selected = [child for element in selected for child in _select_elements(element, step)]
    yield from ((element, None) for element in selected)


def _make_step(match: re.Match[str]) -> PathStep:
    """Return one step of a path; each predicate is a position, a comparison or an item identifier."""
    position: int | None = None
    equal: list[tuple[bool, str, str]] = []
    ids: list[str] = []
    for inner in _PREDICATE.findall(match[3]):
        comparison = _EQUAL.fullmatch(inner.strip())
        if inner.strip().isascii() and inner.strip().isdigit() and len(inner) < 10:
            position = int(inner)
        elif comparison is not None:
            value = next(part for part in comparison.groups()[2:] if part is not None)
            equal.append((bool(comparison[1]), comparison[2], value))
        else:
            ids.append(inner.strip().strip("'\""))
    return PathStep(match[2], bool(match[1]), position, tuple(equal), tuple(ids))


def _select_elements(element: etree._Element, step: PathStep) -> list[etree._Element]:
    """Return the children of `element` that `step` selects, in any namespace."""
    matching = [
        child
        for child in element.iterchildren(tag=etree.Element)
        if etree.QName(child).localname == step.name and _matches_predicates(child, step)
    ]
    if step.position is None:
        return matching
    return matching[step.position - 1 : step.position]


def _matches_predicates(element: etree._Element, step: PathStep) -> bool:
    """Return whether `element` has the values and identifiers of `step`; its position is not checked."""
    for attribute, name, value in step.equal_values:
        if attribute and element.get(name) != value:
            return False
        if not attribute and value not in (
            read_element_text(child) for child in element.iterchildren(f"{{*}}{name}")
        ):
            return False
    texts = (
        {read_element_text(descendant) for descendant in element.iter(tag=etree.Element)}
        if step.ids
        else set()
    )
    return all(item_id in texts for item_id in step.ids)
