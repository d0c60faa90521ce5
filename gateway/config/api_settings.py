"""The settings of the API: the interface for the software of traders and brokers."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from gateway.config.value_types import Count, Duration, SettingsSection, Url

__all__ = ["ApiSettings"]


class ApiSettings(SettingsSection):
    """Where the API is served, and how much one party may ask of it."""

    # A server of its own: a rush on it takes no thread and no connection from messages or the console.
    enabled: bool = Field(False, description="Whether the API is served.")
    host: str = Field("127.0.0.1", description="Address on which the API listens.")
    port: int = Field(
        8082, strict=True, ge=0, le=65535, description="Port of the API. 0 selects a free port."
    )
    public_url: Url | None = Field(
        None,
        description="URL of the API's host as clients see it. If it is not set: http://localhost:port.",
    )
    threads: Count = Field(8, description="Number of API requests that are answered at the same time.")
    requests_per_party: Count = Field(
        16,
        description=(
            "Number of API requests of one party that are handled at the same time. Further requests get "
            "status 429."
        ),
    )
    token: Duration = Field(timedelta(minutes=10), description="Time after which an access token ends.")
    tokens_per_party: Count = Field(
        100, description="Number of access tokens of one party that are valid at the same time."
    )
