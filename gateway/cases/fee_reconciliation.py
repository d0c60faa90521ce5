"""Compares a statement of the payment provider with the payments and refunds that the hub has recorded.

A statement is CSV with the columns date, kind (payment or refund), reference, order, amount and
currency. Amounts are compared exactly.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from gateway.cases.exact_money import Money, read_money
from gateway.errors import STATEMENT_WRONG, GatewayError

__all__ = ["FeeMovement", "StatementDifference", "read_statement", "reconcile_statement"]

_COLUMNS: Final = ("date", "kind", "reference", "order", "amount", "currency")
_KINDS: Final = ("payment", "refund")
_LONGEST: Final = 200
_MOST_LINES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FeeMovement:
    """A payment or refund: in a statement (with its line), or as the hub has it (line 0).

    `reason` is why the hub did not count a payment, and gives it back.
    """

    kind: str
    reference: str
    order: str
    money: Money
    on: date
    line: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StatementDifference:
    """What differs: ``missing here``, ``missing there``, ``different amount``, ``different order``.

    ``listed twice`` is a reference that the statement has more than once, ``recorded twice`` one that the
    hub has for two. A payment that the hub gives back has the reason, as ``paid twice``.
    """

    what: str
    kind: str
    reference: str
    order: str
    here: Money | None
    there: Money | None
    line: int


def read_statement(text: str) -> tuple[FeeMovement, ...]:
    """Return the lines of a statement; raises GW713 with the line for what cannot be compared."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    found: list[FeeMovement] = []
    try:
        _check_columns(list(rows.fieldnames or ()))
        for row in rows:
            if len(found) >= _MOST_LINES:
                detail = f"a statement has at most {_MOST_LINES} lines"
                raise GatewayError(STATEMENT_WRONG, detail, f"line {rows.line_num}")
            if None in row:
                raise GatewayError(STATEMENT_WRONG, "it has more cells than columns", f"line {rows.line_num}")
            found.append(_read_line({name: row[name] or "" for name in _COLUMNS}, rows.line_num))
    except csv.Error as error:
        # The number of the line that was read last; that of `rows` is of the last good one.
        where = f"line {rows.reader.line_num}"
        raise GatewayError(STATEMENT_WRONG, f"no CSV: {error}", where) from error
    return tuple(found)


def _check_columns(columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        raise GatewayError(STATEMENT_WRONG, "a column stands twice", "line 1")
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise GatewayError(STATEMENT_WRONG, f"there is no column {', '.join(missing)}", "line 1")


def _read_line(row: dict[str, str], line: int) -> FeeMovement:
    where = f"line {line}"
    if row["kind"] not in _KINDS:
        raise GatewayError(STATEMENT_WRONG, f"a kind is payment or refund, not {row['kind'][:40]!r}", where)
    for name in ("reference", "order"):
        if not (0 < len(row[name]) <= _LONGEST and row[name].isprintable()):
            raise GatewayError(STATEMENT_WRONG, f"{name} is empty or too long", where)
    try:
        money = read_money(row["amount"], row["currency"])
        on = date.fromisoformat(row["date"])
    except GatewayError as error:
        raise GatewayError(STATEMENT_WRONG, error.detail, where) from error
    except ValueError as error:
        raise GatewayError(STATEMENT_WRONG, f"{row['date'][:40]!r} is no day (2026-11-20)", where) from error
    return FeeMovement(row["kind"], row["reference"], row["order"], money, on, line)


def reconcile_statement(
    statement: Iterable[FeeMovement], recorded: Sequence[FeeMovement]
) -> tuple[StatementDifference, ...]:
    """Return what differs between a statement and what the hub has recorded for the same days.

    First what the lines of the statement lack, in their order, then what the statement lacks, then what
    was paid twice.
    """
    known: dict[tuple[str, str], FeeMovement] = {}
    again = []
    for one in recorded:
        if (one.kind, one.reference) in known:
            again.append(one)
        else:
            known[one.kind, one.reference] = one
    seen: set[tuple[str, str]] = set()
    found: list[StatementDifference] = []
    for line in statement:
        key = (line.kind, line.reference)
        if key in seen:
            found.append(_make_difference("listed twice", known.get(key), line))
            continue
        seen.add(key)
        found += _compare_line(known.get(key), line)
    found += [_make_difference("missing there", one, None) for key, one in known.items() if key not in seen]
    found += [_make_difference("recorded twice", one, None) for one in again]
    found += [_make_difference(one.reason, one, None) for one in recorded if one.reason]
    return tuple(found)


def _compare_line(here: FeeMovement | None, line: FeeMovement) -> Iterator[StatementDifference]:
    if here is None:
        yield _make_difference("missing here", None, line)
        return
    if here.order != line.order:
        yield _make_difference("different order", here, line)
    if here.money != line.money:
        yield _make_difference("different amount", here, line)


def _make_difference(what: str, here: FeeMovement | None, there: FeeMovement | None) -> StatementDifference:
    one = there or here
    assert one is not None
    return StatementDifference(
        what,
        one.kind,
        one.reference,
        one.order,
        None if here is None else here.money,
        None if there is None else there.money,
        0 if there is None else there.line,
    )
