"""The client of an OpenID Connect provider, by which people sign in."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from gateway.accounts import (
    ExpectedIdToken,
    IdTokenError,
    VerifiedIdToken,
    select_signing_keys,
    verify_id_token,
)
from gateway.config import OidcSettings, mask_url
from gateway.delivery import HttpAnswer, HttpClient, HttpLimits, require_identity_coding
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import make_client_context

_DISCOVERY: Final = "/.well-known/openid-configuration"
_SOONEST: Final = timedelta(minutes=1)
_AFTER_FAILURE: Final = timedelta(seconds=30)
#: Threads that talk to the provider, those that do so for one network, and the longest time in seconds that
#: another one waits for its slot.
_TALKERS: Final = 4
_TALKERS_OF_NETWORK: Final = 2
_LONGEST_WAIT: Final = 1.0
#: Octets of an answer: some hundred keys with their certificates.
_MOST_OCTETS: Final = 1024 * 1024
_JSON: Final = {"Accept": "application/json"}
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
#: What RFC 6749 section 5.2 has for a code that is wrong; its other errors are about this console.
_CODE_ERRORS: Final = ("invalid_grant", "invalid_request")
_NEEDED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
#: How a client proves its secret (OpenID Connect Core 9), and where the metadata tell which ways are taken.
_BASIC: Final = "client_secret_basic"
_POST: Final = "client_secret_post"
_METHODS: Final = "token_endpoint_auth_methods_supported"


class ProviderError(Exception):
    """The provider cannot be reached, or its answer is not valid; the text is for the log."""


class ProviderMismatchError(ProviderError):
    """An error of an OpenID provider whose metadata do not fit the settings."""


class CodeRefusedError(ProviderError):
    """An error of a code that the provider refuses, for example because it was made up."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The secrets of one sign-in: state, nonce and code verifier; and whether it must authenticate anew."""

    state: str
    nonce: str
    verifier: str
    reauthenticates: bool = False


class OidcProvider:
    """The provider of the settings, for a console at `redirect_uri`."""

    def __init__(self, oidc: OidcSettings, redirect_uri: str, clock: Callable[[], datetime]) -> None:
        self.oidc = oidc
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: Mapping[str, Any] = {}
        #: When the addresses were fetched, with the keys; and when the keys were, which may be later.
        self._fetched_at: datetime | None = None
        self._keys_fetched_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._slots = _ProviderSlots()

    @property
    def issuer(self) -> str:
        """Return the name of the provider."""
        return self.oidc.issuer or ""

    def check_provider(self) -> None:
        """Fetch the addresses and the keys of the provider, to check them.

        Raises ProviderError, and GW803 where the secret of the settings cannot be read.
        """
        self._read_secret()
        self._load_metadata()

    def may_state_authentication_time(self) -> bool:
        """Return False if the metadata of the provider list its claims, and `auth_time` is not among them."""
        claims = self._load_metadata().get("claims_supported")
        return not isinstance(claims, list) or "auth_time" in claims

    def _read_secret(self) -> str | None:
        """Return the client secret, None if the settings have none; raise GatewayError if it is not UTF-8."""
        secret = self.oidc.client_secret
        if secret is None:
            return None
        try:
            return secret.read().decode().strip()
        except UnicodeDecodeError as problem:
            raise GatewayError(KEY_UNAVAILABLE, "the client secret is not UTF-8") from problem

    def build_authorization_url(self, request: AuthorizationRequest) -> str:
        """Return where the browser goes to sign in at the provider; raises ProviderError.

        A request that reauthenticates asks the provider to authenticate the person now and to state the time
        in the ID token (OpenID Connect Core 3.1.2.1, prompt and max_age). The browser may take this out of
        the address: only the time in the token shows that it was done.
        """
        endpoint = str(self._load_metadata()["authorization_endpoint"])
        digest = hashlib.sha256(request.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.oidc.client_id,
                "redirect_uri": self._redirect_uri,
                "scope": " ".join(self.oidc.scopes),
                "state": request.state,
                "nonce": request.nonce,
                # RFC 7636 section 4.2
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
                **({"prompt": "login", "max_age": "0"} if request.reauthenticates else {}),
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def redeem_code(self, code: str, request: AuthorizationRequest, network: str) -> VerifiedIdToken:
        """Return the verified ID token that a code stands for, which came from a network.

        Raises CodeRefusedError and IdTokenError where the code is not good, and ProviderError where the
        provider is not.
        """
        token = self._fetch_token(code, request.verifier, network)
        rules = ExpectedIdToken(self.issuer, self.oidc.client_id, request.nonce, self._clock())
        try:
            return verify_id_token(token, self._keys, rules)
        except IdTokenError:
            # The provider may have changed its keys.
            if not self._refresh_keys():
                raise
            return verify_id_token(token, self._keys, rules)

    def _fetch_token(self, code: str, verifier: str, network: str) -> str:
        """Return the ID token for a code (OpenID Connect Core 3.1.3; RFC 6749 sections 2.3.1 and 4.1.3)."""
        metadata = self._load_metadata()
        endpoint = metadata["token_endpoint"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        try:
            secret = self._read_secret()
        except GatewayError as problem:
            raise ProviderError(str(problem)) from problem
        proof = _make_client_proof(metadata, self.oidc.client_id, secret)
        form |= proof.fields
        headers = {**_JSON, "Content-Type": _FORM_TYPE, **proof.headers}
        with self._slots.reserve_slot(network):
            answer = self._call(
                endpoint, lambda client: client.post(endpoint, headers, urlencode(form).encode())
            )
        document = _read_object(answer)
        if answer.status != HTTPStatus.OK or document is None:
            error = str((document or {}).get("error", ""))[:60]
            refused = answer.status == HTTPStatus.BAD_REQUEST and error in _CODE_ERRORS
            kind = CodeRefusedError if refused else ProviderError
            raise kind(f"token: status {answer.status} {error!r}")
        token = document.get("id_token")
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
        if not self._lock.acquire(timeout=_LONGEST_WAIT):
            raise ProviderError("the provider is slow")
        try:
            metadata = self._fetch_json(self.issuer.rstrip("/") + _DISCOVERY)
            _check_metadata(metadata, self.issuer)
            if self.oidc.client_secret is not None:
                _select_secret_method(metadata)
            self._keys = self._fetch_keys(metadata)
            self._metadata, self._fetched_at, self._failed_at = metadata, now, None
            self._keys_fetched_at = now
        except ProviderError:
            self._failed_at = now
            raise
        finally:
            self._lock.release()
        return self._metadata

    def _refresh_keys(self) -> bool:
        """Fetch the keys again, unless that was just done; return whether they were fetched."""
        now = self._clock()
        if self._keys_fetched_at is not None and now - self._keys_fetched_at < _SOONEST:
            return False
        self._keys = self._fetch_keys(self._metadata)
        self._keys_fetched_at = now
        return True

    def _fetch_keys(self, metadata: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keys that can be used; a key set without any is not cached."""
        url = metadata["jwks_uri"]
        try:
            return select_signing_keys(self._fetch_json(url))
        except IdTokenError as problem:
            raise ProviderError(f"{mask_url(url)[:200]}: {problem}") from problem

    def _fetch_json(self, url: str) -> dict[str, Any]:
        """Return the JSON object at `url`; raise ProviderError for another status or content."""
        with self._slots.reserve_slot():
            answer = self._call(url, lambda client: client.get(url, _JSON))
        document = _read_object(answer) if answer.status == HTTPStatus.OK else None
        if document is None:
            raise ProviderError(f"{mask_url(url)[:200]}: status {answer.status}, or no object")
        return document

    def _call(self, url: str, call: Callable[[HttpClient], HttpAnswer]) -> HttpAnswer:
        """Call the provider, on a connection of its own, within the time of the settings."""
        oidc, seconds = self.oidc, self.oidc.time_out.total_seconds()
        bounds = HttpLimits(min(10.0, seconds), seconds, seconds, _MOST_OCTETS)
        try:
            # The file of authorities may have changed.
            context = None if oidc.ca is None else make_client_context((oidc.ca,))
            answer = call(HttpClient(bounds, context, max_idle=0))
            require_identity_coding(answer)
        except GatewayError as problem:
            reason = ", ".join(filter(None, (problem.detail, problem.theirs)))
            raise ProviderError(f"{mask_url(url)[:200]}: {reason}"[:400]) from problem
        return answer


class _ProviderSlots:
    """The few slots for requests to the provider, of which one network has half at most."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._networks: list[str | None] = []

    @contextmanager
    def reserve_slot(self, network: str | None = None) -> Iterator[None]:
        """Wait shortly for a slot; raises ProviderError. With None, the fetch serves all networks."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._has_room(network), _LONGEST_WAIT):
                raise ProviderError("the provider is slow")
            self._networks.append(network)
        try:
            yield
        finally:
            with self._condition:
                self._networks.remove(network)
                self._condition.notify_all()

    def _has_room(self, network: str | None) -> bool:
        fits = network is None or self._networks.count(network) < _TALKERS_OF_NETWORK
        return fits and len(self._networks) < _TALKERS


def _read_object(answer: HttpAnswer) -> dict[str, Any] | None:
    """Return the JSON object in an answer; None if there is none."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _check_metadata(metadata: dict[str, Any], issuer: str) -> None:
    """Refuse metadata of another provider (OpenID Connect Discovery 4.3), and addresses without TLS."""
    if metadata.get("issuer") != issuer:
        raise ProviderMismatchError("the metadata are of another issuer")
    for name in _NEEDED:
        if not is_protected_url(metadata.get(name)):
            raise ProviderMismatchError(f"the metadata have no {name} with TLS")


@dataclass(frozen=True, slots=True)
class _ClientProof:
    """The parts of a token request that identify its client: fields of the form, and headers."""

    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def _make_client_proof(metadata: Mapping[str, Any], client_id: str, secret: str | None) -> _ClientProof:
    """Return the proof of a client, by the way that the provider takes; raises ProviderMismatchError.

    Without a secret the client is public, and sends only its id.
    """
    if secret is None:
        return _ClientProof({"client_id": client_id})
    if _select_secret_method(metadata) == _POST:
        return _ClientProof({"client_id": client_id, "client_secret": secret})
    # Each half is encoded as a form first (RFC 6749 section 2.3.1): a colon, a plus or a percent is no sign.
    login = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
    return _ClientProof(headers={"Authorization": f"Basic {login}"})


def _select_secret_method(metadata: Mapping[str, Any]) -> str:
    """Return the way to prove a secret: Basic, which is taken where nothing is stated, else in the form.

    Raises ProviderMismatchError where the provider takes neither (OpenID Connect Discovery 3).
    """
    methods = metadata.get(_METHODS) or [_BASIC]
    if isinstance(methods, list):
        for method in (_BASIC, _POST):
            if method in methods:
                return method
    raise ProviderMismatchError(f"{_METHODS} has neither {_BASIC} nor {_POST}")


def is_protected_url(url: Any) -> bool:
    """Return whether a plain URL has TLS, or leads to this machine."""
    if not isinstance(url, str) or not (url.isascii() and url.isprintable() and " " not in url):
        return False
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
    return plain and (parts.scheme == "https" or local)
