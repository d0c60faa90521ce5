"""The settings of deliveries, pulls, large payloads and payments, and of agencies and customs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.setting_values import (
    Count,
    CpuAffinity,
    Duration,
    Location,
    Secret,
    SettingsSection,
    Size,
    Url,
)
from gateway.config.trust_settings import AgencyKeySettings


class BucketSettings(SettingsSection):
    """The bucket that keeps large payloads; without a bucket they are in the folder."""

    bucket: str = Field("", pattern=r"^([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])?$")
    """Bucket of large payloads. If it is not set, they are in `payloads.folder`."""
    endpoint: Url | None = None
    """URL of the server, without the bucket."""
    region: str = Field("us-east-1", pattern=r"^[A-Za-z0-9\-]{1,64}$")
    """Region that the server names."""
    prefix: str = Field("", pattern=r"^([A-Za-z0-9_\-][A-Za-z0-9._\-]*/)*$", max_length=200)
    """What the names of all objects begin with; it ends with `/`."""
    access_key: Secret | None = None
    """The name of the key (access key)."""
    secret_key: Secret | None = None
    """The secret of the key (secret access key)."""
    path_style: bool = True
    """Whether the bucket is in the path of a URL; otherwise in the name of its host."""
    ca: Location | None = None
    """Authorities (PEM) of the server's TLS certificate. Without it: those that come with the client."""
    time_out: Duration = timedelta(seconds=10)
    """Time that the server may be silent during a request. A request is made at most three times."""

    @model_validator(mode="after")
    def _check_access(self) -> BucketSettings:
        if self.bucket and (self.endpoint is None or self.access_key is None or self.secret_key is None):
            raise ValueError("a bucket needs endpoint, access_key and secret_key")
        if self.time_out < timedelta(seconds=1):
            raise ValueError("a server gets at least 1s to answer")
        return self


class PayloadSettings(SettingsSection):
    """Where the octets of large payloads are kept, each under its SHA-256: in files, or in a bucket."""

    folder: Location = Path("payloads")
    """The folder of large payloads. All processes and machines of the gateway use the same one. With
    `payloads.s3.bucket` it has only what arrives, and each machine has its own."""
    # Above it a file costs less than the pages of a database, which are written twice and copied by backups.
    inline: Size = 1024**2
    """Octets up to which a payload or a message is kept in the database."""
    # A message is received before its sender is known.
    arriving: Size = 4 * 1024**3
    """Octets of large messages that one process receives at a time, in files. One address may use at most a
    quarter, all unknown addresses half, but always one message of `limits.body`."""
    s3: BucketSettings = BucketSettings()
    """A bucket for large payloads, on a server that speaks S3."""


class DeliverySettings(SettingsSection):
    """How deliveries are attempted and retried."""

    processes: Count = 1
    """Number of processes that deliver."""
    cpu_affinity: CpuAffinity = "auto"
    workers: Count = 8
    """Number of deliveries that one process makes at the same time."""
    lease: Duration = timedelta(seconds=120)
    """Time after which the delivery of a worker that does not renew its lease is given to another worker."""
    crashes: Count = 3
    """Number of workers that may crash during one delivery before the delivery is put aside for the
    operator."""
    steady: Duration = timedelta(minutes=10)
    """Time that a worker must have run before it attempts a delivery with one crash left. So a hub that
    crashes for another reason puts no delivery aside."""
    poll: Duration = timedelta(milliseconds=50)
    """Interval at which an idle worker reads the queue."""
    first_retry: Duration = timedelta(seconds=10)
    """Wait after the first attempt. It doubles after each further attempt."""
    longest_retry: Duration = timedelta(hours=1)
    """Longest wait between two attempts."""
    retries: int = Field(12, strict=True, ge=0)
    """Number of attempts after the first one."""
    pull_every: Duration = timedelta(minutes=1)
    """Interval at which messages are pulled from partners, where a P-Mode of AS4 says so."""
    alive_folder: Location | None = None
    """Folder in which each delivery process touches a file every five seconds while it works, also while the
    database is away; the file is named by the number of the process and locked as long as it lives. A probe
    sees by its age a process that hangs. Each machine or container has a folder of its own. If it is not set,
    there is no file."""


class _PartnerSettings(SettingsSection):
    wsdl: str | None = None
    """File name of the WSDL in the wsdl folders. If it is not set, the template is used."""
    wsdl_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the WSDL. It is needed for a WSDL that is not shipped with the gateway."""
    endpoint: Url | None = None
    """URL of the service."""
    time_out: Duration = timedelta(seconds=30)
    """Time that the service may send nothing during a call. A complete call takes at most twice this time."""
    lane: Count = 4
    """Number of calls at the same time."""
    party: str | None = None
    """Id of its party in the register. If it is not set, the name of this section is used."""
    retries: int | None = Field(None, strict=True, ge=0)
    """Number of attempts after the first one. If it is not set, the value in [delivery] is used."""
    first_retry: Duration | None = None
    """Wait after the first attempt. If it is not set, the value in [delivery] is used."""

    def get_party(self, section: str) -> str:
        """Return the id of its party in the register; `section` is the name of this section."""
        return self.party or section


class AgencySettings(_PartnerSettings):
    """How one agency is called."""

    channel: Literal["soap", "mailbox", "ebms2"] = "soap"
    """How the agency gets requests: by SOAP calls (`soap`), in its mailbox (`mailbox`), or as ebMS messages
    (`ebms2`)."""
    console: bool = False
    """Whether the agency has no system of its own: its officers decide at the console. Such an agency has no
    endpoint, and needs a key in `[agency.<code>.pki]`."""
    four_eyes: bool = False
    """Whether a decision, a correction or a revocation at the console needs two officers: one proposes it,
    another one approves it. A supervisor of the operator then approves who gets access to the agency."""
    confirm: tuple[Literal["passkey", "certificate", "session"], ...] = Field(
        ("passkey", "certificate"), min_length=1
    )
    """How an officer may confirm a decision at the console: with a passkey, with a client certificate, or by
    being signed in (`session`)."""
    payment_notices: bool = False
    """Whether the agency is told which fees were paid (operation `NotifyPayment`). Its WSDL must have the
    operation."""
    pki: AgencyKeySettings = AgencyKeySettings()
    """The key of an agency that decides at the console. It signs the acts of the agency's officers there."""

    @model_validator(mode="after")
    def _check_channel(self) -> AgencySettings:
        """Raise ValueError unless `endpoint`, `console`, `channel` and the keys under `pki` fit together."""
        if self.console and self.endpoint is not None:
            raise ValueError("an agency with console = true has no endpoint")
        if self.console and not self.pki.names_key:
            raise ValueError("an agency with console = true needs signing_key or token under pki")
        if self.channel == "soap" and self.endpoint is None and not self.console:
            raise ValueError("an agency with the channel soap needs an endpoint or console = true")
        return self


class CustomsSettings(_PartnerSettings):
    """How customs is called; without an endpoint no calls to customs are made."""


class PullerSettings(SettingsSection):
    """The name and password by which a party identifies itself when it pulls (WSS UsernameToken)."""

    name: str | None = Field(None, min_length=1, max_length=255)
    """Name in its UsernameToken. If it is not set, the name of this section is used."""
    password: Secret | None = None
    """Its password, of at least 16 octets. It is required."""

    @model_validator(mode="after")
    def _check_password(self) -> PullerSettings:
        if self.password is None:
            raise ValueError("a party that pulls with a name needs a password")
        return self


class TariffSettings(SettingsSection):
    """The fee of one document, which is due before its application is forwarded."""

    amount: str = Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$")
    """The amount, in quotes, with the decimals of its currency: "30000" KRW, "12.50" EUR."""
    currency: str = Field(pattern="^[A-Z]{3}$")
    """The currency (ISO 4217)."""
    days: Count | None = Field(None, le=3660)
    """Days in which it may be paid, at most 3660. If it is not set, there is no last day."""
    refundable: bool = True
    """Whether it is given back when the application is cancelled before a decision."""


class PaymentSettings(SettingsSection):
    """The payment provider, at which applicants pay the fees of agencies."""

    endpoint: Url | None = None
    """URL of the payment provider. Without it, fees are paid elsewhere."""
    secret: Secret | None = None
    """The secret shared with the provider, which authenticates every message: 32 octets or more."""
    tolerance: Duration = timedelta(minutes=5)
    """How old a message of the provider may be."""
    time_out: Duration = timedelta(seconds=30)
    """Time that the provider may send nothing during a call."""
    tariff: dict[str, TariffSettings] = Field({}, max_length=1000)
    """Fees that are due before forwarding, by document: its application is held until the fee is paid
    (Y17)."""

    @model_validator(mode="after")
    def _check_provider(self) -> PaymentSettings:
        if self.endpoint is not None and self.secret is None:
            raise ValueError("fees.endpoint needs fees.secret")
        if self.tariff and self.endpoint is None:
            raise ValueError("fees.tariff needs fees.endpoint: nobody could pay")
        return self
