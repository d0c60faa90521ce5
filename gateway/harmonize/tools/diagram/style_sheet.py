"""The style sheet of a diagram: sizes, colours, and the highlight under the mouse pointer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["BADGES", "GUTTER", "LEFT", "LINES", "PITCH", "RIGHT", "write_style_sheet"]

PITCH: Final = 22  # height of a row; all sizes are pixels
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
    lit = "".join(f".map:has(#{one}:hover) .{one}{_LIT}\n" for one in ids)
    sheet = f"{width + 2 * _MARGIN}px {rows * PITCH + 2 * _MARGIN}px"
    return f"{text}{lit}@page{{size:{sheet};margin:0}}\n@media print{{.columns{{position:static}}}}\n"
