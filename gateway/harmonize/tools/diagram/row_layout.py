"""Where the rows of a picture stand: the left ones beside the line that uses them first."""

from __future__ import annotations

from gateway.harmonize.tools.diagram.diagram_rows import Diagram

__all__ = ["arrange_rows", "list_unused_rows"]


def arrange_rows(made: Diagram) -> dict[str, int]:
    """Return the row of each left key, in rows counted from the top of the right side.

    A row stands at the height of the first value that it gives, or below the one before it;
    so lines run level where they can.  What is only decided by stands by its first use as
    such, what nothing uses at the end, below a heading (see `page`).
    """
    first = _find_first_uses(made)
    places: dict[str, int] = {}
    row = -1
    for key in sorted(first, key=lambda one: first[one]):
        row = max(row + 1, first[key][0])
        places[key] = row
    # One row stays free for the heading above what is not sent.
    return places | {key: row + 2 + number for number, key in enumerate(list_unused_rows(made))}


def list_unused_rows(made: Diagram) -> list[str]:
    """Return the left rows that no line starts from, in the order of the mapping."""
    first = _find_first_uses(made)
    return [key for key in made.left if key not in first]


def _find_first_uses(made: Diagram) -> dict[str, tuple[int, int]]:
    """Return of each left row the right row that it goes to first, and a number to tell rows of one place."""
    first: dict[str, tuple[int, int]] = {}
    for rank, hows in enumerate((("value", "attribute"), ("key", "count", "guard"))):
        for order, link in enumerate(made.links):
            if link.how in hows and (link.key not in first or (rank == 0 and link.to < first[link.key][0])):
                first[link.key] = (link.to, order)
    _place_groups(made, first)
    return first


def _place_groups(made: Diagram, first: dict[str, tuple[int, int]]) -> None:
    """Let a group that no line goes over stand above its members."""
    for key in made.left:
        members = [first[one] for one in made.left if one.startswith(f"{key}.") and one in first]
        if key not in first and members:
            to, order = min(members)
            first[key] = (to, order - 1)
