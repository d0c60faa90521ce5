"""Writes a diagram as one printable page of HTML with SVG; it needs no script and no other file."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from lxml import etree

from gateway.harmonize.language import Organisation
from gateway.harmonize.tools.diagram.diagram_rows import (
    Diagram,
    LeftRow,
    RightRow,
    RowLink,
    arrange_rows,
    list_unused_rows,
)
from gateway.harmonize.tools.diagram.style_sheet import BADGES, GUTTER, LEFT, LINES, PITCH, write_style_sheet

__all__ = ["draw_page"]

_FROM: Final = GUTTER + LEFT
_BEND: Final = _FROM + LINES
_INTO: Final = _BEND + BADGES
_LEGEND: Final = (
    ("common", "공통항목 common meaning"),
    ("ask", "고유항목 asked field"),
    ("guard", "조건 decides whether"),
    ("key", "키·횟수 chooses, repeats or counts"),
    ("own", "상수 constant, or the hub's own"),
)
_MUST: Final = {"M": "●", "C": "◐", "O": "○"}
_SAID: Final = {"M": "mandatory", "C": "conditional", "O": "optional"}


def draw_page(made: Diagram, organisation: Organisation) -> str:
    """Return the page, which is valid as XML and as HTML."""
    places = arrange_rows(made)
    rows = max([len(made.right), *(row + 1 for row in places.values())])
    html = etree.Element("html", {"lang": "ko", "xmlns": "http://www.w3.org/1999/xhtml"})
    head = etree.SubElement(html, "head")
    etree.SubElement(head, "meta", charset="utf-8")
    etree.SubElement(head, "title").text = f"{made.document.id} {made.document.ko}"
    body = etree.SubElement(html, "body")
    _add_heading(body, made, organisation)
    _add_columns(body, organisation)
    area = _add_element(body, "div", "map", style=f"height:{rows * PITCH}px")
    ties = _RowTies(made, places)
    area.append(ties.draw_lines(rows))
    for key, row in sorted(places.items(), key=lambda one: one[1]):
        _add_left_row(area, made.left[key], row, ties)
    _add_unsent_heading(area, made, places)
    for number, right in enumerate(made.right):
        _add_right_row(area, right, number, ties)
    _add_checks(body, made)
    etree.SubElement(head, "style").text = write_style_sheet(
        ties.list_rows(), rows + 3 * len(made.document.checks) + 12
    )
    return "<!DOCTYPE html>\n" + etree.tostring(html, encoding="unicode") + "\n"


class _RowTies:
    """The rows that are linked, and the CSS classes by which the page highlights them."""

    def __init__(self, made: Diagram, places: dict[str, int]) -> None:
        self.made, self.places, self.alone = made, places, frozenset(list_unused_rows(made))
        self.number = {key: number for number, key in enumerate(places)}
        self.of_left: dict[str, list[str]] = defaultdict(list)
        self.of_right: dict[int, list[str]] = defaultdict(list)
        for link in made.links:
            self.of_left[link.key].append(f"t{link.to}")
            self.of_right[link.to].append(f"s{self.number[link.key]}")
        for key, about in made.arcs:
            self.of_left[key].append(f"s{self.number[about]}")
            self.of_left[about].append(f"s{self.number[key]}")

    def list_rows(self) -> list[str]:
        """Return the ids of all rows with a link."""
        left = [f"s{self.number[key]}" for key in self.of_left]
        return left + [f"t{number}" for number in self.of_right]

    def draw_lines(self, rows: int) -> etree._Element:
        """Return the lines between the rows; the lines of guards and keys are drawn below those of values."""
        size = {"width": str(_INTO), "height": str(rows * PITCH), "viewBox": f"0 0 {_INTO} {rows * PITCH}"}
        svg = etree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "aria-hidden": "true"})
        for key, about in self.made.arcs:
            numbers = f"s{self.number[key]} s{self.number[about]}"
            _add_path(svg, f"link guard arc {numbers}", _draw_arc(self.places[key], self.places[about]))
        order = {"guard": 0, "key": 1, "count": 1}
        for link in sorted(self.made.links, key=lambda one: order.get(one.how, 2)):
            self._draw_line(svg, link)
        tied = {link.to for link in self.made.links if link.how in ("value", "attribute")}
        for number, right in enumerate(self.made.right):
            if right.filled and number not in tied:
                y = _get_row_middle(number)
                _add_path(svg, f"link own t{number}", f"M{_BEND} {y}H{_INTO}", to=number)
        return svg

    def _draw_line(self, svg: etree._Element, link: RowLink) -> None:
        source = self.made.left[link.key].kind
        kind = {"guard": "guard", "key": "key", "count": "key"}.get(link.how, source)
        classes = f"link {kind} {link.how} s{self.number[link.key]} t{link.to}"
        start, end = _get_row_middle(self.places[link.key]), _get_row_middle(link.to)
        half = LINES // 2
        bent = f"C{_FROM + half} {start} {_BEND - half} {end} {_BEND} {end}" if start != end else ""
        _add_path(svg, classes, f"M{_FROM} {start}{bent}H{_INTO}", to=link.to, source=link.key)


def _add_path(svg: etree._Element, classes: str, data: str, to: int | None = None, source: str = "") -> None:
    path = etree.SubElement(svg, "path", {"class": classes, "d": data})
    if to is not None:
        path.set("data-to", str(to))
    if source:
        path.set("data-from", source)


def _get_row_middle(row: int) -> int:
    return row * PITCH + PITCH // 2


def _draw_arc(one: int, other: int) -> str:
    """Return the SVG path of an arc in the left margin; a longer arc is wider."""
    start, end = _get_row_middle(one), _get_row_middle(other)
    depth = min(GUTTER - 8, 10 + 2 * abs(one - other))
    x = GUTTER - depth * 4 // 3
    return f"M{GUTTER} {start}C{x} {start} {x} {end} {GUTTER} {end}"


def _add_element(parent: etree._Element, name: str, kind: str, text: str = "", **more: str) -> etree._Element:
    """Add an element of a class; its text is never None, since HTML has no empty ``<div/>``."""
    element = etree.SubElement(parent, name, {"class": kind, **more})
    element.text = text
    return element


def _add_heading(body: etree._Element, made: Diagram, organisation: Organisation) -> None:
    document = made.document
    title = _add_element(body, "h1", "title", document.id)
    _add_element(title, "span", "ko", f" {document.ko}")
    _add_element(title, "span", "en", f" {document.en}")
    common = sum(1 for row in made.left.values() if row.kind == "common" and row.tag != "group")
    asked = sum(1 for row in made.left.values() if row.tag == "asked")
    filled = sum(1 for row in made.right if row.filled)
    facts = (
        f"{organisation.ko} {organisation.en} ({organisation.code}) · {document.direction} · "
        f"{document.status} · {common} common meanings, {asked} asked fields, {filled} values of the request"
    )
    _add_element(body, "p", "facts", facts)
    legend = _add_element(body, "p", "legend")
    for kind, words in _LEGEND:
        _add_element(legend, "span", f"sign {kind}", " ")
        _add_element(legend, "span", "word", words)
    _add_element(legend, "span", "word", "● mandatory  ◐ conditional  ○ optional")


def _add_columns(body: etree._Element, organisation: Organisation) -> None:
    line = _add_element(body, "div", "columns")
    _add_element(line, "div", "from", "신고인·신청인이 적는 것 What the applicant says")
    _add_element(line, "div", "does", "변환 What is done to it")
    _add_element(line, "div", "to", f"{organisation.ko}이(가) 받는 것 What {organisation.code} gets")


def _add_left_row(area: etree._Element, left: LeftRow, row: int, ties: _RowTies) -> None:
    number, tied = ties.number[left.key], ties.of_left.get(left.key, [])
    classes = ["row", "left", left.kind, *(["tied"] if tied else []), f"s{number}", *tied]
    classes += ["alone"] if left.key in ties.alone else []
    place = f"top:{row * PITCH}px"
    line = _add_element(area, "div", " ".join(dict.fromkeys(classes)), id=f"s{number}", style=place)
    line.set("title", f"{left.ko}\n{left.en}\n{left.hint}")
    line.set("data-key", left.key)
    _add_element(line, "span", "tag", left.tag)
    must = _add_element(line, "span", "must", _MUST[left.must])
    must.set("title", _SAID[left.must])
    _add_element(line, "span", "ko", left.ko, style=f"padding-left:{left.depth * 12}px")
    _add_element(line, "span", "en", left.en)


def _add_unsent_heading(area: etree._Element, made: Diagram, places: dict[str, int]) -> None:
    """Add the heading of the rows without a link: the document lists them, and they are not sent."""
    alone = list_unused_rows(made)
    if alone:
        words = "요청에 없는 항목 Listed, and in no line of the request"
        top = (places[alone[0]] - 1) * PITCH
        _add_element(area, "div", "row left heading", words, style=f"top:{top}px")


def _add_right_row(area: etree._Element, right: RightRow, number: int, ties: _RowTies) -> None:
    tied = ties.of_right.get(number, [])
    kind = "leaf" if right.filled else "holder"
    classes = ["row", "right", kind, *(["tied"] if tied else []), f"t{number}", *tied]
    place = f"top:{number * PITCH}px"
    line = _add_element(area, "div", " ".join(dict.fromkeys(classes)), id=f"t{number}", style=place)
    line.set("title", right.hint)
    _add_element(line, "span", "name", right.name, style=f"padding-left:{right.depth * 14 + 8}px")
    _add_element(line, "span", "size", right.size)
    if right.badges:
        told = _add_element(area, "div", f"badges t{number}", style=place)
        told.set("title", ", ".join(badge.text for badge in right.badges))
        for badge in right.badges:
            _add_element(told, "span", f"badge {badge.kind}", badge.text)


def _add_checks(body: etree._Element, made: Diagram) -> None:
    document = made.document
    if not document.checks and not document.overrides:
        return
    _add_element(body, "h2", "more", "검사 What must hold")
    listed = _add_element(body, "ul", "checks")
    for check in document.checks:
        names = ", ".join(dict.fromkeys(one.name for one in check.list_read_sources()))
        _add_element(listed, "li", "check", f"{check.ko} {check.en} ({check.kind}: {names})")
    for override in document.overrides.values():
        words = f"{override.ko} {override.en}: {override.ask.name} in place of {override.instead_of.name}"
        _add_element(listed, "li", "override", words)
