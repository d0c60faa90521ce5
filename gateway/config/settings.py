"""The settings as a whole: the sections, each under its name in the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.config.console_settings import ConsoleSettings
from gateway.config.delivery_settings import (
    AgencySettings,
    CustomsSettings,
    DeliverySettings,
    PayloadSettings,
    PaymentSettings,
    PullerSettings,
)
from gateway.config.hub_settings import DatabaseSettings, HubSettings, ShareSettings
from gateway.config.server_settings import ApiSettings, HttpSettings, LimitSettings, TlsSettings
from gateway.config.setting_values import AgencyCode, Duration, Location, SettingsSection
from gateway.config.trust_settings import (
    DecryptionKeySettings,
    FetchSettings,
    PkiSettings,
    RecognitionSettings,
    SourceName,
    TimeStampSettings,
)


class MappingSettings(SettingsSection):
    """Which mappings are put into force."""

    publishers: tuple[Location, ...] = ()
    """Certificates that may sign a bundle file of `gateway map pack`, as PEM files. A file with the signature
    of any other certificate is refused."""
    require_signature: bool = False
    """Whether only signed bundle files are put into force. Folders, archives and unsigned files are then
    refused; the mappings that came with the program are not."""


class CalendarSettings(SettingsSection):
    """The calendars of working days, and the terms of documents."""

    test_edition: bool = True
    """Whether calendars and terms that are marked as test editions count, such as those that are shipped. No
    authority has stated them."""


class NeedSettings(SettingsSection):
    """The rules of need, which say which documents goods need."""

    imports: Literal["warn", "refuse", "hold"] = "warn"
    """What an import gets that lacks a document which its goods need for certain: `warn` keeps a warning with
    the case, `refuse` refuses it with the list (GW508), `hold` holds it for `hold_time`: no agency hears
    of it before the missing applications are filed."""
    exports: Literal["warn", "refuse", "hold"] = "warn"
    """The same for an export: `warn`, `refuse` or `hold`."""
    hold_time: Duration = timedelta(days=3)
    """How long a case is held that lacks a document, in hours or days, as `72h` or `5d`. Then it is refused
    (GW508)."""
    test_edition: bool = True
    """Whether tables that are marked as test editions count, such as the one that is shipped. They are not
    the law of today."""

    @field_validator("hold_time")
    @classmethod
    def _check_hold_time(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=1) <= value <= timedelta(days=365):
            raise ValueError("a case may be held for a minute to 365 days")
        return value


class RetentionSettings(SettingsSection):
    """The data that `gateway retention purge` may remove; without a time it removes nothing."""

    octets: Duration | None = None
    """Time after the end of a case, or the arrival of a message in a mailbox, for which octets are kept, and
    at least the `PersistDuration` of the agreement. If it is not set, they are kept for ever."""
    drafts: Duration | None = None
    """Time after its last change for which a draft or a prepared answer of the console is kept. If it is not
    set, they are kept for ever."""
    repeats: Literal["acknowledge", "refuse"] = "acknowledge"
    """What the repeat of a message gets whose octets were removed: a new Acknowledgment, or GW321. It is not
    processed again."""


class Settings(SettingsSection):
    """All sections of the settings."""

    hub: HubSettings = HubSettings()
    """Identity and home folder of the gateway."""
    database: DatabaseSettings = DatabaseSettings()
    """The database."""
    http: HttpSettings = HttpSettings()
    """The HTTP server of the gateway."""
    limits: LimitSettings = LimitSettings()
    """Limits on the size and cost of a message."""
    pki: PkiSettings = PkiSettings()
    """Trust anchors, and the signing key of the gateway."""
    decryption: dict[str, DecryptionKeySettings] = Field({}, max_length=8)
    """Keys that decrypt payloads, each under a name. A message chooses the key by the certificate for which
    it was encrypted."""
    recognition: RecognitionSettings = RecognitionSettings()
    """Recognition of signers whose certificates do not lead to the gateway's own trust anchors."""
    time_stamps: TimeStampSettings = TimeStampSettings()
    """Time stamps over the evidence (RFC 3161)."""
    delivery: DeliverySettings = DeliverySettings()
    """The delivery queue and its retries."""
    puller: dict[str, PullerSettings] = Field({})
    """Parties that pull messages of AS4 with a name and a password, each under its name."""
    payloads: PayloadSettings = PayloadSettings()
    """Large payloads, which are kept beside the database."""
    retention: RetentionSettings = RetentionSettings()
    """How long octets of ended cases, and old drafts, are kept."""
    needs: NeedSettings = NeedSettings()
    """The rules of need: which documents the goods of a declaration need."""
    calendars: CalendarSettings = CalendarSettings()
    """The calendars of working days, and the terms of documents."""
    mappings: MappingSettings = MappingSettings()
    """Which mappings are put into force, and who publishes them."""
    console: ConsoleSettings = ConsoleSettings()
    """The console: pages for officers, traders and operators."""
    api: ApiSettings = ApiSettings()
    """The API: the interface for the software of traders and brokers."""
    share: ShareSettings = ShareSettings()
    """Folders with your own data files."""
    agency: dict[AgencyCode, AgencySettings] = Field({})
    """How the gateway calls the agency with this code."""
    customs: CustomsSettings = CustomsSettings()
    """How the gateway calls customs. Without an endpoint customs gets no calls."""
    fees: PaymentSettings = PaymentSettings()
    """The payment provider, and the fees that are due before forwarding."""
    fetch: dict[SourceName, FetchSettings] = Field({}, max_length=128)
    """Revocation lists, OCSP responses and trusted lists that are fetched on a schedule. Each source has a
    name."""
    tls: dict[str, TlsSettings] = Field({}, max_length=1024)
    """How the gateway calls a host over TLS, by its name or name:port. The name `*` stands for all other
    hosts."""

    @model_validator(mode="before")
    @classmethod
    def _add_missing_sections(cls, value: Any) -> Any:
        # A missing section is validated as an empty one, so that its defaults start at the home folder.
        empty: dict[str, Any] = {name: {} for name in cls.model_fields}
        return empty | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_logins(self) -> Settings:
        if "*" in self.tls and self.tls["*"].login is not None:
            raise ValueError("tls.* has no login, because a password is for one host")
        return self

    @property
    def home_folder(self) -> Path:
        """Return the home folder."""
        return self.hub.home
