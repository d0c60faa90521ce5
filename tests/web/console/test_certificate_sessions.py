"""A session that began with a client certificate counts only while the certificate is valid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event, Semaphore, Thread
from typing import Any

import pytest

from gateway.operations import find_account_certificate_warnings
from gateway.pki import CertificateUse, Verdict
from gateway.store import accounts, read_transaction, sessions, write_transaction
from gateway.web.console import sign_in as console_sign_in
from gateway.web.server import CERTIFICATE_KEY
from tests.kit.console import PASSWORD, Browser, Console
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
    lee, park, choi = (console.add_account(name, AGENCY, "officer") for name in ("lee", "park", "choi"))
    bind(console, choi, issue("choi", days=20))
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_status(conn, choi, "SUSPENDED", console.services.clock())
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


def test_who_signs_out_is_out_also_when_the_certificate_is_valid_again(console: Console, kim: int) -> None:
    issued = issue()
    browser = sign_in(console, bind(console, kim, issued))
    revoke(console, issued)
    cookie = browser.client.get_cookie("__Host-session")
    assert cookie is not None
    assert browser.post("/console/sign-out").status_code == 302
    assert "is revoked" not in browser.get("/console/sign-in").text
    with read_transaction(console.services.engine) as conn:
        assert all(one.ended_at is not None for one in sessions.list_sessions(conn, kim))


def test_warnings_about_many_certificates_are_counted(console: Console) -> None:
    for number in range(23):
        account = console.add_account(f"officer{number}", AGENCY, "officer")
        bind(console, account, issue(f"officer{number}", days=20))
    *_, last = warnings = list(find_account_certificate_warnings(console.services.hub))
    assert len(warnings) == 21
    assert last == "the client certificates of 3 more accounts are not accepted, or end soon"


def test_a_session_whose_certificate_is_revoked_is_ended_by_its_own_form_alone(
    console: Console, kim: int
) -> None:
    issued = issue()
    browser = sign_in(console, bind(console, kim, issued))
    revoke(console, issued)
    browser.get("/console/sign-in")
    assert browser.post("/console/sign-out", form_token="x" * 64).status_code == 403
    assert browser.post("/console/language", language="ko", next="/console/sign-in").status_code == 302
    assert browser.post("/console/sign-out").status_code == 302


class Shortage:
    """While it lasts, no certificate can be validated."""

    def __init__(self, console: Console) -> None:
        self.hub = console.services.hub

    def __call__(self, _der: bytes, use: CertificateUse, at: object) -> Verdict:
        assert use is CertificateUse.TLS_CLIENT
        now = self.hub.clock()
        reason = "the process that validates cannot be started"
        return Verdict.make_transient(reason, now)


def test_a_certificate_that_cannot_be_validated_for_a_while_ends_no_session(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(console, bind(console, kim, issue()))
    with monkeypatch.context() as shortage:
        shortage.setattr(console.services.hub, "judge", Shortage(console))
        answer = browser.get("/console/account")
        assert (answer.status_code, "GW806" in answer.text) == (503, True)
        assert browser.post("/console/sign-in/certificate").status_code == 503
    assert browser.get("/console/account").status_code == 200


def test_during_a_shortage_a_person_with_a_certificate_can_sign_in_otherwise(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(console, bind(console, kim, issue()))
    monkeypatch.setattr(console.services.hub, "judge", Shortage(console))
    page = browser.get("/console/sign-in")
    assert page.status_code == 200
    assert "Your certificate cannot be examined now." in page.text
    assert browser.post("/console/language", language="ko", next="/console/sign-in").status_code == 302
    assert "지금은 귀하의 인증서를 검증할 수 없습니다." in browser.get("/console/sign-in").text
    assert browser.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 302
    assert browser.get("/console/account").status_code == 200


def test_during_a_shortage_a_person_can_sign_out(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(console, bind(console, kim, issue()))
    with monkeypatch.context() as shortage:
        shortage.setattr(console.services.hub, "judge", Shortage(console))
        assert browser.post("/console/sign-out").status_code == 302
    assert browser.get("/console/account").status_code == 302


@pytest.mark.long
@BOTH
def test_a_certificate_replaced_during_a_sign_in_keeps_no_session(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = bind(console, kim, issue())
    replacing = Thread(target=bind, args=(console, kim, issue("kim 2")))
    begin = console_sign_in.begin_session

    def begin_while_replaced(*values: Any) -> str | None:
        replacing.start()
        replacing.join(0.3)
        return begin(*values)

    monkeypatch.setattr(console_sign_in, "begin_session", begin_while_replaced)
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = former
    browser.post("/console/sign-in/certificate")
    replacing.join()
    assert browser.get("/console/account").status_code == 302


@pytest.mark.parametrize("how", ["replaced", "given to another account"])
def test_a_certificate_replaced_while_it_is_validated_signs_nobody_in(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    issued = issue()
    former = bind(console, kim, issued)
    lee = console.add_account("lee", AGENCY, "officer")
    validate = console.services.hub.judge

    def validate_and_replace(*values: Any) -> Verdict:
        verdict = validate(*values)
        bind(console, kim, issue("kim 2"))
        if how == "given to another account":
            bind(console, lee, issued)
        return verdict

    monkeypatch.setattr(console.services.hub, "judge", validate_and_replace)
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = former
    assert browser.post("/console/sign-in/certificate").status_code == 401


def test_the_requests_of_a_person_are_counted_before_the_certificate_is_validated(
    console: Console, kim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(console, bind(console, kim, issue()))
    limit = console.services.settings.console.requests_per_account
    cookies = browser.client.get_cookie("__Host-session")
    assert cookies is not None
    validate, may_go_on, running = console.services.hub.judge, Event(), Semaphore(0)

    def wait(*values: Any) -> Verdict:
        running.release()
        assert may_go_on.wait(20)
        return validate(*values)

    monkeypatch.setattr(console.services.hub, "judge", wait)
    with ThreadPoolExecutor(limit) as pool:
        others = [pool.submit(clone(console, browser).get, "/console/account") for _ in range(limit)]
        assert all(running.acquire(timeout=20) for _ in others)
        refused = clone(console, browser).get("/console/account")
        may_go_on.set()
        assert (refused.status_code, "GW807" in refused.text) == (429, True)
        assert [other.result().status_code for other in others] == [200] * limit


def clone(console: Console, browser: Browser) -> Browser:
    """Return a further window of a browser."""
    window = console.visit()
    cookie = browser.client.get_cookie("__Host-session")
    assert cookie is not None
    window.client.set_cookie("__Host-session", cookie.value, secure=True)
    window.connection |= browser.connection
    return window
