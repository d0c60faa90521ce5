"""Draws the flow of a declaration as SVG from `gateway/manual/pictures/flow.toml`.

The picture needs no font file, no script and nothing from outside. `draw_flow` is a pure
function of the source, so a test can compare the stored picture with the drawn one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["draw_flow"]

_TOP = 86
_STEP_HEIGHT = 52
_GAP = 26
_MARGIN = 20
_LANE_GAP = 130
_STYLE = """
text{font-family:Helvetica,Arial,sans-serif;fill:#1d2733}
.title{font-size:20px;font-weight:bold}
.lane{font-size:14px;font-weight:bold;fill:#41566b}
.name{font-size:15px;font-weight:bold}
.text{font-size:12px}
.label{font-size:12px;fill:#274f7a}
.party{fill:#eef2f6;stroke:#8ea2b5}
.step{fill:#ffffff;stroke:#274f7a;stroke-width:1.5}
.hub{fill:#f5f9fd;stroke:#b9cadb}
.store{fill:#fdf6e3;stroke:#b58900}
.line{stroke:#274f7a;stroke-width:1.5;fill:none;marker-end:url(#head)}
""".strip()


def draw_flow(source: str) -> str:
    """Return the SVG text for a TOML source; raises KeyError for a missing key."""
    flow = tomllib.loads(source)
    edges = _compute_lane_edges(flow["lane"])
    bottom = _TOP + len(flow["step"]) * (_STEP_HEIGHT + _GAP)
    width, height = edges[-1][1] + _MARGIN, bottom + 92
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(flow['title'])}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0L10 5L0 10z" fill="#274f7a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="{_MARGIN}" y="34">{escape(flow["title"])}</text>',
        *_draw_lanes(flow["lane"], edges, bottom),
        *_draw_steps(flow["step"], edges[1]),
        *_draw_arrows(flow, edges),
        *_draw_store(flow["store"]["text"], edges[1], bottom),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _compute_lane_edges(lanes: list[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return the left and right edge of each lane."""
    edges, left = [], _MARGIN
    for lane in lanes:
        edges.append((left, left + lane["width"]))
        left += lane["width"] + _LANE_GAP
    return edges


def _draw_lanes(lanes: list[Mapping[str, Any]], edges: list[tuple[int, int]], bottom: int) -> Iterator[str]:
    for number, (lane, (left, right)) in enumerate(zip(lanes, edges, strict=True)):
        kind = "hub" if number == 1 else "party"
        yield (
            f'<rect class="{kind}" x="{left}" y="{_TOP - 34}" width="{right - left}"'
            f' height="{bottom - _TOP + 34}" rx="8"/>'
        )
        yield f'<text class="lane" x="{left + 12}" y="{_TOP - 13}">{escape(lane["name"])}</text>'


def _compute_step_top(number: int) -> int:
    return _TOP + number * (_STEP_HEIGHT + _GAP)


def _draw_steps(steps: list[Mapping[str, Any]], edges: tuple[int, int]) -> Iterator[str]:
    left, right = edges[0] + 24, edges[1] - 24
    middle = (left + right) // 2
    for number, step in enumerate(steps):
        top = _compute_step_top(number)
        width = right - left
        yield f'<rect class="step" x="{left}" y="{top}" width="{width}" height="{_STEP_HEIGHT}" rx="6"/>'
        yield f'<text class="name" x="{left + 14}" y="{top + 22}">{escape(step["name"])}</text>'
        yield f'<text class="text" x="{left + 14}" y="{top + 40}">{escape(step["text"])}</text>'
        if number + 1 < len(steps):
            start = top + _STEP_HEIGHT
            yield f'<path class="line" d="M{middle} {start}V{start + _GAP - 2}"/>'


def _draw_arrows(flow: Mapping[str, Any], edges: list[tuple[int, int]]) -> Iterator[str]:
    names = [step["name"] for step in flow["step"]]
    drawn: dict[tuple[str, str], int] = {}
    for arrow in flow["arrow"]:
        place = (arrow["step"], arrow["side"])
        drawn[place] = drawn.get(place, 0) + 1
        y = _compute_step_top(names.index(arrow["step"])) + 18 * drawn[place]
        near = edges[1][0] + 22 if arrow["side"] == "left" else edges[1][1] - 22
        far = edges[0][1] if arrow["side"] == "left" else edges[2][0]
        start, end = (far, near) if arrow["direction"] == "in" else (near, far)
        lowest, highest = sorted((far, edges[1][0] if arrow["side"] == "left" else edges[1][1]))
        yield f'<path class="line" d="M{start} {y}H{end}"/>'
        yield (
            f'<text class="label" x="{(lowest + highest) // 2}" y="{y - 4}"'
            f' text-anchor="middle">{escape(arrow["text"])}</text>'
        )


def _draw_store(text: str, edges: tuple[int, int], bottom: int) -> Iterator[str]:
    left, right = edges[0] + 24, edges[1] - 24
    top = bottom + 30
    middle = (left + right) // 2
    yield f'<path class="line" d="M{middle} {bottom - _GAP}V{top - 2}"/>'
    yield f'<rect class="store" x="{left}" y="{top}" width="{right - left}" height="42" rx="12"/>'
    yield f'<text class="text" x="{middle}" y="{top + 26}" text-anchor="middle">{escape(text)}</text>'
