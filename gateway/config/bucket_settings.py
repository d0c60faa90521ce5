"""The settings of a bucket for large payloads, on a server that speaks S3."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Duration, Location, SettingsSection, Url

__all__ = ["BucketSettings"]


class BucketSettings(SettingsSection):
    """The bucket that keeps large payloads; without a bucket they are in the folder."""

    bucket: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])?$",
        description="Bucket of large payloads. If it is not set, they are in `payloads.folder`.",
    )
    endpoint: Url | None = Field(None, description="URL of the server, without the bucket.")
    region: str = Field(
        "us-east-1", pattern=r"^[A-Za-z0-9\-]{1,64}$", description="Region that the server names."
    )
    prefix: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_\-][A-Za-z0-9._\-]*/)*$",
        max_length=200,
        description="What the names of all objects begin with; it ends with `/`.",
    )
    access_key: Secret | None = Field(None, description="The name of the key (access key).")
    secret_key: Secret | None = Field(None, description="The secret of the key (secret access key).")
    path_style: bool = Field(
        True, description="Whether the bucket is in the path of a URL; otherwise in the name of its host."
    )
    ca: Location | None = Field(
        None,
        description=(
            "Authorities (PEM) of the server's TLS certificate. Without it: those that come with the client."
        ),
    )
    time_out: Duration = Field(
        timedelta(seconds=10),
        description=(
            "Time that the server may be silent during a request. A request is made at most three times."
        ),
    )

    @model_validator(mode="after")
    def _check_access(self) -> BucketSettings:
        if self.bucket and (self.endpoint is None or self.access_key is None or self.secret_key is None):
            raise ValueError("a bucket needs endpoint, access_key and secret_key")
        if self.time_out < timedelta(seconds=1):
            raise ValueError("a server gets at least 1s to answer")
        return self
