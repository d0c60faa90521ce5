"""Passkeys at the console: registration, sign-in, confirmation of an act; challenges are used once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from gateway.accounts import PasskeyError, verify_confirmation
from gateway.store import NewPasskey, accounts, read_transaction, sessions, write_transaction
from gateway.store.sessions import passkey_challenges
from gateway.web.console.page_guards import Visitor, find_visitor
from gateway.web.console.passkey_challenges import begin_passkey_confirmation, finish_passkey_confirmation
from tests.kit.audited import list_actions
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH

AGENCY = ("agency", "KPTA")
DOCUMENT = b'{"act":"approve","number":17}'


@pytest.fixture
def officer(console: Console) -> Browser:
    console.add_account("kim", AGENCY, "officer")
    return console.enter("kim")


def register(browser: Browser, authenticator: Authenticator, **fields: Any) -> TestResponse:
    browser.get("/console/account/passkeys")
    options = browser.post("/console/account/passkeys/options").text
    told = {"name": "desk", "password": PASSWORD, "passkey_answer": authenticator.create(options)}
    return browser.post("/console/account/passkeys", **told | fields)


def sign_in(console: Console, authenticator: Authenticator, browser: Browser | None = None) -> TestResponse:
    browser = browser or console.visit()
    options = browser.post("/console/sign-in/passkey/options").text
    return browser.post("/console/sign-in/passkey", passkey_answer=authenticator.get(options))


@pytest.mark.long
@BOTH
def test_a_passkey_is_added_named_used_and_removed(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    assert register(officer, authenticator, name="  my   desk ").status_code == 302
    assert "my desk" in officer.get("/console/account/passkeys").text
    other = console.visit()
    assert sign_in(console, authenticator, other).location == "/console/"
    assert "passkeys" in other.get("/console/account").text
    assert "never" not in officer.get("/console/account/passkeys").text
    with read_transaction(console.services.engine) as conn:
        (row,) = sessions.list_passkeys(conn, 1)
        said = [(one.action, one.object) for one in list_actions(conn, actor="kim")]
    assert ("add_passkey", "my desk") in said
    assert ("sign_in", "passkey") in said
    assert officer.post(f"/console/account/passkeys/{row.id}/remove").status_code == 302
    assert other.get("/console/account").status_code == 302, "who has the lost device is signed out"
    assert officer.get("/console/account").status_code == 200
    assert sign_in(console, authenticator).status_code == 401


@pytest.mark.long
def test_a_stolen_session_cannot_add_a_passkey(console: Console, officer: Browser) -> None:
    answers = [register(officer, Authenticator(), password=f"guess {one}") for one in range(6)]
    assert "The present password is wrong." in answers[0].text
    assert "Too many attempts" in answers[5].text
    assert "You have no passkey." in officer.get("/console/account/passkeys").text


def test_an_answer_is_used_once(console: Console, officer: Browser) -> None:
    authenticator = Authenticator(steps=0)
    register(officer, authenticator)
    browser = console.visit()
    answer = authenticator.get(browser.post("/console/sign-in/passkey/options").text)
    assert browser.post("/console/sign-in/passkey", passkey_answer=answer).status_code == 302
    assert console.visit().post("/console/sign-in/passkey", passkey_answer=answer).status_code == 401


def test_an_answer_that_is_late_is_refused(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    browser = console.visit()
    answer = authenticator.get(browser.post("/console/sign-in/passkey/options").text)
    console.services.hub.clock.now += timedelta(minutes=5)  # type: ignore[attr-defined]
    assert browser.post("/console/sign-in/passkey", passkey_answer=answer).status_code == 401


def test_a_challenge_of_the_gateway_alone_is_answered(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    answer = authenticator.get('{"challenge": "Y2hvc2VuLWJ5LWFuLWF0dGFja2Vy"}')
    assert console.visit().post("/console/sign-in/passkey", passkey_answer=answer).status_code == 401


def test_a_copy_of_a_passkey_is_noticed(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    assert sign_in(console, authenticator).status_code == 302
    authenticator.count = 0
    assert sign_in(console, authenticator).status_code == 401


@pytest.mark.parametrize("how", ["suspended", "without roles"])
def test_a_person_who_may_not_enter_cannot_by_passkey(console: Console, officer: Browser, how: str) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    with write_transaction(console.services.engine, "test") as conn:
        if how == "suspended":
            accounts.set_status(conn, 1, "SUSPENDED", console.services.clock())
        else:
            accounts.set_roles(conn, 1, *AGENCY, [], console.services.clock())
    assert sign_in(console, authenticator).status_code == 401


def test_who_is_attacked_by_name_enters_by_passkey(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    for number in range(6):
        console.visit().post("/console/sign-in", name="kim", password=f"guess {number}")
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 429
    assert sign_in(console, authenticator).status_code == 302


@pytest.mark.long
def test_a_network_that_tries_many_passkeys_waits_alone(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    with write_transaction(console.services.engine, "test") as conn:
        for _ in range(49):
            accounts.record_sign_in(conn, "(passkey)", "198.51.100.9", False, console.services.clock())
    stranger = console.visit()
    stranger.client.environ_base["REMOTE_ADDR"] = "198.51.100.9"
    assert stranger.post("/console/sign-in/passkey", passkey_answer="{}").status_code == 401
    assert stranger.post("/console/sign-in/passkey", passkey_answer="{}").status_code == 429
    assert sign_in(console, authenticator).status_code == 302


@pytest.mark.long
def test_challenges_of_a_network_are_limited(console: Console) -> None:
    stranger = console.visit()
    given = [stranger.post("/console/sign-in/passkey/options").status_code for _ in range(101)]
    assert given == [200] * 100 + [429]
    console.services.hub.clock.now += timedelta(minutes=5)  # type: ignore[attr-defined]
    assert stranger.post("/console/sign-in/passkey/options").status_code == 200
    with write_transaction(console.services.engine, "test") as conn:
        assert sessions.remove_expired_challenges(conn, console.services.clock()) == 100
        assert len(conn.execute(passkey_challenges.select()).all()) == 1


def test_a_registration_is_answered_in_its_own_session(console: Console, officer: Browser) -> None:
    console.add_account("lee", AGENCY, "officer")
    lee = console.enter("lee")
    officer.get("/console/account/passkeys")
    answer = Authenticator().create(officer.post("/console/account/passkeys/options").text)
    lee.get("/console/account/passkeys")
    fields = {"name": "theirs", "password": PASSWORD, "passkey_answer": answer}
    assert lee.post("/console/account/passkeys", **fields).status_code == 422


@pytest.mark.long
def test_a_passkey_belongs_to_one_account(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    console.add_account("lee", AGENCY, "officer")
    lee = console.enter("lee")
    assert register(lee, authenticator).status_code == 422
    assert lee.post("/console/account/passkeys/1/remove").status_code == 404
    officer.get("/console/account/passkeys")
    authenticator.create(officer.post("/console/account/passkeys/options").text)
    assert sign_in(console, authenticator).status_code == 302


def test_the_last_way_to_sign_in_is_kept(console: Console, officer: Browser) -> None:
    register(officer, Authenticator())
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_password(conn, 1, None, console.services.clock())
        passkey = sessions.list_passkeys(conn, 1)[0]
    with write_transaction(console.services.engine, "test") as conn:
        conn.exec_driver_sql("UPDATE sessions SET ended_at = NULL")
    answer = officer.post(f"/console/account/passkeys/{passkey.id}/remove")
    assert answer.status_code == 409
    assert "the only way to sign in" in answer.text


def get_visitor(console: Console, browser: Browser) -> Visitor:
    cookie = browser.client.get_cookie("__Host-session", domain="localhost")
    assert cookie is not None
    visitor = console.call(find_visitor, cookie.value)
    assert visitor is not None
    return visitor


def test_an_act_is_confirmed_and_its_evidence_stands_alone(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    visitor = get_visitor(console, officer)
    options = console.call(begin_passkey_confirmation, visitor, DOCUMENT)
    assert options is not None
    answer = authenticator.get(options)
    with write_transaction(console.services.engine, "test") as conn:
        act = console.call(finish_passkey_confirmation, conn, visitor, DOCUMENT, answer)
    assert act.credential_id == authenticator.credential
    assert verify_confirmation(DOCUMENT, act.evidence).credential_id == authenticator.credential
    for document in (DOCUMENT, DOCUMENT + b" "):
        with (
            pytest.raises(PasskeyError),
            write_transaction(console.services.engine, "test") as conn,
        ):
            console.call(finish_passkey_confirmation, conn, visitor, document, answer)


def test_a_confirmation_is_of_the_person_and_the_session(console: Console, officer: Browser) -> None:
    authenticator = Authenticator()
    register(officer, authenticator)
    console.add_account("lee", AGENCY, "approver")
    lee = get_visitor(console, console.enter("lee"))
    assert console.call(begin_passkey_confirmation, lee, DOCUMENT) is None
    options = console.call(begin_passkey_confirmation, get_visitor(console, officer), DOCUMENT)
    assert options is not None
    answer = authenticator.get(options)
    second = get_visitor(console, console.enter("kim"))
    for visitor in (lee, second):
        with (
            pytest.raises(PasskeyError),
            write_transaction(console.services.engine, "test") as conn,
        ):
            console.call(finish_passkey_confirmation, conn, visitor, DOCUMENT, answer)


def test_a_signed_in_person_is_not_asked_to_sign_in(officer: Browser) -> None:
    assert officer.get("/console/sign-in?next=/console/account").location == "/console/account"


@pytest.mark.long
def test_an_account_has_a_limited_number_of_passkeys(console: Console, officer: Browser) -> None:
    with write_transaction(console.services.engine) as conn:
        for number in range(20):
            new = NewPasskey(1, f"{number:08d}", b"key", 0, "desk", False)
            sessions.insert_passkey(conn, new, console.services.clock())
    refused = register(officer, Authenticator())
    assert (refused.status_code, "Remove one first" in refused.text) == (422, True)
    with read_transaction(console.services.engine) as conn:
        assert len(sessions.list_passkeys(conn, 1)) == 20
