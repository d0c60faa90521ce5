"""The settings of the payment provider, and of the fees that are due before forwarding."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Count, Duration, SettingsSection, Url

__all__ = ["PaymentSettings", "TariffSettings"]


class TariffSettings(SettingsSection):
    """The fee of one document, which is due before its application is forwarded."""

    amount: str = Field(
        pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$",
        description='The amount, in quotes, with the decimals of its currency: "30000" KRW, "12.50" EUR.',
    )
    currency: str = Field(pattern="^[A-Z]{3}$", description="The currency (ISO 4217).")
    days: Count | None = Field(
        None, description="Days in which it may be paid. If it is not set, there is no last day."
    )
    refundable: bool = Field(
        True, description="Whether it is given back when the application is cancelled before a decision."
    )


class PaymentSettings(SettingsSection):
    """The payment provider, at which applicants pay the fees of agencies."""

    endpoint: Url | None = Field(
        None, description="URL of the payment provider. Without it, fees are paid elsewhere."
    )
    secret: Secret | None = Field(
        None,
        description=(
            "The secret shared with the provider, which authenticates every message: 32 octets or more."
        ),
    )
    tolerance: Duration = Field(timedelta(minutes=5), description="How old a message of the provider may be.")
    time_out: Duration = Field(
        timedelta(seconds=30), description="Time that the provider may send nothing during a call."
    )
    tariff: dict[str, TariffSettings] = Field(
        {},
        max_length=1000,
        description=(
            "Fees that are due before forwarding, by document: its application is held until the fee is paid "
            "(Y17)."
        ),
    )

    @model_validator(mode="after")
    def _check_provider(self) -> PaymentSettings:
        if self.endpoint is not None and self.secret is None:
            raise ValueError("fees.endpoint needs fees.secret")
        if self.tariff and self.endpoint is None:
            raise ValueError("fees.tariff needs fees.endpoint: nobody could pay")
        return self
