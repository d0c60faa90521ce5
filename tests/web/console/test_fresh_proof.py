"""Who has only taken over a session adds no way to sign in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.accounts import digest_token
from gateway.store import NewInvitation, accounts, read_transaction, sessions, write_transaction
from gateway.web.server import CERTIFICATE_KEY
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.web.console.test_certificate_sign_in import bind, issue
from tests.web.console.test_passkeys import register

AGENCY = ("agency", "KPTA")
NEW = "another long sentence"
#: Longer than a sign-in proves who a person is.
LATER = timedelta(minutes=6)


@pytest.mark.long
@BOTH
def test_a_good_password_is_no_failure(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    for _ in range(7):
        browser = console.sign_in("kim")
        browser.get("/console/account")
        changed = browser.post("/console/account/password", old=PASSWORD, new=PASSWORD + "x")
        assert changed.status_code == 302
        browser.get("/console/account")
        changed = browser.post("/console/account/password", old=PASSWORD + "x", new=PASSWORD)
        assert changed.status_code == 302


@pytest.mark.long
def test_an_account_without_a_password_sets_one_only_after_a_new_sign_in(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    shown = bind(console, kim, issue())
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_password(conn, kim, None, console.services.clock())
    browser = console.visit()
    browser.connection[CERTIFICATE_KEY] = shown
    browser.post("/console/sign-in/certificate")
    console.services.hub.clock.now += LATER  # type: ignore[attr-defined]
    stolen = Browser(browser.client)
    page = stolen.get("/console/account").text
    assert "Sign in again first" in page
    assert 'name="new"' not in page
    refused = stolen.post("/console/account/password", old="", new=NEW)
    assert (refused.status_code, "Sign in again first" in refused.text) == (422, True)
    refused = register(stolen, Authenticator(), password="")
    assert (refused.status_code, "Sign in again first" in refused.text) == (422, True)
    assert stolen.post("/console/sign-in", name="kim", password=NEW).status_code == 401
    browser.get("/console/account")
    again = browser.post("/console/sign-in/certificate", next="/console/account/passkeys")
    assert again.location == "/console/account/passkeys"
    assert register(browser, Authenticator(), password="").status_code == 302
    assert browser.post("/console/account/password", old="", new=NEW).status_code == 302
    # Now there is a password, and it is asked for.
    browser.get("/console/account")
    assert "is wrong" in browser.post("/console/account/password", old="", new=PASSWORD).text
    with read_transaction(console.services.engine) as conn:
        assert len(sessions.list_passkeys(conn, kim)) == 1


@pytest.mark.long
def test_a_passkey_alone_proves_a_person_again(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    browser, authenticator = console.enter("kim"), Authenticator()
    assert register(browser, authenticator).status_code == 302
    with write_transaction(console.services.engine, "test") as conn:
        accounts.update_account(conn, kim, password=None)
    console.services.hub.clock.now += LATER  # type: ignore[attr-defined]
    assert register(browser, Authenticator(), password="").status_code == 422
    page = browser.get("/console/account/passkeys").text
    assert 'data-passkey-fetch="/console/sign-in/passkey/options"' in page
    options = browser.post("/console/sign-in/passkey/options").text
    entered = browser.post("/console/sign-in/passkey", passkey_answer=authenticator.get(options))
    assert entered.status_code == 302
    assert register(browser, Authenticator(), password="").status_code == 302


@pytest.mark.long
def test_another_organisation_is_no_new_sign_in(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, kim, "operator", "hub", ["observer"], console.services.clock())
    browser = console.enter("kim")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.update_account(conn, kim, password=None)
    clock: Any = console.services.hub.clock
    clock.now += LATER
    browser.get("/console/account")
    assert browser.post("/console/account/organisation", organisation="operator/hub").status_code == 302
    browser.get("/console/account")
    assert browser.post("/console/account/password", old="", new=NEW).status_code == 422
    # Nor does it make a session longer.
    for step in range(30):
        clock.now += timedelta(minutes=20)
        browser.get("/console/account")
        browser.post("/console/account/organisation", organisation=("agency/KPTA", "operator/hub")[step % 2])
    assert browser.get("/console/account").location.startswith("/console/sign-in")


@pytest.mark.long
def test_a_bound_account_may_be_kept_from_further_ways(story: Story) -> None:
    console = Console(story.house.hub, console={"further_ways": False})
    kim, lee = (console.add_account(name, AGENCY, "officer") for name in ("kim", "lee"))
    bind(console, kim, issue())
    now = console.services.clock()
    for account, allowed in ((kim, False), (lee, True)):
        name = "lee" if allowed else "kim"
        browser = console.enter(name)
        assert (register(browser, Authenticator()).status_code == 302) is allowed
        changed = browser.post("/console/account/password", old=PASSWORD, new=NEW)
        assert (changed.status_code == 302) is allowed
        with write_transaction(console.services.engine, "test") as conn:
            link = NewInvitation(digest_token(f"link{name}"), account, "test", now + timedelta(hours=1))
            accounts.insert_invitation(conn, link, now)
        welcome = console.visit().post(f"/console/welcome/link{name}", new=PASSWORD, again=PASSWORD)
        assert (welcome.status_code == 302) is allowed
        assert ("by its certificate alone" in welcome.text) is not allowed


def test_the_time_of_a_sign_in_is_kept(console: Console) -> None:
    kim = console.add_account("kim", AGENCY, "officer")
    console.sign_in("kim")
    with read_transaction(console.services.engine) as conn:
        (row,) = sessions.list_sessions(conn, kim)
    assert row.created_at == console.services.clock()
