"""Tells in sentences what changes in the rules of need and in the status codes of two folders of mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.resources.abc import Traversable
from typing import Any

from gateway.cli.result_output import count_things
from gateway.hub import load_status_codes
from gateway.needs import Law, LawBook, NeedRules, NeedTable, compare_tables

__all__ = ["compare_laws", "compare_need_rules", "compare_status_codes", "tell_values"]


def compare_laws(before: Mapping[str, Law], after: Mapping[str, Law]) -> Iterator[str]:
    """Yield a sentence on each law that is new, gone or another."""
    for code, law in after.items():
        old = before.get(code)
        if old is None:
            yield f"law {code} ({law.name}) is new"
        elif old != law:
            keys = ("ko", "en", "disclaimers")
            yield f"law {code} ({law.name}) changes: {tell_values(asdict(old), asdict(law), keys)}"
    for code, law in before.items():
        if code not in after:
            yield f"law {code} ({law.name}) is gone"


def compare_need_rules(before: NeedRules, after: NeedRules) -> Iterator[str]:
    """Yield a sentence on each choice of documents, and on each table, that is new, gone or another."""
    for law, direction in sorted({*before.book.choices, *after.book.choices}):
        old, new = (_describe_choice(one, law, direction) for one in (before.book, after.book))
        if old != new:
            yield f"law {law}, {direction}: the documents to choose from, {old}, become {new}"
    tables = [{one.label: one for one in rules.tables} for rules in (before, after)]
    for label in sorted({*tables[0], *tables[1]}):
        yield from _compare_table(label, tables[0].get(label), tables[1].get(label))


def _describe_choice(book: LawBook, law: str, direction: str) -> str:
    told = (
        f"{' '.join(one.prefixes) or 'all other codes'}: {' or '.join(one.documents)}"
        for one in book.choices.get((law, direction), ())
    )
    return "; ".join(told) or "none"


def _compare_table(label: str, before: NeedTable | None, after: NeedTable | None) -> Iterator[str]:
    if before is None or after is None:
        one = before or after
        assert one is not None, "one of the two is there"
        rows = count_things(len(one.rows), "row")
        yield f"table of needs {label} is {'new' if before is None else 'gone'}: {rows}"
        return
    keys = ("country", "valid_from", "valid_until", "is_test", "source", "licence")
    old, new = ({key: getattr(one, key) for key in keys} for one in (before, after))
    if old != new:
        yield f"table of needs {label} changes: {tell_values(old, new, keys)}"
    found = compare_tables(before, after)
    counts = (("new", found.added), ("gone", found.removed), ("changed", found.changed))
    told = ", ".join(f"{count_things(len(rows), 'row')} {word}" for word, rows in counts if rows)
    if told:
        yield f"table of needs {label} changes: {told} (see `gateway rules diff`)"


def compare_status_codes(before: Traversable, after: Traversable) -> Iterator[str]:
    """Yield a sentence on each status code of agencies that is new, gone or has another effect."""
    old, new = load_status_codes(before), load_status_codes(after)
    for code, one in new.items():
        known = old.get(code)
        if known is None:
            yield f"status code {code} ({one.name}) is new"
        elif known != one:
            was, becomes = asdict(known), asdict(one)
            yield f"status code {code} ({one.name}) changes: {tell_values(was, becomes, tuple(becomes))}"
    for code, one in old.items():
        if code not in new:
            yield f"status code {code} ({one.name}) is gone"


def tell_values(before: Mapping[str, Any], after: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return which values become which others."""
    differ = (key for key in keys if before[key] != after[key])
    return "; ".join(f"{key} {before[key] or 'none'} becomes {after[key] or 'none'}" for key in differ)
