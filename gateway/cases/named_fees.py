"""Fees of agencies as values: what a notice says of a fee, and what the payment provider says of money.

Which status code levies, cancels, confirms or refunds a fee stands in the table of status codes
(``fee_step`` and ``fee_kind``), not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from gateway.cases.exact_money import Money, read_money
from gateway.errors import FEE_WRONG, PAYMENT_REFUSED, GatewayError

__all__ = [
    "FeeStep",
    "NamedFee",
    "ProviderEvent",
    "check_named_fee",
    "choose_payment_effect",
    "read_named_fee",
]

#: KCS: the payment notice number of a fee is an..19.
_NOTICE_NUMBER: Final = re.compile(r"[!-~]{1,19}", re.ASCII)


class FeeStep(StrEnum):
    """What a status code says of a fee."""

    AWAIT = "await"  #: The hub holds the application until the fee is paid (Y17).
    LEVY = "levy"
    CANCEL = "cancel"
    PAY = "pay"
    CONFIRM = "confirm"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class NamedFee:
    """What a notice of an agency says of a fee, beside its status code.

    `money` is what is due, or what is given back. `payment_notice` is the agency's number of it.
    `refundable` says that it is given back when the application is cancelled before a decision.
    """

    money: Money | None = None
    due: date | None = None
    payment_notice: str = ""
    refundable: bool = False


def read_named_fee(
    money: tuple[str, str], due: date | None, payment_notice: str, *, refundable: bool
) -> NamedFee:
    """Return the fee that a notice names; `money` is amount and currency, empty where they are not said.

    Raises GW711 for one without the other, and for what is no exact amount.
    """
    amount, currency = money
    if bool(amount) != bool(currency):
        raise GatewayError(FEE_WRONG, "amount and currency stand together", "Fee")
    return NamedFee(read_money(amount, currency, "Fee") if amount else None, due, payment_notice, refundable)


def check_named_fee(fee: NamedFee | None, step: str, where: str = "Fee") -> None:
    """Raise GW711 for a fee beside a code of no fee, and for a payment notice number of another form."""
    if fee is None:
        return
    if step not in ("levy", "cancel", "confirm", "refund"):
        raise GatewayError(FEE_WRONG, "the status code of the notice is not about a fee", where)
    if fee.payment_notice and not _NOTICE_NUMBER.fullmatch(fee.payment_notice):
        detail = "a payment notice number has 1 to 19 visible ASCII characters"
        raise GatewayError(FEE_WRONG, detail, f"{where}/PaymentNotice")


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of the payment provider: an amount paid for an order, or given back of a payment.

    `order` is the number of the fee. `reference` is the provider's own number of the payment or of the
    refund; a second event with the same number is a repeat. `refund` is our number of the refund.
    """

    kind: str
    order: str
    reference: str
    money: Money
    at: datetime
    refund: str = ""


def choose_payment_effect(state: str, due: Money | None, paid: Money) -> str:
    """Return what a new payment for a fee in this state is: ``counted``, ``late`` or ``excess``.

    A payment that is not counted is given back. Raises GW712 for another amount or currency than due.
    """
    if due is None or (paid.amount, paid.currency) != (due.amount, due.currency):
        wanted = "nothing" if due is None else str(due)
        raise GatewayError(PAYMENT_REFUSED, f"{paid} was paid and {wanted} is due", "amount")
    if state in ("LEVIED", "ORDERED"):
        return "counted"
    return "late" if state == "CANCELLED" else "excess"
