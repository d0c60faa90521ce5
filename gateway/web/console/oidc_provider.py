"""Talks to the OpenID provider of the settings: its addresses and keys, and codes for tokens.

Addresses and keys are kept for a time (`console.oidc.keep`). A token by a key that is not known makes the
keys be fetched again, at most once a minute.

A provider that is slow or away must not take the threads of all pages: few talk to it at the same time, and
after a failure nobody asks for its addresses for half a minute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from gateway.accounts import IdTokenError, IdTokenRules, verify_id_token
from gateway.config import OidcSettings

__all__ = [
    "AuthorizationRequest",
    "OidcProvider",
    "ProviderError",
    "ProviderMismatchError",
    "is_protected_url",
]

_DISCOVERY: Final = "/.well-known/openid-configuration"
_SOONEST: Final = timedelta(minutes=1)
_AFTER_FAILURE: Final = timedelta(seconds=30)
#: Threads that talk to the provider, and seconds that another one waits for its turn.
_TALKERS: Final = 2
_TURN: Final = 1.0
_NEEDED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderError(Exception):
    """The provider cannot be reached, or answers what it should not; the text is for the log."""


class ProviderMismatchError(ProviderError):
    """The provider says of itself what does not fit the settings."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The secrets of one sign-in: state, nonce and code verifier."""

    state: str
    nonce: str
    verifier: str


class OidcProvider:
    """The provider of the settings, for a console at `redirect_uri`."""

    def __init__(self, oidc: OidcSettings, redirect_uri: str, clock: Callable[[], datetime]) -> None:
        self.oidc = oidc
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        self._fetched_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._talkers = threading.BoundedSemaphore(_TALKERS)

    @property
    def issuer(self) -> str:
        """Return the name of the provider."""
        return self.oidc.issuer or ""

    def check_provider(self) -> None:
        """Fetch the addresses and the keys of the provider, for a look; raises ProviderError."""
        self._load_metadata()

    def build_authorization_url(self, asked: AuthorizationRequest) -> str:
        """Return where the browser goes to sign in at the provider; raises ProviderError."""
        endpoint = self._load_metadata()["authorization_endpoint"]
        with self._open_session() as session:
            url, _ = session.create_authorization_url(
                endpoint, state=asked.state, nonce=asked.nonce, code_verifier=asked.verifier
            )
        return str(url)

    def redeem_code(self, code: str, asked: AuthorizationRequest) -> str:
        """Return the subject that a code stands for; raises ProviderError and IdTokenError."""
        token = self._fetch_token(code, asked.verifier)
        rules = IdTokenRules(self.issuer, self.oidc.client_id, asked.nonce, self._clock())
        try:
            return verify_id_token(token, self._keys, rules)
        except IdTokenError:
            # The provider may have changed its keys.
            if not self._refresh_keys():
                raise
            return verify_id_token(token, self._keys, rules)

    def _fetch_token(self, code: str, verifier: str) -> str:
        endpoint = self._load_metadata()["token_endpoint"]
        try:
            with self._take_turn(), self._open_session() as session:
                told = session.fetch_token(
                    endpoint,
                    code=code,
                    code_verifier=verifier,
                    timeout=self.oidc.time_out.total_seconds(),
                    allow_redirects=False,
                )
        except (OAuthError, OSError, ValueError) as problem:
            raise ProviderError(f"token: {type(problem).__name__}: {problem}"[:300]) from problem
        token = told.get("id_token")
        if not isinstance(token, str):
            raise ProviderError("token: no id_token")
        return token

    def _load_metadata(self) -> dict[str, Any]:
        """Return the addresses of the provider; fetch them, and the keys, when they are old."""
        now = self._clock()
        if self._fetched_at is not None and now - self._fetched_at < self.oidc.keep:
            return self._metadata
        if self._failed_at is not None and now - self._failed_at < _AFTER_FAILURE:
            raise ProviderError("the provider has just failed")
        if not self._lock.acquire(timeout=_TURN):
            raise ProviderError("the provider is slow")
        try:
            told = self._fetch_json(self.issuer.rstrip("/") + _DISCOVERY)
            _check_metadata(told, self.issuer)
            self._keys = self._fetch_json(told["jwks_uri"])
            self._metadata, self._fetched_at, self._failed_at = told, now, None
        except ProviderError:
            self._failed_at = now
            raise
        finally:
            self._lock.release()
        return self._metadata

    def _refresh_keys(self) -> bool:
        """Fetch the keys again, unless that was just done; return whether they were fetched."""
        now = self._clock()
        if self._fetched_at is not None and now - self._fetched_at < _SOONEST:
            return False
        self._keys = self._fetch_json(self._metadata["jwks_uri"])
        self._fetched_at = now
        return True

    def _fetch_json(self, url: str) -> dict[str, Any]:
        seconds = self.oidc.time_out.total_seconds()
        # An OSError is a failure of the network, or a file of authorities that is not there.
        try:
            with self._take_turn(), self._open_session() as session:
                answer = session.get(url, withhold_token=True, timeout=seconds, allow_redirects=False)
                told = answer.json() if answer.status_code == HTTPStatus.OK else None
        except (OSError, ValueError) as problem:
            raise ProviderError(f"{url}: {type(problem).__name__}"[:300]) from problem
        if not isinstance(told, dict):
            raise ProviderError(f"{url}: status {answer.status_code}, or no object"[:300])
        return told

    @contextmanager
    def _take_turn(self) -> Iterator[None]:
        """Wait shortly for one of the few turns to talk to the provider; raises ProviderError."""
        if not self._talkers.acquire(timeout=_TURN):
            raise ProviderError("the provider is slow")
        try:
            yield
        finally:
            self._talkers.release()

    def _open_session(self) -> Any:
        oidc = self.oidc
        secret = None if oidc.client_secret is None else oidc.client_secret.read().decode().strip()
        session = OAuth2Session(
            oidc.client_id,
            secret,
            scope=" ".join(oidc.scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
        )
        session.trust_env = False
        if oidc.ca is not None:
            session.verify = str(oidc.ca)
        return session


def _check_metadata(told: dict[str, Any], issuer: str) -> None:
    """Refuse metadata of another provider (OpenID Connect Discovery 4.3), and addresses without TLS."""
    if told.get("issuer") != issuer:
        raise ProviderMismatchError("the metadata are of another issuer")
    for name in _NEEDED:
        if not is_protected_url(told.get(name)):
            raise ProviderMismatchError(f"the metadata have no {name} with TLS")


def is_protected_url(url: Any) -> bool:
    """Return whether a URL has TLS, or leads to this machine."""
    if not isinstance(url, str):
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
    )
