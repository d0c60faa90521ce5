"""Draws one mapping: the applicant's fields on the left, the request on the right, lines between them.

The diagram is one page of HTML with SVG; it needs no script and no other file.
"""

from __future__ import annotations

from gateway.harmonize.tools.diagram.diagram_rows import (
    Badge,
    Diagram,
    LeftRow,
    RightRow,
    RowLink,
    arrange_rows,
    build_diagram,
)
from gateway.harmonize.tools.diagram.html_page import draw_page

__all__ = ["Badge", "Diagram", "LeftRow", "RightRow", "RowLink", "arrange_rows", "build_diagram", "draw_page"]
