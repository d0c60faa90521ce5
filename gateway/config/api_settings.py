"""The settings of the API: the interface for the software of traders and brokers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from gateway.config.value_types import Count, Duration, Location, SettingsSection, Url

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
    streams: Count = Field(64, description="Number of event streams that are open at the same time.")
    streams_per_party: Count = Field(4, description="Number of event streams of one party.")
    webhooks_per_party: Count = Field(5, description="Number of webhooks of one party.")
    webhook_hosts: dict[str, tuple[str, ...]] = Field(
        {},
        description="The hosts at which a party may have webhooks, by party. Without a host it has none.",
    )
    webhook_key: Location = Field(
        Path("webhook.key"),
        description=(
            "File with the key from which the secrets of webhooks are derived: 32 octets. It is made with "
            "the first webhook. All processes of the gateway need the same."
        ),
    )
    webhook_private_addresses: bool = Field(
        False,
        description="Whether webhooks may be at private and local addresses: for a closed network.",
    )
    webhook_patience: Duration = Field(
        timedelta(days=3), description="Time of failures after which a webhook is switched off."
    )
