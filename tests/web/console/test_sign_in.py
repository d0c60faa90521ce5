"""Sign-in, sessions and their ends, forged requests, and what every page of the console sends."""

from __future__ import annotations

import io
import re
import unicodedata
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher

from gateway import __version__
from gateway.process_log import format_text
from gateway.store import accounts, parties, read_transaction, sessions, write_transaction
from gateway.store.accounts import sessions as session_rows
from tests.kit.audited import list_actions
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story

AGENCY = ("agency", "KPTA")


@pytest.fixture
def officer(console: Console) -> Browser:
    console.add_account("kim", AGENCY, "officer")
    return console.sign_in("kim")


@BOTH
def test_a_person_signs_in_and_out(console: Console, officer: Browser) -> None:
    page = officer.get("/console/account")
    assert page.status_code == 200
    assert "KPTA" in page.text
    assert officer.post("/console/sign-out").status_code == 302
    assert officer.get("/console/account").location.startswith("/console/sign-in?next=")
    with read_transaction(console.services.engine) as conn:
        assert [row.action for row in list_actions(conn, actor="kim")] == ["sign_in"]


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


def test_nobody_waits_for_a_time_that_the_clock_was_set_back_from(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    guesser = console.visit()
    for number in range(5):
        guesser.post("/console/sign-in", name="kim", password=f"wrong password {number}")
    clock: Any = console.services.hub.clock
    assert guesser.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 429
    clock.now -= timedelta(minutes=1)
    assert guesser.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 429
    clock.now -= timedelta(hours=9)
    assert guesser.post("/console/sign-in", name="kim", password=PASSWORD).status_code == 302


@pytest.mark.long
def test_an_old_hash_of_a_decomposed_password_is_replaced_at_the_sign_in(console: Console) -> None:
    composed = "비밀번호는 아주 길고 어렵습니다"
    typed = unicodedata.normalize("NFD", composed)
    kim = console.add_account("kim", AGENCY, "officer")
    # 0.1.0 hashed what was typed.
    old_hash = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(typed)
    with write_transaction(console.services.engine, "test") as conn:
        accounts.replace_password_hash(conn, kim, old_hash)
    session = console.enter("kim")

    def sign_in(password: str) -> int:
        return console.visit().post("/console/sign-in", name="kim", password=password).status_code

    def read_hash() -> str:
        with read_transaction(console.services.engine) as conn:
            account = accounts.find_by_id(conn, kim)
        assert account is not None
        return str(account.password)

    assert sign_in(composed) == 401
    assert sign_in(unicodedata.normalize("NFD", composed.replace("비", "바"))) == 401
    assert read_hash() == old_hash
    assert sign_in(typed) == 302
    new_hash = read_hash()
    assert new_hash != old_hash
    assert [sign_in(composed), sign_in(typed)] == [302, 302]
    assert read_hash() == new_hash
    assert session.get("/console/account").status_code == 200


@pytest.mark.parametrize(("wait", "lasts"), [(timedelta(minutes=29), True), (timedelta(minutes=30), False)])
def test_an_idle_session_ends(console: Console, officer: Browser, wait: timedelta, lasts: bool) -> None:
    console.services.hub.clock.now += wait  # type: ignore[attr-defined]
    assert (officer.get("/console/account").status_code == 200) is lasts


@BOTH
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
        accounts.set_roles(conn, kim.id, *AGENCY, ["reader"], console.services.clock())
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


@BOTH
def test_a_further_sign_in_ends_the_session_that_was_used_longest_ago(
    console: Console, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.console.page_guards._MOST_SESSIONS", 3)
    console.add_account("kim", AGENCY, "officer")
    console.add_account("lee", AGENCY, "officer")
    other = console.enter("lee")
    browsers = []
    for _ in range(3):
        browsers.append(console.enter("kim"))
        story.clock.forward(minutes=2)
    browsers[0].get("/console/work")
    browsers.append(console.enter("kim"))
    assert [one.get("/console/work").status_code for one in browsers] == [200, 302, 200, 200]
    assert other.get("/console/work").status_code == 200


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


@pytest.mark.parametrize(
    ("public_url", "origin", "status"),
    [
        ("https://Console.example:443/", "https://console.example", 302),
        ("https://console.example:8443", "https://console.example:8443", 302),
        ("https://console.example", "https://console.example:8443", 403),
        ("https://console.example", "http://console.example", 403),
        ("https://console.example", "http://evil.example", 403),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", 302),
        (None, "http://evil.example", 302),
        (None, "https://evil.example", 403),
    ],
)
def test_the_origin_of_a_form_is_that_of_the_settings_whatever_the_host(
    story: Story, public_url: str | None, origin: str, status: int
) -> None:
    console = Console(story.house.hub, console={"public_url": public_url})
    console.add_account("kim", AGENCY, "officer")
    kim = console.enter("kim")
    kim.get("/console/account")
    headers = {"Origin": origin, "Host": "evil.example"}
    form = {"form_token": kim.token, "language": "ko", "next": "/console/"}
    answer = kim.client.post("/console/language", data=form, headers=headers)
    assert answer.status_code == status
    # Without the setting, a proxy that changes the Host is the other cause.
    assert ("console.public_url" in answer.text) is (status == 403 and public_url is None)


@pytest.mark.parametrize(
    "path", ["/console", "/console/", "/console//account", "//console/", "/console/account", "/console/work/"]
)
def test_no_redirect_names_the_host_of_the_request(console: Console, path: str) -> None:
    answer = console.visit().client.get(path, headers={"Host": "evil.example"})
    assert "evil" not in answer.headers.get("Location", "") + answer.text
    assert answer.headers.get("Location", "/console/").startswith("/console/")
    assert path not in ("/console", "/console/") or answer.status_code == 302


@pytest.mark.parametrize("token", ["", "0" * 64, "없음"])
def test_a_form_without_its_token_is_refused(officer: Browser, token: str) -> None:
    assert officer.post("/console/sign-out", form_token=token).status_code == 403
    assert officer.get("/console/account").status_code == 200


def test_the_token_of_another_session_is_refused(console: Console, officer: Browser) -> None:
    console.add_account("lee", AGENCY, "officer")
    other = console.sign_in("lee")
    other.get("/console/account")
    assert officer.post("/console/sign-out", form_token=other.token).status_code == 403


@BOTH
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
        accounts.set_roles(conn, kim, "operator", "hub", ["observer"], console.services.clock())
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
        ("//[", "/console/"),
        ("http://[", "/console/"),
        ("//\u2100.example/", "/console/"),
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


def test_the_footer_names_the_version_to_people_who_have_signed_in(
    console: Console, officer: Browser
) -> None:
    assert f"Version {__version__}" in officer.get("/console/account").text
    officer.post("/console/language", language="ko")
    assert f"버전 {__version__}" in officer.get("/console/account").text
    assert __version__ not in console.visit().get("/console/sign-in").text


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
        assert len(sessions.list_sessions(conn, kim.id)) == 1


def test_a_mistake_of_ours_shows_no_detail(
    console: Console, officer: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.web.console.account_pages.accounts.list_usable_roles", lambda *_: 1 / 0)
    monkeypatch.setattr("gateway.web.console.page_guards._read_roles", lambda *_: frozenset({"officer"}))
    answer = officer.get("/console/account")
    assert answer.status_code == 503
    assert "GW901" in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert [format_text(record) for record in caplog.records] == [
        "console: ZeroDivisionError path=/console/account"
    ]


KEPT = re.compile(r'name="kept" value="([^"]+)"')


@pytest.fixture
def trader(console: Console) -> Browser:
    console.add_account("han", ("party", "broker1"), "filer")
    han = console.enter("han")
    han.get("/console/submissions/new")
    return han


def send_late(console: Console, browser: Browser, **fields: Any) -> Any:
    """Send a form after its session has ended."""
    console.services.hub.clock.now += timedelta(minutes=31)  # type: ignore[attr-defined]
    return browser.post("/console/submissions/new", **fields)


def test_what_was_typed_is_there_after_signing_in_again(console: Console, trader: Browser) -> None:
    typed = {"document": ["KFDA-FOOD-IMP", "KPTA-PHARM-IMP"], "note": '\n<b>한 "줄"\nzwei'}
    page = send_late(console, trader, **typed)
    assert page.status_code == 401
    (kept,) = set(KEPT.findall(page.text))
    assert "zwei" not in page.text
    assert "KPTA-PHARM-IMP" not in page.text
    wrong = trader.post("/console/sign-in", name="han", password="wrong" * 4, kept=kept)
    assert KEPT.findall(wrong.text)[0] == kept
    again = trader.post("/console/sign-in", name="han", password=PASSWORD, kept=kept)
    assert again.status_code == 200
    assert 'action="/console/submissions/new"' in again.text
    assert again.text.count('name="document"') == 2
    assert "&lt;b&gt;한 &#34;줄&#34;" in again.text
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', again.text)
    assert found is not None
    trader.token = found[1]
    sent = trader.post("/console/submissions/new", document="KFDA-FOOD-IMP")
    assert sent.location.startswith("/console/submissions/")


@pytest.mark.parametrize("chosen", ["", "label.pdf"])
def test_what_was_typed_beside_a_file_is_kept(console: Console, trader: Browser, chosen: str) -> None:
    """A browser sends a field for files also where none is chosen: those of drafts and answers have one."""
    draft = trader.post("/console/submissions/new", document="KFDA-FOOD-IMP").location
    version = re.search(r'name="version" value="([0-9]+)"', trader.get(f"{draft}/declaration").text)
    assert version is not None
    console.services.hub.clock.now += timedelta(minutes=31)  # type: ignore[attr-defined]
    typed = {"version": version[1], "act": "save", "h/declaration.reference": "F-77"}
    page = trader.post(f"{draft}/declaration", **typed, label=(io.BytesIO(b"%PDF"), chosen))
    assert page.status_code == 401
    kept = KEPT.findall(page.text)[0]
    again = trader.post("/console/sign-in", name="han", password=PASSWORD, kept=kept).text
    assert f'action="{draft}/declaration"' in again
    assert "F-77" in again
    assert ("choose them again" in again) is ("label.pdf" in again) is bool(chosen)


def test_what_was_typed_is_for_the_same_account_and_browser_alone(console: Console, trader: Browser) -> None:
    console.add_account("lee", ("party", "broker1"), "filer")
    kept = KEPT.findall(send_late(console, trader, document="KFDA-FOOD-IMP").text)[0]
    assert (
        console.visit().post("/console/sign-in", name="han", password=PASSWORD, kept=kept).status_code == 302
    )
    other = trader.post("/console/sign-in", name="lee", password=PASSWORD, kept=kept)
    assert (other.status_code, "KFDA" in other.text) == (302, False)


def test_what_was_typed_for_one_organisation_is_not_sent_for_another(
    story: Story, console: Console, trader: Browser
) -> None:
    """Whoever may act there no longer would file the same form in the name of the other one."""
    story.register("trader", "7T001")
    with write_transaction(console.services.engine, "test") as conn:
        han = accounts.find_by_name(conn, "han")
        assert han is not None
        accounts.set_roles(conn, han.id, "party", "trader", ["filer"], console.services.clock())
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    kept = KEPT.findall(trader.post("/console/submissions/new", document="KFDA-FOOD-IMP").text)[0]
    again = trader.post("/console/sign-in", name="han", password=PASSWORD, kept=kept)
    assert (again.status_code, "KFDA" in again.text) == (302, False)
    assert "trader" in trader.get("/console/account").text


def test_other_forms_are_not_kept(console: Console, trader: Browser) -> None:
    assert send_late(console, trader, note="x" * 300_000).status_code == 302
    assert trader.post("/console/submissions/new", form_token="0" * 64, document="X").status_code == 302
    assert (
        trader.post("/console/account/password", old=PASSWORD, new="secret words of mine").status_code == 302
    )
    nothing_typed = trader.post("/console/submissions/new", file=(io.BytesIO(b"x"), "x.csv"))
    assert nothing_typed.status_code == 302
    assert console.visit().post("/console/submissions/new", document="X").status_code == 302
