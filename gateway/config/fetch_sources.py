"""The settings of the sources of revocation lists, OCSP responses and trusted lists."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.config.value_types import Duration, Location, SettingsSection, Size, Url

__all__ = ["FetchSettings", "SourceName"]

#: Names of sources are used in lanes, metrics and command lines.
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]
_SHORTEST = timedelta(seconds=1)


class FetchSettings(SettingsSection):
    """One address from which revocation data or a trusted list is fetched on schedule."""

    kind: Literal["crl", "delta", "ocsp", "trust_list"] = Field(
        "crl",
        description=(
            "Kind of data: a complete revocation list (also divided by distribution points or reasons, or "
            "indirect), a delta list, OCSP responses, or a trusted list."
        ),
    )
    url: Url | None = Field(None, description="URL of the source. Addresses in certificates are never used.")
    issuer: Location | None = Field(
        None,
        description=(
            "Certificate, as PEM or DER: of the signer of the list, or of the issuer whose certificates "
            "the OCSP responder covers. It is also used as an intermediate certificate."
        ),
    )
    responder: Location | None = Field(
        None,
        description="Certificate of an OCSP responder that does not send its certificate in the response.",
    )
    nonce: Literal["require", "send", "none"] = Field(
        "send",
        description=(
            "With `require`, request and response must have a nonce. With `send`, only the request must "
            "have one. With `none`, there is no nonce. A wrong nonce is always refused."
        ),
    )
    every: Duration = Field(
        timedelta(hours=1), description="Interval between fetches. A failed fetch is repeated earlier."
    )
    time_out: Duration = Field(
        timedelta(seconds=30),
        description="Time limit for one exchange, from the connection to the last octet.",
    )
    most: Size = Field(16 * 1024**2, le=16 * 1024**2, description="Maximum size of an answer.")
    warn: Duration | None = Field(
        None,
        description=(
            "Time before the data in force expire at which the operator is warned. If it is not set: a "
            "quarter of their validity period."
        ),
    )
    lane: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$",
        description=(
            "Lane of the fetches. If it is not set, the source has its own lane. A lane makes one fetch "
            "at a time."
        ),
    )

    @field_validator("url")
    @classmethod
    def _check_plain_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if parts.username is not None or parts.fragment:
            raise ValueError("an address has no user and no fragment")
        if value is not None and not (parts.hostname and parts.port != 0 and value.isascii()):
            raise ValueError("an address has a host, perhaps a port above 0, and letters of ASCII alone")
        return value

    @model_validator(mode="after")
    def _check_source_keys(self) -> FetchSettings:
        if not self.url:
            raise ValueError("there is no url")
        if self.kind != "trust_list" and self.issuer is None:
            raise ValueError("a list or a responder needs the certificate of its issuer")
        if self.kind != "ocsp" and self.responder is not None:
            raise ValueError("only OCSP has a responder")
        if self.every < _SHORTEST or self.time_out < _SHORTEST:
            raise ValueError("every and time_out are at least a second")
        return self
