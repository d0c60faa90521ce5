"""Tells in sentences what changes in the calendars and terms of two folders of mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any, Final

from gateway.calendars import CalendarEdition, SpecialDay, TermEdition, read_calendar, read_terms
from gateway.cli.need_sentences import tell_values
from gateway.cli.result_output import count_things
from gateway.errors import GatewayError

__all__ = ["compare_calendars"]

_FOLDER: Final = "calendars/"
_WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TERM_KEYS: Final = ("acknowledge", "decide", "answer", "remind")

_Edition = CalendarEdition | TermEdition


def compare_calendars(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """Yield a sentence on each edition that is new or gone, and on each day and term that is another.

    The files of the two folders are given by name. An edition is known by its name and edition. One that
    cannot be read is told with its mistake.
    """
    wrong: dict[str, None] = {}
    old, new = (_read_editions(files, wrong) for files in (before, after))
    yield from wrong
    for label in sorted({*old, *new}):
        was, becomes = old.get(label), new.get(label)
        if was is None or becomes is None:
            one = was or becomes
            assert one is not None, "one of the two is there"
            yield f"{_name_edition(one)} is {'new' if was is None else 'gone'}: {_count_rows(one)}"
        elif isinstance(was, CalendarEdition) and isinstance(becomes, CalendarEdition):
            yield from _compare_edition(was, becomes)
        elif isinstance(was, TermEdition) and isinstance(becomes, TermEdition):
            yield from _compare_terms(was, becomes)


def _read_editions(files: Mapping[str, bytes], wrong: dict[str, None]) -> dict[tuple[str, str], _Edition]:
    found: dict[tuple[str, str], _Edition] = {}
    for name in sorted(files):
        if not (name.startswith(_FOLDER) and name.endswith(".csv")):
            continue
        read = read_terms if b"# terms:" in files[name][:1000] else read_calendar
        try:
            one: _Edition = read(files[name], name)
        except GatewayError as error:
            wrong[f"{name} cannot be read: {error}"] = None
            continue
        found["terms" if isinstance(one, TermEdition) else "calendar", one.label] = one
    return found


def _name_edition(one: _Edition) -> str:
    return f"{'terms' if isinstance(one, TermEdition) else 'calendar'} {one.label}"


def _count_rows(one: _Edition) -> str:
    if isinstance(one, TermEdition):
        return count_things(len(one.terms), "document")
    return f"{count_things(len(one.special), 'day')}, {one.valid_from} to {one.valid_until}"


def _compare_edition(before: CalendarEdition, after: CalendarEdition) -> Iterator[str]:
    name = _name_edition(after)
    old, new = _describe_calendar(before), _describe_calendar(after)
    if old != new:
        yield f"{name} changes: {tell_values(old, new, tuple(new))}"
    for day in sorted({*before.special, *after.special}):
        was, becomes = before.special.get(day), after.special.get(day)
        if was == becomes:
            continue
        words = f"{name}: {_name_day(day)}"
        if was is None:
            yield f"{words} comes: {_tell_day(becomes)}"
        elif becomes is None:
            yield f"{words} goes: {_tell_day(was)}"
        else:
            yield f"{words}: {_tell_day(was)} becomes {_tell_day(becomes)}"


def _describe_calendar(one: CalendarEdition) -> dict[str, Any]:
    return {
        "organisations": " ".join(sorted(one.organisations)),
        "zone": one.zone,
        "first day": one.valid_from,
        "last day": one.valid_until,
        "rest days": " ".join(_WEEK[day] for day in sorted(one.rest_days)),
        "hours": f"{one.opens:%H:%M}-{one.closes:%H:%M}",
        "test": "yes" if one.is_test else "no",
        "source": one.source,
    }


def _name_day(day: date) -> str:
    return f"{day} ({_WEEK[day.weekday()]})"


def _tell_day(one: SpecialDay | None) -> str:
    return "" if one is None else f"{one.kind}, {one.name}" if one.name else one.kind


def _compare_terms(before: TermEdition, after: TermEdition) -> Iterator[str]:
    name = _name_edition(after)
    keys = ("valid_from", "valid_until", "is_test", "source")
    old, new = ({key: getattr(one, key) for key in keys} for one in (before, after))
    if old != new:
        yield f"{name} changes: {tell_values(old, new, keys)}"
    for document in sorted({*before.terms, *after.terms}):
        was, becomes = before.terms.get(document), after.terms.get(document)
        if was == becomes:
            continue
        words = f"{name}: {document}"
        if was is None or becomes is None:
            one = asdict(was or becomes)  # type: ignore[arg-type]
            told = ", ".join(f"{key} {one[key]}" for key in _TERM_KEYS if one[key] is not None)
            yield f"{words} {'comes' if was is None else 'goes'}: {told}"
        else:
            yield f"{words}: {tell_values(asdict(was), asdict(becomes), _TERM_KEYS)}"
