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
        description="A complete revocation list (also one cut by points or reasons, or an indirect one), "
        "a list of changes, OCSP responses, or a trusted list.",
    )
    url: Url | None = Field(
        None, description="Where it is fetched; addresses that certificates name are never used."
    )
    issuer: Location | None = Field(
        None,
        description="The certificate of who signs the list, or of the issuer about whose certificates the "
        "responder is asked, as PEM or DER; it also serves as an intermediate certificate.",
    )
    responder: Location | None = Field(
        None, description="The certificate of an OCSP responder that does not send its own along."
    )
    nonce: Literal["require", "send", "none"] = Field(
        "send",
        description="Whether an OCSP request carries a nonce, and its response must; a wrong one is refused.",
    )
    every: Duration = Field(
        timedelta(hours=1), description="How often it is fetched; what fails is tried again meanwhile."
    )
    time_out: Duration = Field(
        timedelta(seconds=30),
        description="How long one exchange may take, from connecting to the last octet.",
    )
    most: Size = Field(16 * 1024**2, le=16 * 1024**2, description="Octets of an answer.")
    warn: Duration | None = Field(
        None,
        description="How long before what is in force ends the operator is told; a quarter of its time when "
        "not given.",
    )
    lane: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$",
        description="The lane of the fetches, when not one of its own; of a lane one is made at a time.",
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
