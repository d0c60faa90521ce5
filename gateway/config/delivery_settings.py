"""The settings of deliveries, and of the agencies and customs that they are made to."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.value_types import Count, Duration, SettingsSection, Url

__all__ = ["AgencySettings", "CustomsSettings", "DeliverySettings"]


class DeliverySettings(SettingsSection):
    """How deliveries are attempted and retried."""

    workers: Count = Field(8, description="Deliveries that one process makes at once.")
    lease: Duration = Field(
        timedelta(seconds=120), description="How long a worker may be silent before another takes over."
    )
    crashes: Count = Field(
        3, description="Workers that may die over one delivery before it is put aside for the operator."
    )
    poll: Duration = Field(
        timedelta(milliseconds=50), description="How long an idle worker waits before it looks again."
    )
    first_retry: Duration = Field(
        timedelta(seconds=10), description="The wait after the first try; it doubles from there."
    )
    longest_retry: Duration = Field(timedelta(hours=1), description="The longest wait between two tries.")
    retries: int = Field(12, strict=True, ge=0, description="Tries after the first one.")
    expiry: Duration = Field(
        timedelta(days=3), description="How long a delivery is tried at all, unless it says so itself."
    )
    receipt: Duration = Field(
        timedelta(seconds=60), description="How long we wait for a receipt before we send again."
    )


class _PartnerSettings(SettingsSection):
    wsdl: str | None = Field(
        None, description="The WSDL among the wsdl folders, when it is not the template."
    )
    wsdl_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="The SHA-256 of the WSDL, for one of your own; of a shipped one the gateway knows it.",
    )
    endpoint: Url | None = Field(None, description="The URL that is called.")
    time_out: Duration = Field(
        timedelta(seconds=30),
        description="How long it may be silent while we call it; a whole call takes twice that at most.",
    )
    lane: Count = Field(4, description="Calls at once.")
    party: str | None = Field(None, description="Its party in the registry, when not named as here.")
    retries: int | None = Field(
        None, strict=True, ge=0, description="Tries after the first one, when not as [delivery] says."
    )
    first_retry: Duration | None = Field(
        None, description="The wait after the first try, when not as [delivery] says."
    )


class AgencySettings(_PartnerSettings):
    """How one agency is called."""

    channel: Literal["soap", "mailbox", "ebms2"] = Field(
        "soap", description="Called over SOAP, left to work in its mailbox, or sent ebMS messages."
    )
    contact: str = Field("", description="Whom to call when it does not answer.")

    @model_validator(mode="after")
    def _check_endpoint_given(self) -> AgencySettings:
        if self.channel == "soap" and self.endpoint is None:
            raise ValueError("an agency called over SOAP needs an endpoint")
        return self


class CustomsSettings(_PartnerSettings):
    """How customs is called; without an endpoint no calls to customs are made."""
