"""Sign-in by client certificate: the one of the connection, registered to an account, and valid now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from werkzeug.test import TestResponse

from gateway.cli.registration import load_crls
from gateway.pki import ListSuccession
from gateway.store import (
    AccountCertificate,
    accounts,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.server import CERTIFICATE_KEY
from gateway_conformance.pki import (
    CertificateOrder,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.house import START, authority

AGENCY = ("agency", "KPTA")
HOUR = timedelta(hours=1)


def issue(name: str = "kim", profile: str = "tls", days: int = 30) -> IssuedCertificate:
    return issue_certificate(authority(), f"CN={name}", START - HOUR, CertificateOrder(profile, days=days))


def bind(console: Console, account: int, issued: IssuedCertificate) -> str:
    found = issued.certificate
    row = AccountCertificate(found.sha256, str(found.subject), found.not_after, found.der)
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_certificate(conn, account, row, console.services.clock())
    return found.sha256


def enter(console: Console, shown: str | None, address: str = "127.0.0.1") -> TestResponse:
    browser = console.visit()
    browser.connection |= {CERTIFICATE_KEY: shown, "REMOTE_ADDR": address}
    return browser.post("/console/sign-in/certificate")


def revoke(console: Console, issued: IssuedCertificate) -> None:
    """Load a revocation list that names a certificate."""
    listed = make_revocation_list(authority(), [issued.certificate.serial], START, START + 24 * HOUR)
    with write_transaction(console.services.engine, "test") as conn:
        load_crls(conn, listed, ListSuccession((authority().certificate,), console.services.clock()))


def sign_in(console: Console, sha256: str) -> Browser:
    """Return the browser of a person who has signed in with a certificate."""
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = sha256
    assert browser.post("/console/sign-in/certificate").status_code == 302
    assert browser.get("/console/account").status_code == 200
    return browser


#: A part of the sentence that tells a person why the certificate is refused.
REASONS = {"expired": "is not valid at this time", "revoked": "is revoked"}


@pytest.fixture
def kim(console: Console) -> int:
    return console.add_account("kim", AGENCY, "officer")


@pytest.mark.long
@BOTH
def test_a_person_signs_in_with_the_certificate_of_the_connection(console: Console, kim: int) -> None:
    shown = bind(console, kim, issue())
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = shown
    assert "Sign in with the certificate of this browser" in browser.get("/console/sign-in").text
    assert (
        browser.post("/console/sign-in/certificate", next="/console/account").location == "/console/account"
    )
    assert "KPTA" in browser.get("/console/account").text
    with read_transaction(console.services.engine) as conn:
        assert [one.method for one in sessions.list_sessions(conn, kim)] == ["certificate"]
        assert list_actions(conn, actor="kim")[0].object == "certificate"


def test_without_a_certificate_there_is_no_such_way(console: Console, kim: int) -> None:
    bind(console, kim, issue())
    assert "certificate of this browser" not in console.visit().get("/console/sign-in").text
    assert enter(console, None).status_code == 403


def test_a_header_of_a_stranger_is_no_certificate(console: Console, kim: int) -> None:
    shown = bind(console, kim, issue())
    browser = console.visit()
    names = ("gateway.certificate", "X-Client-Certificate", "X-SSL-Client-SHA256", "Client-Cert")
    headers = {name: shown for name in names} | {"Sec-Fetch-Site": "same-origin"}
    assert browser.client.post("/console/sign-in/certificate", headers=headers).status_code == 403


def test_an_unknown_certificate_enters_nowhere(console: Console, kim: int) -> None:
    bind(console, kim, issue())
    assert enter(console, issue("lee").certificate.sha256).status_code == 401
    assert enter(console, "").status_code == 403


@pytest.mark.parametrize("how", ["expired", "revoked", "not for clients", "of a stranger"])
def test_a_certificate_that_is_not_valid_is_refused(console: Console, kim: int, how: str) -> None:
    issued = issue(profile="tls-server" if how == "not for clients" else "tls", days=1)
    if how == "of a stranger":
        other = make_authority("CN=Other CA", START - HOUR, "p-256")
        issued = issue_certificate(other, "CN=kim", START - HOUR, CertificateOrder("tls"))
    shown = bind(console, kim, issued)
    if how == "expired":
        console.services.hub.clock.now += timedelta(days=2)  # type: ignore[attr-defined]
    if how == "revoked":
        assert enter(console, shown).status_code == 302
        revoke(console, issued)
    answer = enter(console, shown)
    assert answer.status_code == 401
    assert "The certificate was not accepted." in answer.text
    assert REASONS.get(how, "not accepted here any more") in answer.text


@pytest.mark.parametrize("how", ["suspended", "without roles"])
def test_a_person_who_may_not_enter_cannot_by_certificate(console: Console, kim: int, how: str) -> None:
    shown = bind(console, kim, issue())
    with write_transaction(console.services.engine, "test") as conn:
        if how == "suspended":
            accounts.set_status(conn, kim, "SUSPENDED", console.services.clock())
        else:
            accounts.set_roles(conn, kim, *AGENCY, [], console.services.clock())
    assert enter(console, shown).status_code == 401
    with read_transaction(console.services.engine) as conn:
        assert list_actions(conn, actor="kim")[0].outcome == "refused"


def test_a_certificate_belongs_to_one_account_and_an_account_has_one(console: Console, kim: int) -> None:
    lee = console.add_account("lee", AGENCY, "officer")
    first, second = issue(), issue("kim 2")
    old = bind(console, kim, first)
    with pytest.raises(IntegrityError):
        bind(console, lee, first)
    assert enter(console, bind(console, kim, second)).status_code == 302
    assert enter(console, old).status_code == 401


@pytest.mark.long
@BOTH
def test_another_certificate_ends_the_sessions_of_the_first(console: Console, kim: int) -> None:
    shown = bind(console, kim, issue())
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = shown
    browser.post("/console/sign-in/certificate")
    by_password = console.enter("kim")
    bind(console, kim, issue("kim 2"))
    assert browser.get("/console/account").status_code == 302
    assert by_password.get("/console/account").status_code == 200


def test_a_network_that_tries_many_waits(console: Console, kim: int) -> None:
    shown = bind(console, kim, issue())
    with write_transaction(console.services.engine, "test") as conn:
        for _ in range(50):
            accounts.record_sign_in(conn, "(x)", "198.51.100.9", False, console.services.clock())
    assert enter(console, shown, "198.51.100.9").status_code == 429
    assert enter(console, shown, "198.51.100.10").status_code == 302
