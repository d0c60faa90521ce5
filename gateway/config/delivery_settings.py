"""The settings of deliveries, and of the agencies and customs that they are made to."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.pki import AgencyKeySettings
from gateway.config.value_types import Count, CpuAffinity, Duration, SettingsSection, Url

__all__ = ["AgencySettings", "CustomsSettings", "DeliverySettings"]


class DeliverySettings(SettingsSection):
    """How deliveries are attempted and retried."""

    processes: Count = Field(1, description="Number of processes that deliver.")
    cpu_affinity: CpuAffinity = "auto"
    workers: Count = Field(8, description="Number of deliveries that one process makes at the same time.")
    lease: Duration = Field(
        timedelta(seconds=120),
        description=(
            "Time after which the delivery of a worker that does not renew its lease is given to another "
            "worker."
        ),
    )
    crashes: Count = Field(
        3,
        description=(
            "Number of workers that may crash during one delivery before the delivery is put aside for "
            "the operator."
        ),
    )
    poll: Duration = Field(
        timedelta(milliseconds=50), description="Interval at which an idle worker reads the queue."
    )
    first_retry: Duration = Field(
        timedelta(seconds=10),
        description="Wait after the first attempt. It doubles after each further attempt.",
    )
    longest_retry: Duration = Field(timedelta(hours=1), description="Longest wait between two attempts.")
    retries: int = Field(12, strict=True, ge=0, description="Number of attempts after the first one.")
    expiry: Duration = Field(
        timedelta(days=3),
        description=(
            "Time after which a delivery is not attempted again, unless the delivery has its own limit."
        ),
    )
    pull_every: Duration = Field(
        timedelta(minutes=1),
        description="Interval at which messages are pulled from partners, where a P-Mode of AS4 says so.",
    )
    receipt: Duration = Field(
        timedelta(seconds=60), description="Time to wait for a receipt before the message is sent again."
    )


class _PartnerSettings(SettingsSection):
    wsdl: str | None = Field(
        None,
        description="File name of the WSDL in the wsdl folders. If it is not set, the template is used.",
    )
    wsdl_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the WSDL. It is needed for a WSDL that is not shipped with the gateway.",
    )
    endpoint: Url | None = Field(None, description="URL of the service.")
    time_out: Duration = Field(
        timedelta(seconds=30),
        description=(
            "Time that the service may send nothing during a call. A complete call takes at most twice "
            "this time."
        ),
    )
    lane: Count = Field(4, description="Number of calls at the same time.")
    party: str | None = Field(
        None,
        description="Id of its party in the register. If it is not set, the name of this section is used.",
    )
    retries: int | None = Field(
        None,
        strict=True,
        ge=0,
        description=(
            "Number of attempts after the first one. If it is not set, the value in [delivery] is used."
        ),
    )
    first_retry: Duration | None = Field(
        None, description="Wait after the first attempt. If it is not set, the value in [delivery] is used."
    )


class AgencySettings(_PartnerSettings):
    """How one agency is called."""

    channel: Literal["soap", "mailbox", "ebms2"] = Field(
        "soap",
        description=(
            "How the agency gets requests: by SOAP calls (`soap`), in its mailbox (`mailbox`), or as ebMS "
            "messages (`ebms2`)."
        ),
    )
    contact: str = Field(
        "", description="Contact of the agency for the operator, for example a telephone number."
    )

    console: bool = Field(
        False,
        description=(
            "Whether the agency has no system of its own: its officers decide at the console. Such an "
            "agency has no endpoint, and needs a key in `[agency.<code>.pki]`."
        ),
    )
    four_eyes: bool = Field(
        False,
        description=(
            "Whether a decision, a correction or a revocation at the console needs two officers: one "
            "proposes it, another one approves it."
        ),
    )
    confirm: tuple[Literal["passkey", "certificate", "session"], ...] = Field(
        ("passkey", "certificate"),
        min_length=1,
        description=(
            "How an officer may confirm a decision at the console: with a passkey, with a client "
            "certificate, or by being signed in (`session`)."
        ),
    )
    payment_notices: bool = Field(
        False,
        description=(
            "Whether the agency is told which fees were paid (operation `NotifyPayment`). Its WSDL must have "
            "the operation."
        ),
    )
    pki: AgencyKeySettings = Field(
        AgencyKeySettings(), description="The key of an agency that decides at the console."
    )

    @model_validator(mode="after")
    def _check_channel(self) -> AgencySettings:
        if self.console and self.endpoint is not None:
            raise ValueError("an agency with console = true has no endpoint")
        if self.console and not self.pki.names_key:
            raise ValueError("an agency with console = true needs signing_key or token under pki")
        if self.channel == "soap" and self.endpoint is None and not self.console:
            raise ValueError("an agency with the channel soap needs an endpoint or console = true")
        return self


class CustomsSettings(_PartnerSettings):
    """How customs is called; without an endpoint no calls to customs are made."""
