"""The settings of the console, and of signing in there by an OpenID provider."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.setting_values import Count, Duration, Location, Secret, SettingsSection, Url


class OidcSettings(SettingsSection):
    """The OpenID provider by which people sign in; without an issuer there is none."""

    issuer: Url | None = None
    """OpenID provider, exactly as it names itself. Accounts must be bound to it."""
    client_id: str = ""
    """Name of the gateway at the provider."""
    client_secret: Secret | None = None
    """Secret of the gateway at the provider. Without it: a public client with PKCE."""
    ca: Location | None = None
    """Authorities (PEM) of the provider's TLS certificate. Without it: the usual ones."""
    scopes: tuple[str, ...] = ("openid",)
    """Scopes that are asked for."""
    label: str = "OpenID"
    """Name of the provider on the sign-in page."""
    time_out: Duration = timedelta(seconds=10)
    """Time that a call of the provider may take."""
    keep: Duration = timedelta(hours=1)
    """Time for which the provider's addresses and keys are kept."""

    @model_validator(mode="after")
    def _check_client(self) -> OidcSettings:
        if self.issuer is not None and not self.client_id:
            raise ValueError("an issuer needs a client_id")
        if "openid" not in self.scopes:
            raise ValueError("the scopes contain openid")
        return self


#: The acts of operators on the console.
SecondPersonAct = Literal[
    "queue try",
    "queue hold",
    "queue release",
    "queue requeue",
    "queue cancel",
    "message admit",
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
    enabled: bool = False
    """Whether the console is served."""
    host: str = "127.0.0.1"
    """Address on which the console listens."""
    port: int = Field(8081, strict=True, ge=0, le=65535)
    """Port of the console. 0 selects a free port."""
    public_url: Url | None = None
    """URL of the console as browsers see it. If it is not set: http://localhost:port."""
    threads: Count = 8
    """Number of pages that are made at the same time."""
    requests_per_address: Count = 32
    """Number of requests of one address that are handled at the same time. Further requests get status
    503."""
    requests_per_account: Count = 2
    """Number of pages of one account that are made at the same time, always less than `threads`. Further ones
    wait; those of a session that the server does not know yet get status 429."""
    idle: Duration = timedelta(minutes=30)
    """Time without a request after which a session ends."""
    longest: Duration = timedelta(hours=10)
    """Time after which every session ends."""
    further_ways: bool = True
    """Whether a person whose account is bound to an OpenID subject or a client certificate may set a password
    and add passkeys beside it."""
    second_person: tuple[SecondPersonAct, ...] = ()
    """Acts of operators on the console that a second person must approve, by the words of their verbs. If
    there are any, a second person also approves who gets access to the operator."""
    language: Literal["en", "ko"] = "en"
    """Language of pages for a person who has not chosen one."""
    oidc: OidcSettings = OidcSettings()
    """Sign-in by an OpenID provider (OpenID Connect)."""
    practice: bool = False
    """Whether this hub is for practice: every page says so. Such a hub has a home of its own, and its
    agencies are simulated (`gateway practice`)."""
    practice_url: Url | None = None
    """URL of the console of the practice hub. If it is set, traders get a link to it."""
    real_url: Url | None = None
    """In a practice hub: URL of the real console, to which the banner links."""
