"""Which fees are paid through the hub, and which of them before an application is forwarded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gateway.cases import Money


@dataclass(frozen=True, slots=True)
class Tariff:
    """The fee of a document that is due before its application is forwarded (Y17).

    `days` is how long it may be paid; None: without a last day. `refundable` says that it is given back
    when the application is cancelled before a decision.
    """

    money: Money
    days: int | None = None
    refundable: bool = True


@dataclass(frozen=True, slots=True)
class PaymentPolicy:
    """Whether a payment provider is configured, and the tariffs by document.

    `secret` authenticates the provider's calls; one may be at most `tolerance` old.
    """

    has_provider: bool = False
    tariffs: Mapping[str, Tariff] = field(default_factory=dict)
    secret: bytes = field(default=b"", repr=False)
    tolerance: timedelta = timedelta(minutes=5)


#: What holds where no provider is configured: fees are paid elsewhere.
NO_PAYMENTS: Final[PaymentPolicy] = PaymentPolicy()
