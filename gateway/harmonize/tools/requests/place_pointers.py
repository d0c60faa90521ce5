"""Turns the places that an agency names in its request into pointers of the applicant's own message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.harmonize.notices import RequestPlace
from gateway.harmonize.tools.requests.request_form import RequestForm
from gateway.harmonize.types import UniqueField

__all__ = ["list_place_pointers"]

#: A place without an item stands in so many items at most; beyond, the whole application is named.
_MOST_ITEMS = 20


def list_place_pointers(
    places: Iterable[RequestPlace], form: RequestForm, *, position: int
) -> tuple[str, ...]:
    """Return where the places are in the submission, each pointer once, in the order of the places.

    `form` is the request that the agency was sent, `position` that of its application. A place that
    is no single field is the item that it names, else the application.
    """
    index: dict[tuple[str, str | None], list[str]] = {}
    for section in form.sections:
        for field in section.list_fields():
            index.setdefault((field.name, section.item), []).append(field.pointer)
    items = [section.item for section in form.sections]
    found: dict[str, None] = {}
    for place in places:
        exact = list(_list_field_pointers(place, index, items)) if place.exact else []
        around = f"APP[{position}]/{form.document}" + (f"/ITEM[{place.item}]" if place.item else "")
        found |= dict.fromkeys(exact if 0 < len(exact) <= _MOST_ITEMS else [around])
    return tuple(found)


def _list_field_pointers(
    place: RequestPlace, index: dict[tuple[str, str | None], list[str]], items: list[str | None]
) -> Iterator[str]:
    wanted = items if place.item is None else [None, place.item]
    for content in place.target.converted_sources:
        for source in content.source.list_forwarded_sources():
            name = f"{'ask' if isinstance(source, UniqueField) else 'common'}:{source.name}"
            yield from (pointer for item in wanted for pointer in index.get((name, item), ()))
