"""A session that began with a client certificate counts only while the certificate is valid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.errors import REVOCATION_UNKNOWN
from gateway.operations import find_account_certificate_warnings
from gateway.pki import CertificateUse, Verdict
from gateway.store import accounts, write_transaction
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.web.console.test_certificate_sign_in import AGENCY, REASONS, bind, issue, revoke, sign_in


@pytest.fixture
def kim(console: Console) -> int:
    return console.add_account("kim", AGENCY, "officer")


@pytest.mark.refusal("an officer goes on with a certificate that was revoked after the sign-in")
@pytest.mark.long
@BOTH
def test_a_session_ends_when_a_list_revokes_its_certificate(console: Console, kim: int) -> None:
    issued = issue()
    browser = sign_in(console, bind(console, kim, issued))
    by_password = console.enter("kim")
    revoke(console, issued)
    answer = browser.get("/console/account")
    assert answer.status_code == 302
    assert answer.location.startswith("/console/sign-in")
    assert REASONS["revoked"] in browser.get(answer.location).text
    assert by_password.get("/console/account").status_code == 200, "the password is another proof"


def test_a_session_ends_with_the_time_of_its_certificate(console: Console, kim: int) -> None:
    issued = issue(days=1)
    clock: Any = console.services.hub.clock
    clock.now = issued.certificate.not_after - timedelta(minutes=5)
    browser = sign_in(console, bind(console, kim, issued))
    clock.now += timedelta(minutes=6)
    answer = browser.get("/console/work")
    assert answer.status_code == 302
    assert REASONS["expired"] in browser.get(answer.location).text


def test_a_form_of_a_session_whose_certificate_is_revoked_changes_nothing(console: Console, kim: int) -> None:
    issued = issue()
    browser = sign_in(console, bind(console, kim, issued))
    revoke(console, issued)
    answer = browser.post("/console/work/batch", number="1")
    assert answer.status_code == 401
    assert "Your session has ended." in answer.text


def test_a_session_in_another_organisation_rests_on_the_same_certificate(console: Console, kim: int) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, kim, "agency", "NPQS", ["reader"], console.services.clock())
    issued = issue()
    browser = sign_in(console, bind(console, kim, issued))
    switched = browser.post("/console/account/organisation", organisation="agency/NPQS")
    assert switched.status_code == 302
    assert browser.get("/console/account").status_code == 200
    revoke(console, issued)
    assert browser.get("/console/account").status_code == 302


def test_the_operator_is_warned_of_people_whose_certificate_keeps_them_out(
    console: Console, kim: int
) -> None:
    lee, park = (console.add_account(name, AGENCY, "officer") for name in ("lee", "park"))
    revoked, ending = issue(days=40), issue("lee", days=20)
    bind(console, kim, revoked)
    bind(console, lee, ending)
    bind(console, park, issue("park", days=40))
    hub = console.services.hub
    (warning,) = find_account_certificate_warnings(hub)
    assert warning.startswith("the client certificate of account lee ends in 19 days, at ")
    revoke(console, revoked)
    hub.refresh_snapshot()
    first, second = find_account_certificate_warnings(hub)
    assert first.startswith("the client certificate of account kim is not accepted: GW207 ")
    assert second == warning


def test_a_certificate_that_cannot_be_validated_for_a_while_ends_no_session(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(console, bind(console, kim, issue()))
    hub = console.services.hub
    validate = hub.judge
    shortage = "the process that validates cannot be started"

    def fail(_der: bytes, use: CertificateUse, at: object) -> Verdict:
        assert use is CertificateUse.TLS_CLIENT
        now = hub.clock()
        return Verdict("indeterminate", REVOCATION_UNKNOWN, shortage, (), now, now, is_transient=True)

    monkeypatch.setattr(hub, "judge", fail)
    answer = browser.get("/console/account")
    assert (answer.status_code, "GW806" in answer.text) == (503, True)
    assert browser.post("/console/sign-in/certificate").status_code == 503
    monkeypatch.setattr(hub, "judge", validate)
    assert browser.get("/console/account").status_code == 200
