"""The settings as a whole: the sections, each under its name in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gateway.config.api_settings import ApiSettings
from gateway.config.calendar_settings import CalendarSettings
from gateway.config.console_settings import ConsoleSettings
from gateway.config.decryption_settings import DecryptionKeySettings
from gateway.config.delivery_settings import AgencySettings, CustomsSettings, DeliverySettings
from gateway.config.fetch_sources import FetchSettings, SourceName
from gateway.config.http import HttpSettings
from gateway.config.hub_settings import DatabaseSettings, HubSettings, ShareSettings
from gateway.config.limits import LimitSettings
from gateway.config.mapping_settings import MappingSettings
from gateway.config.need_settings import NeedSettings
from gateway.config.payload_settings import PayloadSettings
from gateway.config.payment_settings import PaymentSettings
from gateway.config.pki import PkiSettings
from gateway.config.pull_settings import PullerSettings
from gateway.config.recognition_settings import RecognitionSettings
from gateway.config.retention_settings import RetentionSettings
from gateway.config.time_stamps import TimeStampSettings
from gateway.config.tls import TlsSettings
from gateway.config.value_types import SettingsSection

__all__ = ["Settings"]


class Settings(SettingsSection):
    """All sections of the settings."""

    hub: HubSettings = Field(HubSettings(), description="Identity and home folder of the gateway.")
    database: DatabaseSettings = Field(DatabaseSettings(), description="The database.")
    http: HttpSettings = Field(HttpSettings(), description="The HTTP server of the gateway.")
    limits: LimitSettings = Field(LimitSettings(), description="Limits on the size and cost of a message.")
    pki: PkiSettings = Field(PkiSettings(), description="Trust anchors, and the signing key of the gateway.")
    decryption: dict[str, DecryptionKeySettings] = Field(
        {},
        max_length=8,
        description=(
            "Keys that decrypt payloads, each under a name. A message chooses the key by the certificate "
            "for which it was encrypted."
        ),
    )
    recognition: RecognitionSettings = Field(
        RecognitionSettings(),
        description=(
            "Recognition of signers whose certificates do not lead to the gateway's own trust anchors."
        ),
    )
    time_stamps: TimeStampSettings = Field(
        TimeStampSettings(), description="Time stamps over the evidence (RFC 3161)."
    )
    delivery: DeliverySettings = Field(DeliverySettings(), description="The delivery queue and its retries.")
    puller: dict[str, PullerSettings] = Field(
        {},
        description="Parties that pull messages of AS4 with a name and a password, each under its name.",
    )
    payloads: PayloadSettings = Field(
        PayloadSettings(), description="Large payloads, which are kept beside the database."
    )
    retention: RetentionSettings = Field(
        RetentionSettings(), description="How long octets of ended cases, and old drafts, are kept."
    )
    needs: NeedSettings = Field(
        NeedSettings(), description="The rules of need: which documents the goods of a declaration need."
    )
    calendars: CalendarSettings = Field(
        CalendarSettings(), description="The calendars of working days, and the terms of documents."
    )
    mappings: MappingSettings = Field(
        MappingSettings(), description="Which mappings are put into force, and who publishes them."
    )
    console: ConsoleSettings = Field(
        ConsoleSettings(), description="The console: pages for officers, traders and operators."
    )
    api: ApiSettings = Field(
        ApiSettings(), description="The API: the interface for the software of traders and brokers."
    )
    share: ShareSettings = Field(ShareSettings(), description="Folders with your own data files.")
    agency: dict[str, AgencySettings] = Field(
        {}, description="How the gateway calls the agency with this code."
    )
    customs: CustomsSettings = Field(
        CustomsSettings(),
        description="How the gateway calls customs. Without an endpoint customs gets no calls.",
    )
    fees: PaymentSettings = Field(
        PaymentSettings(), description="The payment provider, and the fees that are due before forwarding."
    )
    fetch: dict[SourceName, FetchSettings] = Field(
        {},
        max_length=128,
        description=(
            "Revocation lists, OCSP responses and trusted lists that are fetched on a schedule. Each "
            "source has a name."
        ),
    )
    tls: dict[str, TlsSettings] = Field(
        {},
        max_length=1024,
        description=(
            "How the gateway calls a host over TLS, by its name or name:port. The name `*` stands for all "
            "other hosts."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _add_missing_sections(cls, value: Any) -> Any:
        # So that every default is made with the home folder.
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
