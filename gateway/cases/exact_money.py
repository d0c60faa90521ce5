"""Exact amounts of money: a decimal number and a currency, with no more digits than the currency has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.errors import FEE_WRONG, GatewayError
from gateway.wire import CURRENCY_DECIMALS

__all__ = ["Money", "read_money"]

_AMOUNT: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,4})?", re.ASCII)


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


def read_money(amount: str, currency: str, where: str = "Amount") -> Money:
    """Return an amount above zero, in the digits of its currency.

    Raises GW711 for an unknown currency, for an amount with more decimals than the currency has (also
    when they are zeros), and for zero.
    """
    decimals = CURRENCY_DECIMALS.get(currency)
    if decimals is None:
        raise GatewayError(FEE_WRONG, f"{currency[:10]!r} is no currency of ISO 4217", where)
    if not _AMOUNT.fullmatch(amount):
        raise GatewayError(FEE_WRONG, f"{amount[:30]!r} is no amount of money", where)
    said = Decimal(amount)
    if len(amount.partition(".")[2]) > decimals:
        detail = f"{amount} {currency} has more decimals than the {decimals} of {currency}"
        raise GatewayError(FEE_WRONG, detail, where)
    if not said:
        raise GatewayError(FEE_WRONG, f"{amount} {currency} is not above zero", where)
    return Money(said.quantize(Decimal(1).scaleb(-decimals)), currency)
