"""Draws one mapping: what applicants say on the left, the agency's request on the right, lines between.

The picture is one page of HTML with SVG that needs no script and nothing from outside.
"""

from __future__ import annotations

from gateway.harmonize.picturing.arranging import arrange
from gateway.harmonize.picturing.page import draw
from gateway.harmonize.picturing.rows import Badge, Left, Link, Picture, Right, picture

__all__ = ["Badge", "Left", "Link", "Picture", "Right", "arrange", "draw", "picture"]
