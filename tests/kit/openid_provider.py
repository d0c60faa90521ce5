"""A small OpenID provider over HTTP: discovery, keys, authorization codes with PKCE, signed ID tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "gateway", "a secret of the client"


@cache
def make_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})


class OpenIdProvider:
    """One provider; `bend` changes the claims of the next token, `subject` is who signs in there.

    Who has signed in there stays so: the next sign-in needs no credentials, unless it must be a new one.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        #: When its person last typed the credentials.
        self.authenticated_at: datetime | None = None
        self.client_id = CLIENT
        self.secret = SECRET
        #: How a client proves its secret here.
        self.methods = {"client_secret_basic"}
        self.subject = "248289761001"
        self.key = make_key()
        self.signing: RSAKey | None = None
        self.algorithm = "RS256"
        self.bend: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.seen: list[str] = []
        self.user_agents: list[str] = []
        self.authorizations: list[str] = []
        self.issuer = ""
        #: What writes the answer of a path in place of the right one.
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}

    def authorize(self, asked: dict[str, str]) -> str:
        """Let the person sign in at once; return where the browser goes back to."""
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert (asked["client_id"], asked["scope"]) == (self.client_id, "openid")
        if self.authenticated_at is None or asked.get("prompt") == "login" or asked.get("max_age") == "0":
            self.authenticated_at = self.clock()
        code = f"code-{len(self.seen)}"
        self.codes[code] = asked
        said = {"code": code, "state": asked["state"], "iss": self.issuer}
        return f"{asked['redirect_uri']}?{urlencode(said)}"

    def give_token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer the token endpoint: client, code and code verifier must be right."""
        if not self.is_client_proved(form, authorization):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        token = self.make_token(asked["nonce"], states_time="max_age" in asked)
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def is_client_proved(self, form: dict[str, str], authorization: str) -> bool:
        """Return whether the client is the right one, by one way alone (RFC 6749 section 2.3.1)."""
        self.authorizations.append(authorization)
        shown = [form[name] for name in ("client_id", "client_secret") if name in form]
        if authorization:
            text = base64.b64decode(authorization.removeprefix("Basic ")).decode("ascii")
            halves = [unquote_plus(half) for half in text.split(":", 1)]
            return (
                not shown
                and "client_secret_basic" in self.methods
                and halves == [self.client_id, self.secret]
            )
        return "client_secret_post" in self.methods and shown == [self.client_id, self.secret]

    def make_token(self, nonce: str, *, states_time: bool = False) -> str:
        """Return an ID token; it states the time of the authentication where that was asked for."""
        now = int(self.clock().timestamp())
        claims = {"iss": self.issuer, "sub": self.subject, "aud": self.client_id, "nonce": nonce}
        claims |= {"iat": now, "exp": now + 300}
        if states_time and self.authenticated_at is not None:
            claims["auth_time"] = int(self.authenticated_at.timestamp())
        claims = {name: value for name, value in (claims | self.bend).items() if value is not None}
        key = self.signing or self.key
        if self.algorithm in ("none", "HS256"):
            return forge_token(self.algorithm, claims, self.key)
        return jwt.encode(
            {"alg": self.algorithm, "kid": key.kid or "1"}, claims, key, algorithms=[self.algorithm]
        )

    def describe(self) -> dict[str, Any]:
        told = {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize"}
        told |= {"token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys"}
        return told | self.metadata

    def list_keys(self) -> dict[str, Any]:
        return dict(KeySet([self.key]).as_dict(private=False))


def forge_token(algorithm: str, claims: dict[str, Any], key: RSAKey) -> str:
    """Return a token that libraries refuse to make: unsigned, or by the public key as a shared secret."""
    parts = [{"alg": algorithm, "kid": key.kid}, claims]
    said = b".".join(_encode(json.dumps(part).encode()) for part in parts)
    secret = key.as_pem(private=False)
    signature = hmac.digest(secret, said, "sha256") if algorithm == "HS256" else b""
    return (said + b"." + _encode(signature)).decode()


def _encode(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


@contextmanager
def serve_provider(clock: Callable[[], datetime]) -> Iterator[OpenIdProvider]:
    """Serve a provider on a port of its own."""
    provider = OpenIdProvider(clock)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.seen.append(parts.path)
            if parts.path in provider.answers:
                provider.answers[parts.path](self)
                return
            if parts.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", provider.authorize(asked))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            known = {"/.well-known/openid-configuration": provider.describe, "/keys": provider.list_keys}
            found = known.get(parts.path)
            self.answer(404 if found is None else 200, {} if found is None else found())

        def do_POST(self) -> None:
            provider.seen.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path in provider.answers:
                provider.answers[self.path](self)
                return
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.answer(*provider.give_token(form, self.headers.get("Authorization", "")))

        def answer(self, status: int, told: dict[str, Any]) -> None:
            provider.user_agents.append(self.headers.get("User-Agent", ""))
            octets = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
