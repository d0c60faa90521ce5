"""The settings of the console: the pages for officers, traders and operators."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from gateway.config.oidc_settings import OidcSettings
from gateway.config.value_types import Count, Duration, SettingsSection, Url

__all__ = ["ConsoleSettings"]

#: The acts of operators on the console.
SecondPersonAct = Literal[
    "queue try",
    "queue hold",
    "queue release",
    "queue requeue",
    "queue cancel",
    "agency console",
    "agency back",
    "party suspend",
    "party resume",
    "agreement load",
    "agreement suspend",
    "map use",
    "account role",
    "fees waive",
    "fees settle",
]


class ConsoleSettings(SettingsSection):
    """Where the console is served, and how long a person stays signed in."""

    # The console has a server of its own: a rush on it takes no thread and no connection from messages.
    enabled: bool = Field(False, description="Whether the console is served.")
    host: str = Field("127.0.0.1", description="Address on which the console listens.")
    port: int = Field(
        8081, strict=True, ge=0, le=65535, description="Port of the console. 0 selects a free port."
    )
    public_url: Url | None = Field(
        None, description="URL of the console as browsers see it. If it is not set: http://localhost:port."
    )
    threads: Count = Field(8, description="Number of pages that are made at the same time.")
    requests_per_address: Count = Field(
        32,
        description=(
            "Number of requests of one address that are handled at the same time. Further requests get "
            "status 503."
        ),
    )
    idle: Duration = Field(
        timedelta(minutes=30), description="Time without a request after which a session ends."
    )
    longest: Duration = Field(timedelta(hours=10), description="Time after which every session ends.")
    second_person: tuple[SecondPersonAct, ...] = Field(
        (),
        description=(
            "Acts of operators on the console that a second person must approve, by the words of their verbs."
        ),
    )
    language: Literal["en", "ko"] = Field(
        "en", description="Language of pages for a person who has not chosen one."
    )
    oidc: OidcSettings = Field(OidcSettings(), description="Sign-in by an OpenID provider (OpenID Connect).")
    practice: bool = Field(
        False,
        description=(
            "Whether this hub is for practice: every page says so. Such a hub has a home of its own, and its "
            "agencies are simulated (`gateway practice`)."
        ),
    )
    practice_url: Url | None = Field(
        None, description="URL of the console of the practice hub. If it is set, traders get a link to it."
    )
    real_url: Url | None = Field(
        None, description="In a practice hub: URL of the real console, to which the banner links."
    )
