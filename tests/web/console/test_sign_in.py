"""Sign-in, sessions and their ends, forged requests, and what every page of the console sends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.store import accounts, audit_log, read_transaction, sessions, write_transaction
from gateway.store.account_tables import sessions as session_rows
from tests.kit.console import PASSWORD, Browser, Console

AGENCY = ("agency", "KPTA")


@pytest.fixture
def officer(console: Console) -> Browser:
    console.add_account("kim", AGENCY, "officer")
    return console.sign_in("kim")


def test_a_person_signs_in_and_out(console: Console, officer: Browser) -> None:
    page = officer.get("/console/account")
    assert page.status_code == 200
    assert "KPTA" in page.text
    assert officer.post("/console/sign-out").status_code == 302
    assert officer.get("/console/account").location.startswith("/console/sign-in?next=")
    with read_transaction(console.services.engine) as conn:
        assert [row.action for row in audit_log.list_actions(conn, actor="kim")] == ["sign_in"]


@pytest.mark.parametrize("name", ["kim", "nobody"])
def test_a_wrong_password_says_nothing_of_the_name(console: Console, name: str) -> None:
    console.add_account("kim", AGENCY, "officer")
    answer = console.visit().post("/console/sign-in", name=name, password="wrong" * 4)
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_suspended_account_and_one_without_roles_are_refused(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    console.add_account("lee", AGENCY)
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_status(conn, kim, "SUSPENDED", console.services.clock())
    for name in ("kim", "lee"):
        assert console.visit().post("/console/sign-in", name=name, password=PASSWORD).status_code == 401


def test_guessing_waits_and_does_not_lock_out_others(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    guesser = console.visit()
    answers = [guesser.post("/console/sign-in", name="kim", password=f"guess {n}") for n in range(6)]
    assert [one.status_code for one in answers] == [401] * 5 + [429]
    assert guesser.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 429
    elsewhere = console.visit()
    elsewhere.client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert elsewhere.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 302


@pytest.mark.parametrize(("wait", "lasts"), [(timedelta(minutes=29), True), (timedelta(minutes=30), False)])
def test_an_idle_session_ends(console: Console, officer: Browser, wait: timedelta, lasts: bool) -> None:
    console.services.hub.clock.now += wait  # type: ignore[attr-defined]
    assert (officer.get("/console/account").status_code == 200) is lasts


def test_a_session_that_is_used_ends_after_its_longest_time(console: Console, officer: Browser) -> None:
    clock = console.services.hub.clock
    for _ in range(29):
        clock.now += timedelta(minutes=20)  # type: ignore[attr-defined]
        assert officer.get("/console/account").status_code == 200
    clock.now += timedelta(minutes=20)  # type: ignore[attr-defined]
    assert officer.get("/console/account").status_code == 302


def test_suspension_and_another_role_end_sessions_at_once(console: Console, officer: Browser) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        kim = accounts.find_by_name(conn, "KIM")
        assert kim is not None
        accounts.set_roles(conn, kim.id, AGENCY, ["reader"], console.services.clock())
    assert officer.get("/console/account").status_code == 302


def test_the_database_does_not_hold_the_token(console: Console, officer: Browser) -> None:
    cookie = officer.client.get_cookie("__Host-session", domain="localhost")
    assert cookie is not None
    assert cookie.secure
    assert cookie.http_only
    assert cookie.same_site == "Strict"
    with read_transaction(console.services.engine) as conn:
        (row,) = conn.execute(session_rows.select()).all()
    assert cookie.value not in {str(value) for value in row}


def test_a_session_is_not_fixed_by_another(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    browser = console.visit()
    browser.client.set_cookie("__Host-session", "chosen-by-an-attacker", secure=True)
    browser.post("/console/sign-in", name="kim", password=PASSWORD)
    cookie = browser.client.get_cookie("__Host-session")
    assert cookie is not None
    assert cookie.value != "chosen-by-an-attacker"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_is_refused(officer: Browser, headers: dict[str, str]) -> None:
    officer.get("/console/account")
    answer = officer.client.post("/console/sign-out", data={"form_token": officer.token}, headers=headers)
    assert answer.status_code == 403
    assert officer.get("/console/account").status_code == 200


@pytest.mark.parametrize("token", ["", "0" * 64, "없음"])
def test_a_form_without_its_token_is_refused(officer: Browser, token: str) -> None:
    assert officer.post("/console/sign-out", form_token=token).status_code == 403
    assert officer.get("/console/account").status_code == 200


def test_the_token_of_another_session_is_refused(console: Console, officer: Browser) -> None:
    console.add_account("lee", AGENCY, "officer")
    other = console.sign_in("lee")
    other.get("/console/account")
    assert officer.post("/console/sign-out", form_token=other.token).status_code == 403


def test_a_new_password_ends_every_other_session(console: Console, officer: Browser) -> None:
    other = console.sign_in("kim")
    officer.get("/console/account")
    changed = officer.post("/console/account/password", old=PASSWORD, new="another long sentence")
    assert changed.status_code == 302
    assert officer.get("/console/account").status_code == 200
    assert other.get("/console/account").status_code == 302
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 401


@pytest.mark.parametrize("new", ["short", "a" * 40, "my name is kim, remember", "x1" * 80])
def test_a_poor_password_is_refused(officer: Browser, new: str) -> None:
    officer.get("/console/account")
    answer = officer.post("/console/account/password", old=PASSWORD, new=new)
    assert answer.status_code == 422
    assert "A password" in answer.text


def test_a_person_of_two_organisations_changes_between_them(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, kim, ("operator", "hub"), ["observer"], console.services.clock())
    browser = console.sign_in("kim")
    browser.get("/console/account")
    assert browser.post("/console/account/organisation", organisation="operator/hub").status_code == 302
    page = browser.get("/console/account")
    assert "observer" in page.text
    assert browser.post("/console/account/organisation", organisation="agency/KFDA").status_code == 302
    assert "observer" in browser.get("/console/account").text


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/console/account?x=1", "/console/account?x=1"),
        ("https://evil.example/console/", "/console/"),
        ("//evil.example/console/", "/console/"),
        ("/console/\\evil", "/console/"),
        ("/other", "/console/"),
        ("/console/a\r\nSet-Cookie: x=1", "/console/"),
    ],
)
def test_sign_in_returns_only_into_the_console(console: Console, wanted: str, path: str) -> None:
    console.add_account("kim", AGENCY, "officer")
    answer = console.visit().post("/console/sign-in", name="kim", password=PASSWORD, next=wanted)
    assert answer.location == path


@pytest.mark.parametrize(
    "path", ["/console/sign-in", "/console/account", "/console/nothing", "/console/static/x"]
)
def test_every_answer_is_protected(officer: Browser, path: str) -> None:
    headers = officer.get(path).headers
    assert "'unsafe" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_the_language_is_chosen_and_kept(console: Console, officer: Browser) -> None:
    assert "My account" in officer.get("/console/account").text
    officer.post("/console/language", language="ko", next="/console/account")
    page = officer.get("/console/account").text
    assert "내 계정" in page
    assert '<html lang="ko">' in page
    with read_transaction(console.services.engine) as conn:
        kim = accounts.find_by_name(conn, "kim")
        assert kim is not None
        assert kim.language == "ko"
        assert len(sessions.list_by_account(conn, kim.id)) == 1


def test_a_mistake_of_ours_shows_no_detail(
    console: Console, officer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.console.account_pages.accounts.list_roles_of", lambda *_: 1 / 0)
    monkeypatch.setattr("gateway.web.console.visitor_session._read_roles", lambda *_: frozenset({"officer"}))
    answer = officer.get("/console/account")
    assert answer.status_code == 500
    assert "GW901" in answer.text
    assert "ZeroDivisionError" not in answer.text
