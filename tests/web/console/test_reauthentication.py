"""Who is signed in by OpenID proves it again: the signed time of the provider shows it, nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.store import accounts, read_transaction, sessions, write_transaction
from tests.kit.audited import list_actions
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.openid_provider import OpenIdProvider, serve_provider
from tests.kit.openid_visits import SIGN_IN, add_console, come_back, go_to_provider
from tests.kit.story import Story
from tests.web.console.test_openid import answer_with

NEW = "another long sentence"
ACCOUNT = "/console/account"
#: An hour at work: longer than a sign-in proves who a person is.
LATER = timedelta(hours=1)
OLD = "The provider does not show that it has asked who you are since your request"
MISSING = "The provider does not say when it asked who you are"


@pytest.fixture
def provider(story: Story) -> Iterator[OpenIdProvider]:
    with serve_provider(story.clock) as provider:
        yield provider


@pytest.fixture
def console(story: Story, provider: OpenIdProvider, tmp_path: Path) -> Console:
    """A console with an account of "kim", who signs in by OpenID alone."""
    console = add_console(story, provider, tmp_path)
    with write_transaction(console.services.engine, "test") as conn:
        accounts.update_account(conn, 1, password=None)
    return console


def enter(console: Console, **changed: str | None) -> Browser:
    """Sign in by OpenID, as a person does in the morning; return the browser."""
    browser = console.visit()
    assert come_back(browser, go_to_provider(browser, changed)).status_code == 200
    return browser


def reauthenticate(browser: Browser, **changed: str | None) -> str:
    """Press the button on the page of the account, with other parameters at the provider; return the page."""
    page = browser.get(ACCOUNT)
    assert 'name="reauthenticate" value="yes"' in page.text
    return come_back(browser, go_to_provider(browser, changed, reauthenticate="yes", next=ACCOUNT)).text


def set_password(browser: Browser) -> int:
    """Try to add a password to the account of this browser; return the status."""
    browser.get(ACCOUNT)
    return browser.post(f"{ACCOUNT}/password", old="", new=NEW).status_code


def let_pass(console: Console, time: timedelta) -> None:
    clock: Any = console.services.hub.clock
    clock.now += time


@pytest.mark.long
@BOTH
def test_a_person_who_authenticates_anew_sets_a_password(console: Console, provider: OpenIdProvider) -> None:
    browser = enter(console)
    let_pass(console, LATER / 4)
    assert set_password(browser) == 422
    assert "signed in" in reauthenticate(browser).lower()
    with read_transaction(console.services.engine) as conn:
        times = [row.authenticated_at for row in sessions.list_sessions(conn, 1)]
    assert times == [provider.authenticated_at, None]
    let_pass(console, timedelta(minutes=5))
    assert set_password(browser) == 302
    assert console.visit().post("/console/sign-in", name="kim", password=NEW).status_code == 302


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": None},
        {"prompt": None, "max_age": None},
        {"prompt": None, "max_age": "86400"},
        {"prompt": "none", "max_age": "86400"},
    ],
    ids=str,
)
def test_who_takes_the_wish_out_of_the_address_adds_no_way_in(
    console: Console, provider: OpenIdProvider, changed: dict[str, str | None]
) -> None:
    """At an unlocked browser, whose owner is signed in at the provider since the morning."""
    browser = enter(console)
    let_pass(console, LATER / 4)
    page = reauthenticate(browser, **changed)
    if "max_age" in changed:
        assert (OLD if changed["max_age"] else MISSING) in page
        assert set_password(browser) == 422
        assert console.visit().post("/console/sign-in", name="kim", password=NEW).status_code == 401
        with read_transaction(console.services.engine) as conn:
            assert list_actions(conn, actor="kim")[0].outcome == "refused"
    else:
        assert provider.authenticated_at == console.services.clock(), "the provider was asked by max_age, too"


def test_who_signs_out_and_in_adds_no_way_in(console: Console, provider: OpenIdProvider) -> None:
    """The provider's own session signs in whoever sits at the browser, without credentials."""
    browser = enter(console)
    let_pass(console, LATER / 4)
    browser.get(ACCOUNT)
    assert browser.post("/console/sign-out").status_code == 302
    for changed in ({}, {"max_age": "86400"}, {"max_age": "0", "prompt": "login"}):
        browser.token = ""
        assert come_back(browser, go_to_provider(browser, changed)).status_code == 200
        assert set_password(browser) == 422, changed
        browser.post("/console/sign-out")
    assert console.visit().post("/console/sign-in", name="kim", password=NEW).status_code == 401


@pytest.mark.parametrize(
    ("auth_time", "sentence"),
    [
        *((value, MISSING) for value in (None, "now", True, [], {}, float("inf"), 10**30)),
        *((value, OLD) for value in (0, -1, "before the request", "old", "ahead")),
    ],
    ids=str,
)
def test_a_time_that_shows_no_recent_proof_is_refused(
    console: Console,
    provider: OpenIdProvider,
    auth_time: Any,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = enter(console)
    let_pass(console, LATER / 4)
    now = console.services.clock().timestamp()
    stated = {"old": now - 301, "before the request": now - 61, "ahead": now + 61, "now": str(int(now))}
    shown = stated[auth_time] if isinstance(auth_time, str) else auth_time
    provider.bend = {"auth_time": shown}
    page = reauthenticate(browser)
    assert sentence in page
    assert any("auth_time" in record.getMessage() for record in caplog.records)
    # The page still asks for the proof, and leads back to where the person was.
    assert 'name="reauthenticate" value="yes"' in page
    assert f'name="next" value="{ACCOUNT}"' in page
    assert set_password(browser) == 422
    # The person stays signed in, and the next proof counts.
    provider.bend = {}
    assert f'content="0; url={ACCOUNT}"' in reauthenticate(browser)
    assert set_password(browser) == 302


@pytest.mark.parametrize("seconds", [-60, -1.5, 0, 60])
def test_clocks_may_differ_a_little(console: Console, provider: OpenIdProvider, seconds: float) -> None:
    browser = enter(console)
    let_pass(console, LATER / 4)
    provider.bend = {"auth_time": console.services.clock().timestamp() + seconds}
    assert f'content="0; url={ACCOUNT}"' in reauthenticate(browser)


def test_a_proof_is_asked_for_until_it_is_there(console: Console, provider: OpenIdProvider) -> None:
    """Neither another way that fails nor too many sign-ins lead away from it."""
    browser = enter(console)
    let_pass(console, LATER / 4)
    browser.get(ACCOUNT)
    for _ in range(101):
        answer = browser.post(SIGN_IN, reauthenticate="yes", next=ACCOUNT)
    assert answer.status_code == 429
    assert 'name="reauthenticate" value="yes"' in answer.text
    fields = {"passkey_answer": "{}", "reauthenticate": "yes", "next": ACCOUNT}
    refused = browser.post("/console/sign-in/passkey", **fields)
    assert refused.status_code == 401
    assert 'name="reauthenticate" value="yes"' in refused.text


def test_a_proof_that_took_a_while_counts(console: Console, provider: OpenIdProvider) -> None:
    """The person types the credentials at the provider, and reads a page there before coming back."""
    browser = enter(console)
    let_pass(console, LATER / 4)
    browser.get(ACCOUNT)
    path = go_to_provider(browser, {}, reauthenticate="yes")
    let_pass(console, timedelta(minutes=5))
    assert come_back(browser, path).status_code == 200
    assert set_password(browser) == 302


@pytest.mark.parametrize("trouble", ["before", "after"])
def test_a_provider_that_fails_costs_neither_the_proof_nor_the_page(
    console: Console, provider: OpenIdProvider, trouble: str
) -> None:
    browser = enter(console)
    let_pass(console, LATER)
    browser.get(ACCOUNT)
    if trouble == "before":
        provider.metadata = {"issuer": "https://evil.example"}
        let_pass(console, LATER)
        page = browser.post(SIGN_IN, reauthenticate="yes", next=ACCOUNT)
    else:
        path = go_to_provider(browser, {}, reauthenticate="yes", next=ACCOUNT)
        provider.answers = {"/token": answer_with(b"{}")}
        page = come_back(browser, path)
    assert page.status_code == 503
    assert 'name="reauthenticate" value="yes"' in page.text
    assert f'name="next" value="{ACCOUNT}"' in page.text


def test_a_manager_shows_a_new_authentication(console: Console, provider: OpenIdProvider) -> None:
    """The form waits while the person authenticates at the provider."""
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, 1, "agency", "KPTA", ["head"], console.services.clock())
    browser = enter(console)
    person = {"name": "lee", "display_name": "Lee", "language": "ko", "role": ["head"]}
    for changed, sentence in (({"prompt": None, "max_age": None}, MISSING), ({}, "Add a person")):
        browser.get("/console/people/add")
        asked = browser.post("/console/people/add", **person)
        assert asked.status_code == 401, "a sign-in of the morning proves nothing"
        kept = re.search(r'name="kept" value="([^"]+)"', asked.text)
        assert kept is not None
        fields = {"kept": kept[1], "reauthenticate": "yes", "next": "/console/people"}
        page = come_back(browser, go_to_provider(browser, changed, **fields)).text
        assert sentence in page
        assert ('name="kept"' in page) is (sentence == MISSING), "a refusal keeps the form"
    assert browser.get("/console/people/add").status_code == 200
    assert "/console/welcome/" in browser.post("/console/people/add", **person).text
    assert set_password(browser) == 302


def test_another_sign_in_is_not_taken_for_the_proof(console: Console, provider: OpenIdProvider) -> None:
    """The answer to a sign-in that began without the demand is brought to a browser that is signed in."""
    browser = enter(console)
    let_pass(console, LATER / 4)
    browser.get(ACCOUNT)
    session = browser.client.get_cookie("__Host-session")
    assert session is not None
    browser.client.delete_cookie("__Host-session")
    browser.token = ""
    path = go_to_provider(browser, {"max_age": "0"})
    browser.client.set_cookie("__Host-session", session.value, secure=True)
    assert browser.get(path).status_code == 200
    assert set_password(browser) == 422


@pytest.mark.long
def test_another_organisation_keeps_the_time_of_the_proof(console: Console) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, 1, "operator", "hub", ["observer"], console.services.clock())
    browser = enter(console)
    reauthenticate(browser)
    let_pass(console, timedelta(minutes=4))
    browser.get(ACCOUNT)
    assert browser.post(f"{ACCOUNT}/organisation", organisation="operator/hub").status_code == 302
    let_pass(console, timedelta(minutes=1, seconds=1))
    assert set_password(browser) == 422


@pytest.mark.parametrize("image", [True, False], ids=["as an image", "as a page"])
def test_another_site_opens_addresses_and_keeps_nobody_out(console: Console, image: bool) -> None:
    """A page elsewhere, which somebody in the same network reads, has a hundred pictures of our address."""
    browser = console.visit()
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "no-cors" if image else "navigate",
        "Sec-Fetch-Dest": "image" if image else "document",
    }
    for number in range(120):
        answer = browser.client.get(f"{SIGN_IN}?next=/console/account&n={number}", headers=headers)
        assert answer.location == "/console/sign-in?next=%2Fconsole%2Faccount"
        assert "Set-Cookie" not in answer.headers
        forged = browser.client.post(SIGN_IN, headers=headers, data={"next": "/console/"})
        assert forged.status_code == 403
    assert enter(console).get(ACCOUNT).status_code == 200


@pytest.mark.parametrize("way", ["password", "openid"])
def test_a_page_to_sign_in_from_before_another_sign_in_still_works(console: Console, way: str) -> None:
    """Two windows show the page to sign in; the person signs in in one, and later uses the other."""
    console.add_account("lee", ("agency", "KPTA"), "officer")
    browser = enter(console)
    browser.token = ""
    if way == "openid":
        assert come_back(browser, go_to_provider(browser, {})).status_code == 200
    else:
        assert browser.post("/console/sign-in", name="lee", password=PASSWORD).status_code == 302
    forged = browser.client.post(
        "/console/sign-in",
        data={"name": "lee", "password": PASSWORD},
        headers={"Origin": "https://evil.example"},
    )
    assert forged.status_code == 403
