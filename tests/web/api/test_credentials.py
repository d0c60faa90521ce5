"""Who calls: access tokens by client assertions, and TLS client certificates."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from functools import cache

import pytest
from sqlalchemy import delete, select

from gateway.cli.registration import load_crls, make_certificate_row, register_certificate
from gateway.errors import CERTIFICATE_UNTRUSTED, NO_ROOM, GatewayError
from gateway.pki import Certificate, CertificateUse, ListSuccession, Verdict, read_certificate
from gateway.store import parties, read_transaction, write_transaction
from gateway.store.api_tokens import api_assertions, api_tokens
from gateway.web.api import access_tokens
from gateway.web.api.api_application import find_caller
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_revocation_list
from tests.kit.api import BOTH, Api, Client
from tests.kit.house import START, authority, signer_named
from tests.kit.story import Story
from tests.web.api.test_events import open_stream


def refuse(api: Api, assertion: str, **changes: str) -> str:
    """Return why an assertion is refused; nothing is issued and nothing is stored for it."""
    answer = api.visit().get_token(assertion, **changes)
    assert (answer.status_code, answer.json["error"], answer.json["id"]) == (401, "invalid_client", "GW214")
    with read_transaction(api.services.engine) as conn:
        assert conn.execute(select(api_tokens)).all() == []
    return str(answer.json["error_description"])


@BOTH
def test_a_token_is_short_lived_and_stored_by_its_digest(api: Api) -> None:
    answer = api.visit().get_token(api.assertion("broker1"), client_id="broker1")
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json["access_token"]
    with read_transaction(api.services.engine) as conn:
        (row,) = conn.execute(select(api_tokens)).all()
    assert row.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(row)
    assert api.visit(token=token).get("cases").status_code == 200


@BOTH
def test_a_token_ends(api: Api, story: Story, broker: Client) -> None:
    story.clock.forward(minutes=9)
    assert broker.get("cases").status_code == 200
    story.clock.forward(minutes=1)
    assert broker.refusal("cases") == (401, "GW214")
    api.client("broker1")
    with read_transaction(api.services.engine) as conn:
        assert len(conn.execute(select(api_tokens)).all()) == 1, "what has expired is deleted"


@pytest.mark.parametrize(
    ("key", "named"),
    [("p-256", "x5t#S256"), ("rsa-2048", "kid"), ("ed25519", "kid"), ("ed25519", "neither")],
)
def test_every_kind_of_registered_key_may_sign(api: Api, story: Story, key: str, named: str) -> None:
    signer = signer_named(f"client-{key}", key)
    story.register("client", signer=signer)
    digest = base64.urlsafe_b64encode(bytes.fromhex(signer.certificate.sha256)).decode().rstrip("=")
    header = {"kid": {"kid": signer.certificate.sha256}, "x5t#S256": {"kid": None, "x5t#S256": digest}}
    assertion = api.assertion("client", signer, header=header.get(named, {"kid": None}))
    assert api.visit().get_token(assertion).status_code == 200


@BOTH
def test_an_assertion_is_used_once(api: Api) -> None:
    assertion = api.assertion("broker1")
    assert api.visit().get_token(assertion).status_code == 200
    answer = api.visit().get_token(assertion)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
    again = api.assertion("broker1", jti="the-same-number")
    other = api.assertion("broker1", jti="the-same-number", iat=None)
    assert api.visit().get_token(again).status_code == 200
    assert api.visit().get_token(other).status_code == 401
    with read_transaction(api.services.engine) as conn:
        assert len(conn.execute(select(api_assertions)).all()) == 2


def test_an_assertion_is_used_once_as_long_as_it_is_accepted(api: Api, story: Story) -> None:
    """It ends after two minutes, and is accepted for thirty seconds more."""
    used, unused = api.assertion("broker1"), api.assertion("broker1")
    assert api.visit().get_token(used).status_code == 200
    for seconds in (119, 1, 29):
        story.clock.forward(seconds=seconds)
        again = api.visit().get_token(used)
        assert again.status_code == 401
        assert "it was used before" in again.json["error_description"]
    assert api.visit().get_token(unused).status_code == 200
    story.clock.forward(seconds=1)
    assert "it has expired" in api.visit().get_token(used).json["error_description"]


def test_an_assertion_of_another_party_with_the_same_number_is_another_one(api: Api, story: Story) -> None:
    story.register("broker2", "6N002")
    for name in ("broker1", "broker2"):
        assert api.visit().get_token(api.assertion(name, jti="the-same-number")).status_code == 200


def test_a_further_audience_does_no_harm(api: Api) -> None:
    audience = ["https://other.example", api.services.public_url]
    assert api.visit().get_token(api.assertion("broker1", aud=audience)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "other"}, "invalid_request"),
        ({"scope": "all"}, "invalid_request"),
    ],
)
def test_another_grant_is_refused(api: Api, changes: dict[str, str], error: str) -> None:
    answer = api.visit().get_token(api.assertion("broker1"), **changes)
    assert (answer.status_code, answer.json["error"]) == (400, error)


def test_another_client_id_is_refused(api: Api) -> None:
    refuse(api, api.assertion("broker1"), client_id="broker2")


def test_only_signing_certificates_of_active_parties_get_tokens(api: Api, story: Story) -> None:
    signer = signer_named("tls-only")
    story.register("broker2", "6N002")
    with write_transaction(story.house.engine) as conn:
        parties.add_certificate(conn, "broker2", make_certificate_row(signer.certificate, "tls"), START)
    refuse(api, api.assertion("broker2", signer))
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker2", "SUSPENDED")
    refuse(api, api.assertion("broker2"))
    assert refuse(api, api.assertion("nobody", signer)) == refuse(api, api.assertion("broker2"))


def test_an_expired_certificate_gets_no_token(api: Api, story: Story) -> None:
    order = CertificateOrder(key_kind="p-256", days=1)
    short = issue_certificate(authority(), "CN=short", START - timedelta(hours=1), order).signer
    story.register("short", signer=short)
    assert api.visit().get_token(api.assertion("short", short)).status_code == 200
    story.clock.forward(days=2)
    assert api.visit().get_token(api.assertion("short", short)).status_code == 401


def test_a_token_ends_with_its_certificate(api: Api, story: Story, broker: Client) -> None:
    assert broker.get("cases").status_code == 200
    with write_transaction(story.house.engine) as conn:
        parties.retire_certificate(conn, signer_named("broker1").certificate.sha256)
    assert broker.refusal("cases") == (401, "GW214")


def revoke(story: Story, certificate: Certificate) -> None:
    """Load a revocation list that names a certificate."""
    listed = make_revocation_list(authority(), [certificate.serial], START, START + timedelta(days=1))
    with write_transaction(story.house.engine) as conn:
        load_crls(conn, listed, ListSuccession((authority().certificate,), story.clock()))


@pytest.mark.refusal("broker's software goes on with the token of a certificate that is revoked")
@BOTH
def test_a_token_ends_when_a_list_revokes_its_certificate(api: Api, story: Story, broker: Client) -> None:
    stream = open_stream(broker)
    assert broker.get("cases").status_code == 200
    assert stream.read_batch() == b": nothing new\n\n"
    revoke(story, signer_named("broker1").certificate)
    answer = broker.get("cases")
    assert (answer.status_code, answer.json["id"]) == (401, "GW214")
    assert "the certificate of the access token is not accepted: GW207" in answer.json["detail"]
    assert stream.read_batch() is None
    stream.close()
    assert "the certificate of the client cannot be used: GW207" in refuse_further(api)


def refuse_further(api: Api) -> str:
    """Return why a party gets no further token."""
    answer = api.visit().get_token(api.assertion("broker1"))
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
    return str(answer.json["error_description"])


def test_a_token_ends_with_the_time_of_its_certificate(api: Api, story: Story) -> None:
    order = CertificateOrder(key_kind="p-256", days=1)
    short = issue_certificate(authority(), "CN=short", START - timedelta(hours=1), order).signer
    story.register("short", signer=short)
    story.clock.forward(minutes=23 * 60 - 5)
    client = api.client("short", short)
    assert client.get("cases").status_code == 200
    story.clock.forward(minutes=6)
    assert client.refusal("cases") == (401, "GW214")


def test_a_certificate_that_cannot_be_validated_for_a_while_costs_no_token(
    api: Api, broker: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = api.services.hub

    def fail(*_: object) -> Verdict:
        now = hub.clock()
        return Verdict.make_transient("no memory", now)

    with monkeypatch.context() as shortage:
        shortage.setattr(hub, "judge", fail)
        assert broker.refusal("cases") == (503, "GW806")
        answer = api.visit().get_token(api.assertion("broker1"))
        assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert broker.get("cases").status_code == 200


def test_another_certificate_gets_a_token_while_one_cannot_be_validated(
    api: Api, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = signer_named("second")
    with write_transaction(api.services.engine) as conn:
        register_certificate(conn, "broker1", second.certificate.der, story.clock())
    hub = api.services.hub
    validate = hub.judge

    def fail_for_second(der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        if der != second.certificate.der:
            return validate(der, use, at)
        return Verdict.make_transient("no memory", at)

    monkeypatch.setattr(hub, "judge", fail_for_second)
    assert api.visit().get_token(api.assertion("broker1")).status_code == 200
    for header in ({}, {"kid": None}):
        assert api.visit().get_token(api.assertion("broker1", second, header=header)).status_code == 503


def test_only_the_holder_of_the_key_is_told_why_its_certificate_is_refused(api: Api, story: Story) -> None:
    second = signer_named("second")
    with write_transaction(api.services.engine) as conn:
        register_certificate(conn, "broker1", second.certificate.der, story.clock())
    revoke(story, second.certificate)
    stranger = signer_named("stranger")
    for kid in (None, second.certificate.sha256):
        answer = api.visit().get_token(api.assertion("broker1", stranger, header={"kid": kid}))
        assert answer.json["error_description"].endswith("its signature is wrong")
        answer = api.visit().get_token(api.assertion("broker1", second, header={"kid": kid}))
        assert "GW207" in answer.json["error_description"]
    for header in ({}, {"kid": None}):
        assert api.visit().get_token(api.assertion("broker1", header=header)).status_code == 200


def test_a_party_has_so_many_tokens(story: Story) -> None:
    api = Api(story.house.hub, api={"tokens_per_party": 2})
    for _ in range(2):
        api.client("broker1")
    answer = api.visit().get_token(api.assertion("broker1"))
    assert (answer.status_code, answer.json["error"]) == (429, "temporarily_unavailable")
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize(
    "header",
    ["", "Basic YTpi", "Bearer", "Bearer ", "Bearer x", "Bearer " + "a" * 43, "Bearer é", "Bearer a b"],
)
def test_without_a_token_there_is_no_answer(api: Api, header: str) -> None:
    answer = api.visit().get("cases", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@cache
def tls_certificate(name: str) -> Certificate:
    order = CertificateOrder("tls", days=300)
    return issue_certificate(authority(), f"CN={name}", START - timedelta(hours=1), order).signer.certificate


def use_tls(story: Story, name: str, party: str) -> str:
    found = tls_certificate(name)
    with write_transaction(story.house.engine) as conn:
        parties.add_certificate(conn, party, make_certificate_row(found, "tls"), START)
    return found.sha256


def test_a_registered_client_certificate_is_enough(api: Api, story: Story) -> None:
    shown = use_tls(story, "broker1-tls", "broker1")
    client = api.visit(certificate=shown)
    assert client.get("cases").status_code == 200
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    assert client.refusal("cases") == (401, "GW213")


def test_an_unknown_client_certificate_is_refused(api: Api) -> None:
    assert api.visit(certificate="0" * 64).refusal("cases") == (401, "GW213")
    # A signing certificate is none for TLS.
    assert api.visit(certificate=signer_named("broker1").certificate.sha256).refusal("cases") == (
        401,
        "GW213",
    )


def test_a_certificate_beside_a_token_must_be_of_the_same_party(
    api: Api, story: Story, broker: Client
) -> None:
    story.register("broker2", "6N002")
    own, other = use_tls(story, "broker1-tls", "broker1"), use_tls(story, "broker2-tls", "broker2")
    broker.certificate = own
    assert broker.get("cases").status_code == 200
    broker.certificate = other
    assert broker.refusal("cases") == (401, "GW213")


def test_a_party_that_must_show_a_certificate_must_show_it_here(
    api: Api, story: Story, broker: Client
) -> None:
    story.hub.mutual_tls = frozenset({"broker1"})
    assert broker.refusal("cases") == (401, "GW213")


def test_the_way_of_a_caller_is_told_for_the_evidence(api: Api, broker: Client) -> None:
    way = {"method": "token", "certificate": signer_named("broker1").certificate.sha256}
    assert find_caller(api.services, f"Bearer {broker.token}", None).authentication == way


def test_a_certificate_that_this_version_refuses_takes_no_other_with_it(
    api: Api, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy of this hub may accept what the program itself refuses."""
    refused = {signer_named("second").certificate.der}
    with write_transaction(api.services.engine) as conn:
        register_certificate(conn, "broker1", signer_named("second").certificate.der, story.clock())
    problem = GatewayError(CERTIFICATE_UNTRUSTED, "the key is too short")

    def read(der: bytes) -> Certificate:
        if der in refused:
            raise problem
        return read_certificate(der)

    monkeypatch.setattr(access_tokens, "read_certificate", read)
    assert api.visit().get_token(api.assertion("broker1")).status_code == 200
    refused.add(signer_named("broker1").certificate.der)
    with write_transaction(api.services.engine) as conn:
        conn.execute(delete(api_tokens))
    assert refuse(api, api.assertion("broker1")).endswith("cannot be used: GW205 the key is too short")
    problem = GatewayError(NO_ROOM, "memory is used up")
    assert api.visit().get_token(api.assertion("broker1")).json["error"] == "temporarily_unavailable"
