"""Writes a diagram as one printable page of HTML with SVG; it needs no script and no other file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from lxml import etree

from gateway.harmonize import Organisation
from gateway_workbench.diagram.diagram_rows import (
    Diagram,
    LeftRow,
    RightRow,
    RowLink,
    arrange_rows,
    list_unused_rows,
)

ROW_HEIGHT: Final = 22  # height of a row; all sizes are pixels
GUTTER: Final = 48
LEFT: Final = 520
LINES: Final = 230
BADGES: Final = 240
RIGHT: Final = 500
_MARGIN: Final = 24

_BASE: Final = """
body{margin:MARGINpx;width:WIDTHpx;color:#1c2430;background:#fff;
font:13px/1.4 "Noto Sans KR","Noto Sans CJK KR","Malgun Gothic","Apple SD Gothic Neo",sans-serif;
-webkit-print-color-adjust:exact;print-color-adjust:exact}
h1{font-size:20px;margin:0 0 2px} h1 .en{font-weight:400;color:#556}
h2{font-size:15px;margin:24px 0 4px} p{margin:2px 0} ul{margin:0;padding-left:20px}
.facts{color:#556} .legend{margin:8px 0 10px} .word{margin:0 18px 0 6px}
.sign{display:inline-block;width:30px;height:0;vertical-align:middle;border-top:2.5px solid}
.sign.guard{border-top-style:dashed} .sign.key{border-top-style:dotted}
.columns{position:sticky;top:0;z-index:3;height:26px;background:#fff;border-bottom:2px solid #1c2430;
font-weight:600;margin-bottom:4px}
.columns div{position:absolute;top:3px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.columns .from{left:GUTTERpx;width:LEFTpx} .columns .does{left:BENDpx;width:BADGESpx}
.columns .to{left:INTOpx;width:RIGHTpx}
.map{position:relative} .map svg{position:absolute;left:0;top:0}
.row{position:absolute;height:21px;box-sizing:border-box;display:flex;align-items:center;gap:6px;
border-bottom:1px solid #e3e7ee;background:#fff;white-space:nowrap;overflow:hidden}
.row span{overflow:hidden;text-overflow:ellipsis}
.left{left:GUTTERpx;width:LEFTpx;border-left:4px solid} .right{left:INTOpx;width:RIGHTpx}
.left.common{border-left-color:#1f5fa8;background:#f2f7fd}
.left.ask{border-left-color:#2b7a3d;background:#f2faf3}
.left.heading{border-left-color:#fff;font-weight:600;color:#556}
.left .tag{flex:0 0 44px;padding-left:6px;font-size:11px;color:#556} .left .must{flex:0 0 14px;color:#1c2430}
.left .ko{flex:0 0 210px;box-sizing:border-box} .left .en{flex:1 1 0;color:#445}
.left.alone .ko,.left.alone .en{color:#8a93a0}
.right .name{flex:1 1 0;box-sizing:border-box}
.right .size{flex:0 0 auto;max-width:150px;font-size:11px;color:#667;padding-right:6px}
.right.holder{background:#eef0f4;font-weight:600} .right.leaf{background:#fcfcfd}
.badges{position:absolute;left:BADGEpx;max-width:ROOMpx;height:21px;display:flex;
align-items:center;gap:4px;overflow:hidden}
.badge{flex:0 1 auto;min-width:24px;font-size:11px;line-height:16px;padding:0 6px;
border:1px solid #9aa6b5;border-radius:8px;
background:#fff;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.badge.step{background:#e8f0fb;border-color:#1f5fa8} .badge.split{background:#e6f5f3;border-color:#13796b}
.badge.each{background:#f1ecf8;border-color:#6a4c93} .badge.guard{background:#fdeee2;border-color:#b4510b}
.badge.source{background:#f3f4f6}
.link{fill:none;stroke:#7a8594;stroke-width:1.4}
.link.common{stroke:#1f5fa8} .link.ask{stroke:#2b7a3d} .link.attribute{stroke-width:1}
.link.guard{stroke:#b4510b;stroke-dasharray:6 4} .link.key{stroke:#6a4c93;stroke-dasharray:2 3}
.sign.common{color:#1f5fa8} .sign.ask{color:#2b7a3d} .sign.guard{color:#b4510b} .sign.key{color:#6a4c93}
.sign.own{color:#7a8594}
.map:has(.tied:hover) .link{opacity:.1}
"""
_LIT: Final = "{opacity:1;stroke-width:2.6;background-color:#fff0b3}"


def write_style_sheet(ids: Iterable[str], rows: int) -> str:
    """Return the style sheet; a row of `ids` under the pointer highlights its lines and rows.

    In print the whole diagram, `rows` high, is one sheet, which the printer scales.
    """
    width = GUTTER + LEFT + LINES + BADGES + RIGHT
    sizes = {
        "MARGIN": _MARGIN,
        "WIDTH": width,
        "GUTTER": GUTTER,
        "LEFT": LEFT,
        "BADGES": BADGES,
        "BADGE": GUTTER + LEFT + LINES + 10,
        "ROOM": BADGES - 24,
        "BEND": GUTTER + LEFT + LINES,
        "INTO": GUTTER + LEFT + LINES + BADGES,
        "RIGHT": RIGHT,
    }
    text = _BASE
    for name in sorted(sizes, key=len, reverse=True):
        text = text.replace(f"{name}px", f"{sizes[name]}px")
    lit = "".join(f".map:has(#{row_id}:hover) .{row_id}{_LIT}\n" for row_id in ids)
    sheet = f"{width + 2 * _MARGIN}px {rows * ROW_HEIGHT + 2 * _MARGIN}px"
    return f"{text}{lit}@page{{size:{sheet};margin:0}}\n@media print{{.columns{{position:static}}}}\n"


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
_OBLIGATIONS: Final = {"M": "mandatory", "C": "conditional", "O": "optional"}


def draw_page(diagram: Diagram, organisation: Organisation) -> str:
    """Return the page, which is valid as XML and as HTML."""
    row_positions = arrange_rows(diagram)
    rows = max([len(diagram.right), *(row + 1 for row in row_positions.values())])
    html = etree.Element("html", {"lang": "ko", "xmlns": "http://www.w3.org/1999/xhtml"})
    head = etree.SubElement(html, "head")
    etree.SubElement(head, "meta", charset="utf-8")
    etree.SubElement(head, "title").text = f"{diagram.document.id} {diagram.document.ko}"
    body = etree.SubElement(html, "body")
    _add_heading(body, diagram, organisation)
    _add_column_headings(body, organisation)
    area = _add_element(body, "div", "map", style=f"height:{rows * ROW_HEIGHT}px")
    ties = _RowTies(diagram, row_positions)
    area.append(ties.draw_lines(rows))
    for key, row in sorted(row_positions.items(), key=lambda entry: entry[1]):
        _add_left_row(area, diagram.left[key], row, ties)
    _add_unsent_heading(area, diagram, row_positions)
    for number, right in enumerate(diagram.right):
        _add_right_row(area, right, number, ties)
    _add_checks(body, diagram)
    etree.SubElement(head, "style").text = write_style_sheet(
        ties.list_rows(), rows + 3 * len(diagram.document.checks) + 12
    )
    return "<!DOCTYPE html>\n" + etree.tostring(html, encoding="unicode") + "\n"


class _RowTies:
    """The rows that are linked, and the CSS classes by which the page highlights them."""

    def __init__(self, diagram: Diagram, row_positions: dict[str, int]) -> None:
        self.diagram, self.row_positions, self.alone = (
            diagram,
            row_positions,
            frozenset(list_unused_rows(diagram)),
        )
        self.number = {key: number for number, key in enumerate(row_positions)}
        self.of_left: dict[str, list[str]] = defaultdict(list)
        self.of_right: dict[int, list[str]] = defaultdict(list)
        for link in diagram.links:
            self.of_left[link.key].append(f"t{link.right_index}")
            self.of_right[link.right_index].append(f"s{self.number[link.key]}")
        for key, dependent in diagram.arcs:
            self.of_left[key].append(f"s{self.number[dependent]}")
            self.of_left[dependent].append(f"s{self.number[key]}")

    def list_rows(self) -> list[str]:
        """Return the ids of all rows with a link."""
        left_ids = [f"s{self.number[key]}" for key in self.of_left]
        return left_ids + [f"t{number}" for number in self.of_right]

    def draw_lines(self, rows: int) -> etree._Element:
        """Return the lines between the rows; the lines of guards and keys are drawn below those of values."""
        size = {
            "width": str(_INTO),
            "height": str(rows * ROW_HEIGHT),
            "viewBox": f"0 0 {_INTO} {rows * ROW_HEIGHT}",
        }
        svg = etree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "aria-hidden": "true"})
        for key, dependent in self.diagram.arcs:
            numbers = f"s{self.number[key]} s{self.number[dependent]}"
            _add_path(
                svg,
                f"link guard arc {numbers}",
                _draw_arc(self.row_positions[key], self.row_positions[dependent]),
            )
        order = {"guard": 0, "key": 1, "count": 1}
        for link in sorted(self.diagram.links, key=lambda link: order.get(link.role, 2)):
            self._draw_line(svg, link)
        tied = {link.right_index for link in self.diagram.links if link.role in ("value", "attribute")}
        for number, right in enumerate(self.diagram.right):
            if right.filled and number not in tied:
                y = _get_row_middle(number)
                _add_path(svg, f"link own t{number}", f"M{_BEND} {y}H{_INTO}", right_index=number)
        return svg

    def _draw_line(self, svg: etree._Element, link: RowLink) -> None:
        source = self.diagram.left[link.key].kind
        kind = {"guard": "guard", "key": "key", "count": "key"}.get(link.role, source)
        classes = f"link {kind} {link.role} s{self.number[link.key]} t{link.right_index}"
        start, end = _get_row_middle(self.row_positions[link.key]), _get_row_middle(link.right_index)
        half = LINES // 2
        bent = f"C{_FROM + half} {start} {_BEND - half} {end} {_BEND} {end}" if start != end else ""
        _add_path(
            svg, classes, f"M{_FROM} {start}{bent}H{_INTO}", right_index=link.right_index, source=link.key
        )


def _add_path(
    svg: etree._Element, classes: str, data: str, right_index: int | None = None, source: str = ""
) -> None:
    path = etree.SubElement(svg, "path", {"class": classes, "d": data})
    if right_index is not None:
        path.set("data-to", str(right_index))
    if source:
        path.set("data-from", source)


def _get_row_middle(row: int) -> int:
    return row * ROW_HEIGHT + ROW_HEIGHT // 2


def _draw_arc(first_row: int, second_row: int) -> str:
    """Return the SVG path of an arc in the left margin; a longer arc is wider."""
    start, end = _get_row_middle(first_row), _get_row_middle(second_row)
    depth = min(GUTTER - 8, 10 + 2 * abs(first_row - second_row))
    x = GUTTER - depth * 4 // 3
    return f"M{GUTTER} {start}C{x} {start} {x} {end} {GUTTER} {end}"


def _add_element(
    parent: etree._Element, tag: str, class_name: str, text: str = "", **attributes: str
) -> etree._Element:
    """Add an element of a class; its text is never None, since HTML has no empty ``<div/>``."""
    element = etree.SubElement(parent, tag, {"class": class_name, **attributes})
    element.text = text
    return element


def _add_heading(body: etree._Element, diagram: Diagram, organisation: Organisation) -> None:
    document = diagram.document
    title = _add_element(body, "h1", "title", document.id)
    _add_element(title, "span", "ko", f" {document.ko}")
    _add_element(title, "span", "en", f" {document.en}")
    common = sum(1 for row in diagram.left.values() if row.kind == "common" and row.tag != "group")
    asks = sum(1 for row in diagram.left.values() if row.tag == "asked")
    filled = sum(1 for row in diagram.right if row.filled)
    facts = (
        f"{organisation.ko} {organisation.en} ({organisation.code}) · {document.direction} · "
        f"{document.status} · {common} common meanings, {asks} asked fields, {filled} values of the request"
    )
    _add_element(body, "p", "facts", facts)
    legend = _add_element(body, "p", "legend")
    for kind, label in _LEGEND:
        _add_element(legend, "span", f"sign {kind}", " ")
        _add_element(legend, "span", "word", label)
    _add_element(legend, "span", "word", "● mandatory  ◐ conditional  ○ optional")


def _add_column_headings(body: etree._Element, organisation: Organisation) -> None:
    heading_row = _add_element(body, "div", "columns")
    _add_element(heading_row, "div", "from", "신고인·신청인이 적는 것 What the applicant says")
    _add_element(heading_row, "div", "does", "변환 What is done to it")
    _add_element(heading_row, "div", "to", f"{organisation.ko}이(가) 받는 것 What {organisation.code} gets")


def _add_left_row(area: etree._Element, left_row: LeftRow, row: int, ties: _RowTies) -> None:
    number, tied = ties.number[left_row.key], ties.of_left.get(left_row.key, [])
    classes = ["row", "left", left_row.kind, *(["tied"] if tied else []), f"s{number}", *tied]
    classes += ["alone"] if left_row.key in ties.alone else []
    style = f"top:{row * ROW_HEIGHT}px"
    row_element = _add_element(area, "div", " ".join(dict.fromkeys(classes)), id=f"s{number}", style=style)
    row_element.set("title", f"{left_row.ko}\n{left_row.en}\n{left_row.hint}")
    row_element.set("data-key", left_row.key)
    _add_element(row_element, "span", "tag", left_row.tag)
    must = _add_element(row_element, "span", "must", _MUST[left_row.must])
    must.set("title", _OBLIGATIONS[left_row.must])
    _add_element(row_element, "span", "ko", left_row.ko, style=f"padding-left:{left_row.depth * 12}px")
    _add_element(row_element, "span", "en", left_row.en)


def _add_unsent_heading(area: etree._Element, diagram: Diagram, row_positions: dict[str, int]) -> None:
    """Add the heading of the rows without a link: the document lists them, and they are not sent."""
    alone = list_unused_rows(diagram)
    if alone:
        label = "요청에 없는 항목 Listed, and in no line of the request"
        top = (row_positions[alone[0]] - 1) * ROW_HEIGHT
        _add_element(area, "div", "row left heading", label, style=f"top:{top}px")


def _add_right_row(area: etree._Element, right_row: RightRow, row_number: int, ties: _RowTies) -> None:
    tied = ties.of_right.get(row_number, [])
    kind = "leaf" if right_row.filled else "holder"
    classes = ["row", "right", kind, *(["tied"] if tied else []), f"t{row_number}", *tied]
    style = f"top:{row_number * ROW_HEIGHT}px"
    row_element = _add_element(
        area, "div", " ".join(dict.fromkeys(classes)), id=f"t{row_number}", style=style
    )
    row_element.set("title", right_row.hint)
    _add_element(
        row_element, "span", "name", right_row.name, style=f"padding-left:{right_row.depth * 14 + 8}px"
    )
    _add_element(row_element, "span", "size", right_row.size)
    if right_row.badges:
        badges = _add_element(area, "div", f"badges t{row_number}", style=style)
        badges.set("title", ", ".join(badge.text for badge in right_row.badges))
        for badge in right_row.badges:
            _add_element(badges, "span", f"badge {badge.kind}", badge.text)


def _add_checks(body: etree._Element, diagram: Diagram) -> None:
    document = diagram.document
    if not document.checks and not document.overrides:
        return
    _add_element(body, "h2", "more", "검사 What must hold")
    listed = _add_element(body, "ul", "checks")
    for check in document.checks:
        names = ", ".join(dict.fromkeys(source.name for source in check.list_read_sources()))
        _add_element(listed, "li", "check", f"{check.ko} {check.en} ({check.kind}: {names})")
    for override in document.overrides.values():
        sentence = f"{override.ko} {override.en}: {override.ask.name} in place of {override.instead_of.name}"
        _add_element(listed, "li", "override", sentence)
