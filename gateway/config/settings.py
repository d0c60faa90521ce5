"""All settings: the sections, each under its name in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from gateway.config.fetching import Fetch, SourceName
from gateway.config.home import Database, Hub, Share
from gateway.config.http import Http
from gateway.config.limits import Limits
from gateway.config.partners import Agency, Customs, Delivery
from gateway.config.pki import Pki
from gateway.config.recognition import Recognition
from gateway.config.stamping import TimeStamps
from gateway.config.tls import Tls
from gateway.config.values import Section

__all__ = ["Settings"]


class Settings(Section):
    """All settings."""

    hub: Hub = Field(Hub(), description="Who we are.")
    database: Database = Field(Database(), description="Where the rows are.")
    http: Http = Field(Http(), description="How we are reached.")
    limits: Limits = Field(Limits(), description="How much of everything a message may bring.")
    pki: Pki = Field(Pki(), description="Whom we believe, and with which key we sign.")
    recognition: Recognition = Field(
        Recognition(), description="Whom we recognise beside those whom our own authorities know."
    )
    time_stamps: TimeStamps = Field(
        TimeStamps(), description="By whom what is kept as evidence is time-stamped."
    )
    delivery: Delivery = Field(Delivery(), description="How things are handed over, and again.")
    share: Share = Field(Share(), description="Data of your own.")
    agency: dict[str, Agency] = Field({}, description="How each agency is reached, by its code.")
    customs: Customs = Field(Customs(), description="How customs is reached.")
    fetch: dict[SourceName, Fetch] = Field(
        {},
        max_length=128,
        description="What is fetched on schedule to judge certificates by, each under a name.",
    )
    tls: dict[str, Tls] = Field(
        {}, max_length=1024, description="How we call each host over TLS, by its name or name:port."
    )

    @model_validator(mode="before")
    @classmethod
    def _every_section(cls, value: Any) -> Any:
        # So that every default is made with the home folder at hand.
        empty: dict[str, Any] = {name: {} for name in cls.model_fields}
        return empty | value if isinstance(value, dict) else value

    @property
    def home(self) -> Path:
        """Return the home folder."""
        return self.hub.home
