"""Finds what a folder of mappings still has in the form of an earlier version of the program.

Such a folder loads and works. But what this version reads beyond it is not there, so that something is not
done which the manual promises.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Final

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.hub import load_shipped_rules

__all__ = ["find_former_parts"]

_STATUS_CODES: Final = "codelists/requirement-status.csv"
_CUSTOMS_CODES: Final = "codelists/customs-code.csv"
_RULES: Final = "rules.yaml"
_STANDS: Final = "an inspection stands until its agency decides"
_CANCELS: Final = "it does not cancel the application"
#: By status code: the event that it had in the tables of earlier versions, the one now, and what is missed.
_FORMER_EVENTS: Final = {
    "E07": ("inspect", "inspected", _STANDS),
    "J10": ("acknowledge", "inspected", _STANDS),
    "G01": ("acknowledge", "cancel", _CANCELS),
    "G03": ("acknowledge", "cancel", _CANCELS),
    "G04": ("acknowledge", "refuse_cancel", "it does not end the wait for a cancellation"),
}
#: Lists that the program reads by their names, and what is missed without them.
_READ_LISTS: Final = {
    "rec20": "a unit that Recommendation 20 lacks is not told",
    "rec20Former": "units that Recommendation 20 has withdrawn are taken for unknown ones",
}
_REMEDY: Final = (
    "Take it from the folder that `gateway map export FOLDER --shipped` writes, and put the folder into "
    "force with `gateway map use`"
)


def find_former_parts(place: Traversable) -> list[str]:
    """Return a sentence for each part of a folder that an earlier version of the program wrote.

    Each says what is old, what is not done because of it, and what to do. A folder that does not load has
    none: its faults come first. What a folder lacks is told where it has a document that is shipped.
    """
    try:
        bundle = load_bundle(place)
    except GatewayError:
        return []
    found = [*_check_status_codes(place), *_check_customs_codes(place)]
    shipped = load_shipped_rules().bundle
    if bundle.documents.keys() & shipped.documents.keys():
        found += _find_missing_parts(place, bundle, shipped)
    return [f"{words}. {_REMEDY}" for words in found]


def _check_status_codes(place: Traversable) -> Iterator[str]:
    rows = _read_rows(place, _STATUS_CODES)
    for code, (former, now, missed) in _FORMER_EVENTS.items():
        if rows.get(code, {}).get("event") == former:
            words = f"{code} has the event {former}, today {now}, so {missed}"
            yield f"{_STATUS_CODES} is of an earlier version: {words}"
    if any(row.get("event") == "fee" and "fee_step" not in row for row in rows.values()):
        yield (
            f"{_STATUS_CODES} is of an earlier version: it has no columns fee_step and fee_kind, so no "
            "notice levies, confirms, cancels or gives back a fee"
        )


def _check_customs_codes(place: Traversable) -> Iterator[str]:
    if any("direction" not in row for row in _read_rows(place, _CUSTOMS_CODES).values()):
        yield (
            f"{_CUSTOMS_CODES} is of an earlier version: it has no column direction, so a clearance result "
            "of exports counts for an import declaration too"
        )


def _read_rows(place: Traversable, name: str) -> Mapping[str, Mapping[str, str | None]]:
    """Return the rows of a table by their codes; none where the folder has no such table."""
    file = place.joinpath(*name.split("/"))
    if not file.is_file():
        return {}
    rows = csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines())
    return {row.get("code") or "": row for row in rows}


def _find_missing_parts(place: Traversable, bundle: MappingBundle, shipped: MappingBundle) -> Iterator[str]:
    if not place.joinpath(_RULES).is_file():
        yield (
            f"{_RULES} is missing, which an earlier version did not have, so no rule on the declaration "
            "holds: wrong tariff codes and dates and negative numbers are not refused"
        )
    for name, missed in _READ_LISTS.items():
        if name in shipped.lists and name not in bundle.lists:
            yield f"codelists.yaml is of an earlier version: it has no list {name}, so {missed}"
    known = shipped.dictionary.meanings
    lacking = [
        name
        for name, meaning in bundle.dictionary.meanings.items()
        if name in known and known[name].dimension and not meaning.dimension
    ]
    if lacking:
        yield (
            f"common.yaml is of an earlier version: {', '.join(lacking)} have no dimension, so `gateway map "
            "check` takes a conversion of them to another dimension"
        )
