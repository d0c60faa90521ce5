"""The settings of trust: keys, revocation, recognition, fetched lists and time stamps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.config.setting_values import Duration, Instant, Location, Secret, SettingsSection, Size, Url


class TokenSettings(SettingsSection):
    """The PKCS#11 token that signs, if configured; without a module the key is a file."""

    module: Location | None = None
    """PKCS#11 library of the token's vendor. If it is set, `signing_key` is not read."""
    label: str = ""
    """Label of the token."""
    key: str = ""
    """Label of the private key in the token."""
    pin: Secret | None = None
    """PIN of the token's user. It is read at each login."""

    @model_validator(mode="after")
    def _check_token_keys(self) -> TokenSettings:
        if self.module is not None and not (self.label and self.key and self.pin):
            raise ValueError("a token needs module, label, key and pin")
        return self


class _KeySettings(SettingsSection):
    signing_key: Secret | None = None
    """Private key, in the form of `pki.signing_key`."""
    signing_password: Secret | None = None
    """Password of the file of the private key, if it is encrypted."""
    signing_certificate: Location | None = None
    """Certificate of the key. A PKCS#12 file contains its own certificate."""
    token: TokenSettings = TokenSettings()
    """PKCS#11 token with the key, if the key is in a token."""

    @property
    def names_key(self) -> bool:
        """Return whether the settings name a key."""
        return self.signing_key is not None or self.token.module is not None

    @model_validator(mode="after")
    def _check_token_certificate(self) -> Self:
        if self.token.module is not None and self.signing_certificate is None:
            raise ValueError("the key of a token needs signing_certificate")
        return self


class AgencyKeySettings(_KeySettings):
    """The key of an agency that decides at the console; the gateway keeps the key for it."""


class NextKeySettings(_KeySettings):
    """The key that takes over from the current signing key; without a start there is none."""

    starts: Instant | None = None
    """Time from which the next key signs instead of the current key: a date and time with offset."""

    @model_validator(mode="after")
    def _check_next_key(self) -> NextKeySettings:
        if (self.starts is not None) != self.names_key:
            raise ValueError("the next key needs starts, and signing_key or token")
        return self


class PkiSettings(SettingsSection):
    """The trusted authorities, and the key that signs."""

    anchors: tuple[Location, ...] = (Path("pki/ca.pem"),)
    """Certificates of the trust anchors, as PEM files."""
    intermediates: tuple[Location, ...] = ()
    """Intermediate certificates, as PEM files. The issuers and responders in `[fetch.CODE]` need not be
    repeated here."""
    crls: tuple[Location, ...] = (Path("pki/crl.pem"),)
    """Revocation lists to load, as PEM or DER files. Each file must be there; only that of the default value
    may be absent."""
    signing_key: Secret = Secret(file=Path("pki/hub.key.pem"))
    """Private signing key: PKCS#8 as PEM or DER, encrypted or not (also with SEED, as in Korean key files),
    or a PKCS#12 file."""
    signing_password: Secret | None = None
    """Password of the file of the private key, if it is encrypted."""
    signing_certificate: Location = Path("pki/hub.cert.pem")
    """Certificate of the signing key, as PEM or DER. It is not read for a PKCS#12 file, which contains its
    own certificate."""
    token: TokenSettings = TokenSettings()
    """PKCS#11 token with the signing key, if the key is in a token."""
    next: NextKeySettings = NextKeySettings()
    """The next signing key, if there is one."""
    policy: Location | None = None
    """File of the trust policy. If it is not set, the shipped policy is used."""
    revocation: Literal["require", "if_present"] | None = None
    """With `require`, current revocation data are required. With `if_present`, they are used if present. If
    it is not set, the policy decides."""

    @field_validator("signing_key", mode="before")
    @classmethod
    def _revalidate_default_key(cls, value: Any) -> Any:
        # A default is validated again, so that its path starts at the home folder.
        return value.model_dump() if isinstance(value, Secret) else value


class DecryptionKeySettings(SettingsSection):
    """One decryption key; several may be in use while partners change from one to the next."""

    key: Secret | None = None
    """Private RSA key that decrypts payloads, in the form of `pki.signing_key`."""
    password: Secret | None = None
    """Password of the file of the decryption key, if it is encrypted."""
    certificate: Location | None = None
    """Certificate of the decryption key. A PKCS#12 file contains its own certificate."""

    token: TokenSettings = TokenSettings()
    """PKCS#11 token with the decryption key, if the key is in a token."""

    @model_validator(mode="after")
    def _check_key_named(self) -> DecryptionKeySettings:
        if (self.key is None) == (self.token.module is None):
            raise ValueError("a decryption key needs key, or token")
        if self.token.module is not None and self.certificate is None:
            raise ValueError("the key of a token needs certificate")
        return self


class RecognitionSettings(SettingsSection):
    """Who may sign our trusted list, and which levels are accepted."""

    signers: tuple[Location, ...] = ()
    """Certificates that may sign the gateway's own trusted list, as PEM files. Without any, only signers
    below the own trust anchors are accepted."""
    uses: dict[Literal["signing", "encryption", "tls-client"], tuple[str, ...]] = Field({"signing": ("*",)})
    """Accepted levels for each use of a certificate (`signing`, `encryption`, `tls-client`); `*` accepts any
    level. A use that is not named accepts no signer."""
    vouched: Duration = timedelta(days=1)
    """Largest age of a vouching gateway's statement when the message arrives."""


#: Names of sources are used in lanes, metrics and command lines.
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]
_MIN_INTERVAL = timedelta(seconds=1)


class FetchSettings(SettingsSection):
    """One address from which revocation data or a trusted list is fetched on schedule."""

    kind: Literal["crl", "delta", "ocsp", "trust_list"] = "crl"
    """Kind of data: a complete revocation list (also divided by distribution points or reasons, or indirect),
    a delta list, OCSP responses, or a trusted list."""
    url: Url | None = None
    """URL of the source. Addresses in certificates are never used."""
    issuer: Location | None = None
    """Certificate, as PEM or DER: of the signer of the list, or of the issuer whose certificates the OCSP
    responder covers. It is also used as an intermediate certificate."""
    responder: Location | None = None
    """Certificate of an OCSP responder that does not send its certificate in the response."""
    nonce: Literal["require", "send", "none"] = "send"
    """With `require`, request and response must have a nonce. With `send`, only the request must have one.
    With `none`, there is no nonce. A wrong nonce is always refused."""
    every: Duration = timedelta(hours=1)
    """Interval between fetches. A failed fetch is repeated earlier."""
    time_out: Duration = timedelta(seconds=30)
    """Time limit for one exchange, from the connection to the last octet."""
    most: Size = Field(16 * 1024**2, le=16 * 1024**2)
    """Maximum size of an answer."""
    warn: Duration | None = None
    """Time before the data in force expire at which the operator is warned. If it is not set: a quarter of
    their validity period."""
    lane: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")
    """Lane of the fetches. If it is not set, the source has its own lane. A lane makes one fetch at a
    time."""

    @field_validator("url")
    @classmethod
    def _check_plain_url(cls, value: str | None) -> str | None:
        """Return the URL; raise ValueError if it has a user, a fragment or characters outside of ASCII."""
        parts = urlsplit(value or "")
        if parts.username is not None or parts.fragment:
            raise ValueError("an address has no user and no fragment")
        if not (value or "").isascii():
            raise ValueError("an address may have only letters of ASCII")
        return value

    @model_validator(mode="after")
    def _check_source_keys(self) -> FetchSettings:
        """Raise ValueError if a key does not fit the `kind` of the source, or a time is below a second."""
        if not self.url:
            raise ValueError("there is no url")
        if self.kind != "trust_list" and self.issuer is None:
            raise ValueError("a list or a responder needs the certificate of its issuer")
        if self.kind != "ocsp" and self.responder is not None:
            raise ValueError("only OCSP has a responder")
        if self.every < _MIN_INTERVAL or self.time_out < _MIN_INTERVAL:
            raise ValueError("every and time_out must be at least a second")
        return self


class TimeStampSettings(SettingsSection):
    """The time-stamping authorities (RFC 3161); without any, evidence is sealed by our signature alone."""

    authorities: tuple[Url, ...] = Field((), max_length=8)
    """URLs of the time-stamping authorities. If one gives no valid time stamp, the next one is asked."""
    anchors: tuple[Location, ...] = ()
    """Trust anchors for the certificates of these authorities, as PEM files. If there is none, those in
    `pki.anchors`."""
    policy: str | None = Field(None, pattern=r"^[0-2](\.(0|[1-9][0-9]{0,17})){1,20}$")
    """OID of the policy that a time stamp must have. If it is not set, any policy."""
    every: Duration = timedelta(hours=1)
    """Interval at which the evidence is sealed and time-stamped."""
    retry: Duration = timedelta(minutes=1)
    """Wait before the next round when no authority gave a valid time stamp."""
    stale_after: Duration = timedelta(hours=4)
    """Time that evidence may wait for a time stamp before time-stamping is stale."""
    when_stale: Literal["refuse", "warn"] = "refuse"
    """With `refuse`, no new message is accepted (GW804) and the gateway is not ready while time-stamping is
    stale. With `warn`, only the log, the metrics and `gateway check` report it."""
    time_out: Duration = timedelta(seconds=30)
    """Time limit for an answer."""
    skew: Duration = timedelta(minutes=5)
    """Largest permitted difference between the clock of an authority and the clock of the gateway."""

    @model_validator(mode="after")
    def _check_intervals(self) -> TimeStampSettings:
        if min(self.every, self.retry, self.time_out) < _MIN_INTERVAL:
            raise ValueError("every, retry and time_out are at least a second")
        if self.stale_after < self.every:
            raise ValueError("stale_after must not be shorter than every")
        return self
