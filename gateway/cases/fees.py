"""The fees of a case: exact money, the fee in a notice, and which payment belongs to which fee."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.errors import FEE_WRONG, PAYMENT_REFUSED, STATEMENT_WRONG, GatewayError
from gateway.notice_order import NumberOrder, order_number
from gateway.wire import CURRENCY_DECIMALS, parse_day

_COMPACT_DAY: Final = re.compile(r"\A([0-9]{4})([0-9]{2})([0-9]{2})\Z")
_AMOUNT_PATTERN: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in the digits of its currency: 11000 KRW, 12.50 EUR."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        """Return amount and currency, as people write them."""
        return f"{self.amount:f} {self.currency}"

    @property
    def digits(self) -> str:
        """The amount alone, in plain digits."""
        return f"{self.amount:f}"


def read_money(amount: str, currency: str, location: str = "Amount") -> Money:
    """Return an amount above zero, in the digits of its currency.

    Raises GW711 for an unknown currency, for an amount with more decimals than the currency has (also
    when they are zeros), and for zero.
    """
    decimals = CURRENCY_DECIMALS.get(currency)
    if decimals is None:
        raise GatewayError(FEE_WRONG, f"{currency[:10]!r} is no currency of ISO 4217", location)
    if not _AMOUNT_PATTERN.fullmatch(amount):
        raise GatewayError(FEE_WRONG, f"{amount[:30]!r} is no amount of money", location)
    parsed = Decimal(amount)
    if len(amount.partition(".")[2]) > decimals:
        detail = f"{amount} {currency} has more decimals than the {decimals} of {currency}"
        raise GatewayError(FEE_WRONG, detail, location)
    if not parsed:
        raise GatewayError(FEE_WRONG, f"{amount} {currency} is not above zero", location)
    return Money(parsed.quantize(Decimal(1).scaleb(-decimals)), currency)


#: KCS: the payment notice number of a fee is an..19.
_PAYMENT_NOTICE_NUMBER: Final = re.compile(r"[!-~]{1,19}", re.ASCII)

#: The label of a refunded amount, as in agencies' own documents (`mappings/notices.yaml`).
_REFUND_LABEL: Final = "Refund (환불(예정)금액)"


class FeeStep(StrEnum):
    """The effect of a status code on a fee."""

    AWAIT = "await"  #: The hub holds the application until the fee is paid (Y17).
    LEVY = "levy"
    CANCEL = "cancel"
    PAY = "pay"
    CONFIRM = "confirm"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class NamedFee:
    """The statement of a notice of an agency about a fee, beside its status code.

    `money` is the amount that is due, or that is given back. `payment_notice` is the agency's number of the
    fee. `refundable`: the fee is given back when the application is cancelled before a decision.
    """

    money: Money | None = None
    due: date | None = None
    payment_notice: str = ""
    refundable: bool = False


def compose_refund_text(text: str, fee: NamedFee | None) -> str:
    """Return the text of a notice of a refund, with the amount that is given back.

    The amount is not added to a text that states it already, as the text of an agency's own document does.
    """
    if fee is None or fee.money is None:
        return text
    line = f"{_REFUND_LABEL}: {fee.money}"
    return text if line in text.splitlines() else f"{line}\n{text}".rstrip()


def read_named_fee(
    amount: str, currency: str, due: date | None, payment_notice: str, *, refundable: bool
) -> NamedFee:
    """Return the fee that a notice names; `amount` and `currency` are empty where it states no sum.

    Raises GW711 for one without the other, and for an amount that is not exact.
    """
    if bool(amount) != bool(currency):
        raise GatewayError(FEE_WRONG, "amount and currency stand together", "Fee")
    return NamedFee(read_money(amount, currency, "Fee") if amount else None, due, payment_notice, refundable)


def check_named_fee(fee: NamedFee | None, fee_step: str, location: str = "Fee") -> None:
    """Raise GW711 if `fee_step` is not a step of a fee, or if the payment notice number has a wrong form.

    `fee_step` is the fee step of the status code of the notice. Without a fee nothing is checked.
    """
    if fee is None:
        return
    if fee_step not in ("levy", "cancel", "confirm", "refund"):
        raise GatewayError(FEE_WRONG, "the status code of the notice is not about a fee", location)
    if fee.payment_notice and not _PAYMENT_NOTICE_NUMBER.fullmatch(fee.payment_notice):
        detail = "a payment notice number must have 1 to 19 visible ASCII characters"
        raise GatewayError(FEE_WRONG, detail, f"{location}/PaymentNotice")


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of the payment provider: an amount paid for an order, or given back of a payment.

    `order` is the number of the fee. `reference` is the provider's own number of the payment or of the
    refund; a second event with the same number is a repeat. `refund` is the hub's number of the refund.
    """

    kind: str
    order: str
    reference: str
    money: Money
    at: datetime
    refund: str = ""


def choose_payment_effect(fee_state: str, due_amount: Money | None, paid_amount: Money) -> str:
    """Return the effect of a new payment for a fee in this state: ``counted``, ``late`` or ``excess``.

    A payment that is not counted is given back. Raises GW712 for another amount or currency than due.
    """
    if due_amount is None or (paid_amount.amount, paid_amount.currency) != (
        due_amount.amount,
        due_amount.currency,
    ):
        due_text = "nothing" if due_amount is None else str(due_amount)
        raise GatewayError(PAYMENT_REFUSED, f"{paid_amount} was paid and {due_text} is due", "amount")
    if fee_state in ("LEVIED", "ORDERED"):
        return "counted"
    return "late" if fee_state == "CANCELLED" else "excess"


class FeeNoticeEvent(NamedTuple):
    """The part of a notice that is about a fee; `payment_notice` is the payment notice number, or empty."""

    number: str
    issued_at: datetime
    fee_step: str
    payment_notice: str

    @property
    def rank(self) -> tuple[datetime, bool, NumberOrder]:
        """Return the key that orders statements about a fee; at one instant a levy comes before its end."""
        return self.issued_at, self.fee_step != FeeStep.LEVY, order_number(self.number)


def match_fee_ends(fee_events: Iterable[FeeNoticeEvent]) -> Mapping[str, FeeNoticeEvent]:
    """Return the notice that has ended each fee, by the number of its levy; the other fees are due.

    `fee_events` are levies, cancellations and confirmations of one kind of fee.
    """
    open_levies: list[FeeNoticeEvent] = []
    end_events: dict[str, FeeNoticeEvent] = {}
    for fee_event in sorted(fee_events, key=lambda fee_event: fee_event.rank):
        if fee_event.fee_step == FeeStep.LEVY:
            open_levies.append(fee_event)
            continue
        matching_levies = [
            levy for levy in open_levies if fee_event.payment_notice in ("", levy.payment_notice)
        ]
        if matching_levies:
            open_levies.remove(matching_levies[-1])
            end_events[matching_levies[-1].number] = fee_event
    return end_events


_COLUMNS: Final = ("date", "kind", "reference", "order", "amount", "currency")
_MOVEMENT_KINDS: Final = ("payment", "refund")
_MAX_TEXT_LENGTH: Final = 200
_MAX_LINES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FeeMovement:
    """A payment or refund: in a statement (with its line), or as the hub has it (line 0).

    `reason` is why the hub did not count a payment, and gives it back.
    """

    kind: str
    reference: str
    order: str
    money: Money
    day: date
    line: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StatementDifference:
    """One difference: ``missing here``, ``missing there``, ``different amount``, ``different order``.

    ``listed twice`` is a reference that the statement has more than once, ``recorded twice`` a reference
    that the hub has recorded for two movements. For a payment that the hub gives back the difference is the
    reason, such as ``paid twice``.
    """

    difference: str
    kind: str
    reference: str
    order: str
    recorded_amount: Money | None
    stated_amount: Money | None
    line: int


def read_statement(statement_text: str) -> tuple[FeeMovement, ...]:
    """Return the payments and refunds of a statement (CSV); raise GW713 with the number of a wrong line."""
    rows = csv.DictReader(io.StringIO(statement_text.removeprefix("\ufeff")), strict=True)
    movements: list[FeeMovement] = []
    try:
        _check_columns(list(rows.fieldnames or ()))
        for row in rows:
            if len(movements) >= _MAX_LINES:
                detail = f"a statement may have at most {_MAX_LINES} lines"
                raise GatewayError(STATEMENT_WRONG, detail, f"line {rows.line_num}")
            if None in row:
                raise GatewayError(STATEMENT_WRONG, "it has more cells than columns", f"line {rows.line_num}")
            movements.append(_read_line({name: row[name] or "" for name in _COLUMNS}, rows.line_num))
    except csv.Error as error:
        # The number of the line that was read last; that of `rows` is of the last good one.
        location = f"line {rows.reader.line_num}"
        raise GatewayError(STATEMENT_WRONG, f"no CSV: {error}", location) from error
    return tuple(movements)


def _check_columns(columns: Sequence[str]) -> None:
    """Raise GW713 for a column of a bank statement that is repeated or missing."""
    repeated_column = next((name for name in columns if columns.count(name) > 1), None)
    if repeated_column is not None:
        raise GatewayError(STATEMENT_WRONG, f"the column {repeated_column[:40]!r} stands twice", "line 1")
    missing_columns = [name for name in _COLUMNS if name not in columns]
    if missing_columns:
        raise GatewayError(STATEMENT_WRONG, f"there is no column {', '.join(missing_columns)}", "line 1")


def _read_line(row: dict[str, str], line_number: int) -> FeeMovement:
    """Return the payment or refund in one line of a bank statement; raise GW713 with the line number."""
    location = f"line {line_number}"
    if row["kind"] not in _MOVEMENT_KINDS:
        raise GatewayError(
            STATEMENT_WRONG, f"a kind is payment or refund, not {row['kind'][:40]!r}", location
        )
    for column in ("reference", "order"):
        if not (0 < len(row[column]) <= _MAX_TEXT_LENGTH and row[column].isprintable()):
            raise GatewayError(STATEMENT_WRONG, f"{column} is empty or too long", location)
    try:
        money = read_money(row["amount"], row["currency"])
    except GatewayError as error:
        raise GatewayError(STATEMENT_WRONG, error.detail, location) from error
    # Banks write 20261120, too.
    day = parse_day(_COMPACT_DAY.sub(r"\1-\2-\3", row["date"]))
    if day is None:
        raise GatewayError(STATEMENT_WRONG, f"{row['date'][:40]!r} is no day (2026-11-20)", location)
    return FeeMovement(row["kind"], row["reference"], row["order"], money, day, line_number)


def reconcile_statement(
    statement_lines: Iterable[FeeMovement], recorded_movements: Sequence[FeeMovement]
) -> tuple[StatementDifference, ...]:
    """Return the differences between a statement and the movements that the hub recorded for the same days.

    First come the differences of the lines of the statement, in their order, then the movements that the
    statement lacks, then those that are recorded twice, then the payments that the hub gives back.
    """
    recorded_by_reference: dict[tuple[str, str], FeeMovement] = {}
    repeated_movements = []
    for recorded_movement in recorded_movements:
        if (recorded_movement.kind, recorded_movement.reference) in recorded_by_reference:
            repeated_movements.append(recorded_movement)
        else:
            recorded_by_reference[recorded_movement.kind, recorded_movement.reference] = recorded_movement
    seen_keys: set[tuple[str, str]] = set()
    differences: list[StatementDifference] = []
    for statement_line in statement_lines:
        movement_key = (statement_line.kind, statement_line.reference)
        if movement_key in seen_keys:
            differences.append(
                _make_difference("listed twice", recorded_by_reference.get(movement_key), statement_line)
            )
            continue
        seen_keys.add(movement_key)
        differences += _compare_line(recorded_by_reference.get(movement_key), statement_line)
    differences += [
        _make_difference("missing there", movement, None)
        for movement_key, movement in recorded_by_reference.items()
        if movement_key not in seen_keys
    ]
    differences += [_make_difference("recorded twice", movement, None) for movement in repeated_movements]
    differences += [
        _make_difference(movement.reason, movement, None)
        for movement in recorded_movements
        if movement.reason
    ]
    return tuple(differences)


def _compare_line(
    recorded_movement: FeeMovement | None, statement_line: FeeMovement
) -> Iterator[StatementDifference]:
    """Yield the differences between a line of a bank statement and the recorded movement.

    `recorded_movement` is None if the gateway has no movement with the reference of the line.
    """
    if recorded_movement is None:
        yield _make_difference("missing here", None, statement_line)
        return
    if recorded_movement.order != statement_line.order:
        yield _make_difference("different order", recorded_movement, statement_line)
    if recorded_movement.money != statement_line.money:
        yield _make_difference("different amount", recorded_movement, statement_line)


def _make_difference(
    difference: str, recorded_movement: FeeMovement | None, statement_line: FeeMovement | None
) -> StatementDifference:
    """Return a difference with the money of both sides; it is None for a side that is None."""
    movement = statement_line or recorded_movement
    assert movement is not None
    return StatementDifference(
        difference,
        movement.kind,
        movement.reference,
        movement.order,
        None if recorded_movement is None else recorded_movement.money,
        None if statement_line is None else statement_line.money,
        0 if statement_line is None else statement_line.line,
    )
