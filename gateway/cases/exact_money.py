"""Exact amounts of money: a decimal number and a currency, with no more digits than the currency has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.errors import FEE_WRONG, GatewayError

__all__ = ["Money", "read_money"]

_AMOUNT: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,4})?", re.ASCII)
#: ISO 4217: currencies by the number of their decimals. Metals, test codes and units of account are none.
_CURRENCIES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
        "CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD "
        "HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK "
        "MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD "
        "RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH "
        "USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS: Final = {code: number for number, codes in _CURRENCIES.items() for code in codes.split()}


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
    decimals = _DECIMALS.get(currency)
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
