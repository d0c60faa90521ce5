"""The settings as a whole: the sections, each under its name in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gateway.config.delivery_settings import AgencySettings, CustomsSettings, DeliverySettings
from gateway.config.fetch_sources import FetchSettings, SourceName
from gateway.config.http import HttpSettings
from gateway.config.hub_settings import DatabaseSettings, HubSettings, ShareSettings
from gateway.config.limits import LimitSettings
from gateway.config.pki import PkiSettings
from gateway.config.recognition_settings import RecognitionSettings
from gateway.config.time_stamps import TimeStampSettings
from gateway.config.tls import TlsSettings
from gateway.config.value_types import SettingsSection

__all__ = ["Settings"]


class Settings(SettingsSection):
    """All sections of the settings."""

    hub: HubSettings = Field(HubSettings(), description="Who we are.")
    database: DatabaseSettings = Field(DatabaseSettings(), description="Where the rows are.")
    http: HttpSettings = Field(HttpSettings(), description="How we are reached.")
    limits: LimitSettings = Field(LimitSettings(), description="How much of everything a message may bring.")
    pki: PkiSettings = Field(PkiSettings(), description="Whom we believe, and with which key we sign.")
    recognition: RecognitionSettings = Field(
        RecognitionSettings(), description="Whom we recognise beside those whom our own authorities know."
    )
    time_stamps: TimeStampSettings = Field(
        TimeStampSettings(), description="By whom what is kept as evidence is time-stamped."
    )
    delivery: DeliverySettings = Field(
        DeliverySettings(), description="How things are handed over, and again."
    )
    share: ShareSettings = Field(ShareSettings(), description="Data of your own.")
    agency: dict[str, AgencySettings] = Field({}, description="How each agency is reached, by its code.")
    customs: CustomsSettings = Field(CustomsSettings(), description="How customs is reached.")
    fetch: dict[SourceName, FetchSettings] = Field(
        {},
        max_length=128,
        description="What is fetched on schedule to judge certificates by, each under a name.",
    )
    tls: dict[str, TlsSettings] = Field(
        {}, max_length=1024, description="How we call each host over TLS, by its name or name:port."
    )

    @model_validator(mode="before")
    @classmethod
    def _add_missing_sections(cls, value: Any) -> Any:
        # So that every default is made with the home folder.
        empty: dict[str, Any] = {name: {} for name in cls.model_fields}
        return empty | value if isinstance(value, dict) else value

    @property
    def home_folder(self) -> Path:
        """Return the home folder."""
        return self.hub.home
