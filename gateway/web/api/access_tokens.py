"""Issues and accepts access tokens: random, short-lived, stored by their digests.

A token stands for its party only as long as the party is active and the certificate by which it was
asked for may be used: each use looks at the register as it is then.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from typing import Final

from gateway.errors import CREDENTIALS_REFUSED, TOO_MANY_REQUESTS, GatewayError
from gateway.hub import RegisterSnapshot
from gateway.pki import Certificate, CertificateUse, read_certificate
from gateway.store import NewToken, api_tokens, parties, read_transaction, write_transaction
from gateway.web.api.api_services import ApiServices
from gateway.web.api.client_assertions import AssertionRules, ClientProof, verify_assertion

__all__ = ["find_token_party", "issue_token"]

_OCTETS: Final = 32
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")
#: A party has few certificates at a time: an old one, a new one, one in reserve.
_MOST_CERTIFICATES: Final = 8


def issue_token(services: ApiServices, assertion: str, client: str) -> str:
    """Return a new access token for the party of an assertion; raises GW214, or GW807 for too many."""
    now = services.clock()
    knowledge = services.hub.refresh_snapshot()
    base = services.public_url
    rules = AssertionRules(
        frozenset({base, f"{base}/token"}),
        now,
        lambda party: _list_certificates(services, knowledge, party, now),
    )
    proof = verify_assertion(assertion, rules, client)
    token = base64.urlsafe_b64encode(services.random(_OCTETS)).decode().rstrip("=")
    _store_token(services, proof, token, now)
    return token


def _list_certificates(
    services: ApiServices, knowledge: RegisterSnapshot, party: str, now: datetime
) -> list[Certificate]:
    """Return the certificates by which an active party may sign now; each of them is valid."""
    if party not in knowledge.parties:
        return []
    with read_transaction(services.engine) as conn:
        rows = parties.list_certificates(conn, party, "signing")[:_MOST_CERTIFICATES]
    usable = [
        row.der
        for row in rows
        if (held := knowledge.by_certificate.get(row.sha256)) and held.describe_invalidity(now) is None
    ]
    judge = services.hub.judge
    return [read_certificate(der) for der in usable if judge(der, CertificateUse.SIGNING, now).is_accepted]


def _store_token(services: ApiServices, proof: ClientProof, token: str, now: datetime) -> None:
    digest = hashlib.sha256(f"{proof.party}\n{proof.id}".encode()).hexdigest()
    settings = services.settings.api
    with write_transaction(services.engine, "api.token") as conn:
        api_tokens.delete_expired_rows(conn, now)
        if not api_tokens.use_assertion(conn, digest, proof.expires_at):
            raise GatewayError(
                CREDENTIALS_REFUSED,
                "the client assertion is not accepted: it was used before",
                "client_assertion",
            )
        if api_tokens.count_valid_tokens(conn, proof.party, now) >= settings.tokens_per_party:
            detail = f"{proof.party[:80]} has {settings.tokens_per_party} access tokens: use one of them"
            raise GatewayError(TOO_MANY_REQUESTS, detail, "client_assertion")
        api_tokens.insert_token(
            conn, NewToken(_digest_token(token), proof.party, proof.certificate, now, now + settings.token)
        )


def find_token_party(services: ApiServices, knowledge: RegisterSnapshot, token: str) -> tuple[str, str]:
    """Return the party that a token stands for now, and the certificate that proved it; raises GW214."""
    now = services.clock()
    row = None
    if _FORM.fullmatch(token) is not None:
        with read_transaction(services.engine) as conn:
            row = api_tokens.find_token(conn, _digest_token(token))
    if row is None or row.expires_at <= now:
        raise GatewayError(CREDENTIALS_REFUSED, "the access token is unknown or has expired", "Authorization")
    held = knowledge.by_certificate.get(row.certificate_sha256)
    if held is None or held.party != row.party_id or held.describe_invalidity(now) is not None:
        detail = "the party of the access token is suspended, or its certificate is no longer registered"
        raise GatewayError(CREDENTIALS_REFUSED, detail, "Authorization")
    return str(row.party_id), str(row.certificate_sha256)


def _digest_token(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()
