"""The layout of the rows of a diagram: a left row stands beside the line that uses it first."""

from __future__ import annotations

from gateway.harmonize.tools.diagram.diagram_rows import Diagram

__all__ = ["arrange_rows", "list_unused_rows"]


def arrange_rows(made: Diagram) -> dict[str, int]:
    """Return the position of each left row, in rows from the top of the right side.

    A row stands at the height of the first target that it gives a value to, or below the row
    before it, so that many lines are horizontal.  A row that is only read as key, count or
    guard stands at its first use; unused rows are last, below a heading (see `html_page`).
    """
    first = _find_first_uses(made)
    places: dict[str, int] = {}
    row = -1
    for key in sorted(first, key=lambda one: first[one]):
        row = max(row + 1, first[key][0])
        places[key] = row
    # One row is left free for the heading above the unused rows.
    return places | {key: row + 2 + number for number, key in enumerate(list_unused_rows(made))}


def list_unused_rows(made: Diagram) -> list[str]:
    """Return the left rows without a link, in the order of the mapping."""
    first = _find_first_uses(made)
    return [key for key in made.left if key not in first]


def _find_first_uses(made: Diagram) -> dict[str, tuple[int, int]]:
    """Return, for each left row, the first right row that it is linked to, and a number for the order."""
    first: dict[str, tuple[int, int]] = {}
    for rank, hows in enumerate((("value", "attribute"), ("key", "count", "guard"))):
        for order, link in enumerate(made.links):
            if link.how in hows and (link.key not in first or (rank == 0 and link.to < first[link.key][0])):
                first[link.key] = (link.to, order)
    _place_groups(made, first)
    return first


def _place_groups(made: Diagram, first: dict[str, tuple[int, int]]) -> None:
    """Place a group without a link above its members."""
    for key in made.left:
        members = [first[one] for one in made.left if one.startswith(f"{key}.") and one in first]
        if key not in first and members:
            to, order = min(members)
            first[key] = (to, order - 1)
