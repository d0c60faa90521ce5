"""At a browser that its manager has left unlocked, nobody gets or gives a way in, or a role."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from werkzeug.test import TestResponse

from gateway.accounts import digest_token
from gateway.store import (
    NewInvitation,
    accounts,
    operator_acts,
    parties,
    read_transaction,
    sessions,
    write_transaction,
)
from gateway.web.server import CERTIFICATE_KEY
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT
from tests.kit.story import Story
from tests.web.console.test_certificate_sign_in import bind, issue
from tests.web.console.test_passkeys import register, sign_in

KPTA, KFDA, HUB = ("agency", "KPTA"), ("agency", "KFDA"), ("operator", "hub")
NEW = "quite another long sentence"
#: Longer than a sign-in proves who a person is.
LATER = timedelta(minutes=6)
SIGN_IN_AGAIN = "Sign in again first"
_LINK = re.compile(r"/console/welcome/[\w-]{43}")
_PERSON = {"name": "lee", "display_name": "Lee", "language": "ko"}


@pytest.fixture
def head(console: Console) -> Browser:
    """The browser of a head of an agency, at which the proof of the sign-in has become old."""
    console.add_account("head", KPTA, "head")
    browser = console.enter("head")
    let_pass(console, LATER)
    return browser


def let_pass(console: Console, time: timedelta) -> None:
    clock: Any = console.services.hub.clock
    clock.now += time


def send(browser: Browser, path: str, **fields: Any) -> TestResponse:
    """Open the page of a form, and send the form."""
    browser.get(path if path.endswith("/add") else path.rpartition("/")[0])
    return browser.post(path, **fields)


def sign_in_again(browser: Browser, page: str, name: str = "head", password: str = PASSWORD) -> TestResponse:
    """Sign in on a page that asks for it, and send the form that it has kept."""
    kept = re.search(r'name="kept" value="([^"]+)"', page)
    assert kept is not None, page
    fields = {"name": name, "password": password, "kept": kept[1], "next": "/console/people"}
    return browser.post("/console/sign-in", **fields)


def send_kept_form(browser: Browser, page: str) -> TestResponse:
    """Press the button below a form that was kept."""
    form = re.search(
        r'<form method="post" action="(/console/(?:people|operations)[^"]*)">(.*?)</form>', page, re.DOTALL
    )
    assert form is not None, page
    fields: dict[str, list[str]] = {}
    for name, text in re.findall(r'<textarea name="([^"]+)" hidden>\n(.*?)</textarea>', form[2], re.DOTALL):
        fields.setdefault(unescape(name), []).append(unescape(text))
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', form[2])
    assert token is not None
    browser.token = token[1]
    return browser.post(unescape(form[1]), **fields)


def list_names(console: Console) -> list[str]:
    with read_transaction(console.services.engine) as conn:
        return [row.name for row in accounts.list_accounts(conn)]


def list_roles(console: Console, account: int) -> set[str]:
    with read_transaction(console.services.engine) as conn:
        return {row.role for row in accounts.list_account_roles(conn, account)}


@BOTH
def test_a_person_is_added_only_by_a_manager_who_signs_in_again(console: Console, head: Browser) -> None:
    asked = send(head, "/console/people/add", **_PERSON, role=["head", "officer"])
    assert (asked.status_code, SIGN_IN_AGAIN in asked.text) == (401, True)
    assert 'value="head"' in asked.text, "the name is filled in"
    assert list_names(console) == ["head"]
    wrong = sign_in_again(head, asked.text, password="not the password of head")
    assert wrong.status_code == 401
    kept = sign_in_again(head, wrong.text)
    assert (kept.status_code, "Add a person" in kept.text, "Lee" in kept.text) == (200, True, True)
    assert list_names(console) == ["head"]
    assert _LINK.search(send_kept_form(head, kept.text).text)
    assert list_roles(console, 2) == {"head", "officer"}


@pytest.mark.parametrize("act", ["roles", "link", "resume"])
def test_what_gives_power_needs_a_proof(console: Console, head: Browser, act: str) -> None:
    kim = console.add_account("kim", KPTA, "officer")
    if act == "resume":
        with write_transaction(console.services.engine, "test") as conn:
            accounts.set_status(conn, kim, "SUSPENDED", console.services.clock())
    fields = {"role": ["head"]} if act == "roles" else {}
    asked = send(head, f"/console/people/{kim}/{act}", **fields)
    assert (asked.status_code, SIGN_IN_AGAIN in asked.text) == (401, True)
    assert not _LINK.search(asked.text)
    with read_transaction(console.services.engine) as conn:
        account = accounts.find_by_id(conn, kim)
    assert account is not None
    assert (account.status, list_roles(console, kim)) == (
        "SUSPENDED" if act == "resume" else "ACTIVE",
        {"officer"},
    )
    kept = sign_in_again(head, asked.text)
    assert "Kim" in kept.text, "who signs in reads whom the act is about"
    done = send_kept_form(head, kept.text)
    assert done.status_code == (200 if act == "link" else 302)


@pytest.mark.parametrize("act", ["suspend", "end-sessions"])
def test_what_puts_people_out_goes_at_once(console: Console, head: Browser, act: str) -> None:
    """An account that is misused is closed without delay."""
    kim = console.add_account("kim", KPTA, "officer")
    assert send(head, f"/console/people/{kim}/{act}").status_code == 302


@pytest.mark.parametrize("role", ["head", "manager", "administrator"])
@pytest.mark.refusal("an administrator makes a link to a new password of the own account")
def test_nobody_makes_a_link_for_oneself(console: Console, role: str) -> None:
    place = {"head": KPTA, "manager": ("party", "broker1"), "administrator": HUB}[role]
    own = console.add_account("kim", place, role)
    browser = console.enter("kim")
    page = browser.get(f"/console/people/{own}").text
    assert f"/console/people/{own}/link" not in page
    refused = browser.post(f"/console/people/{own}/link")
    assert (refused.status_code, "My account" in refused.text) == (422, True)
    assert not _LINK.search(refused.text)
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 302


def test_a_kept_form_is_for_the_same_person_alone(console: Console, head: Browser) -> None:
    """A colleague who signs in at the browser does not send the form of the person before."""
    console.add_account("boss", KPTA, "head")
    asked = send(head, "/console/people/add", **_PERSON, role=["head"])
    answer = sign_in_again(head, asked.text, "boss")
    assert (answer.status_code, answer.location) == (302, "/console/people")
    assert list_names(console) == ["boss", "head"]


def test_a_proposal_to_a_second_person_needs_a_proof_too(story: Story) -> None:
    console = Console(story.house.hub, console={"second_person": ["account role"]})
    console.add_account("root", HUB, "administrator")
    browser = console.enter("root")
    han = console.add_account("han", HUB, "observer")
    let_pass(console, LATER)
    fields = {"organisation": "operator/hub", "role": ["supervisor"], "reason": "on leave"}
    asked = send(browser, f"/console/people/{han}/roles", **fields)
    assert (asked.status_code, SIGN_IN_AGAIN in asked.text) == (401, True)
    done = send_kept_form(browser, sign_in_again(browser, asked.text, "root").text)
    assert done.location.startswith("/console/operations/acts/")


def test_a_second_person_approves_roles_only_with_a_proof(story: Story) -> None:
    """Who proposes roles for oneself must not approve them at another person's unlocked browser."""
    console = Console(story.house.hub, console={"second_person": ["account role"]})
    for name, role in (("root", "administrator"), ("boss", "supervisor"), ("lee", "observer")):
        console.add_account(name, HUB, role)
    han = console.add_account("han", HUB, "observer")
    boss, lee = console.enter("boss"), console.enter("lee")
    let_pass(console, LATER)
    fields = {"organisation": "operator/hub", "role": ["operator"], "reason": "on leave"}
    act = send(console.enter("root"), f"/console/people/{han}/roles", **fields).location
    lee.get(act)
    assert lee.post(f"{act}/approve", reason="agreed").status_code == 403, "who may not approve is not asked"
    boss.get(act)
    asked = boss.post(f"{act}/approve", reason="agreed")
    assert (asked.status_code, SIGN_IN_AGAIN in asked.text) == (401, True)
    assert list_roles(console, han) == {"observer"}
    kept = sign_in_again(boss, asked.text, "boss")
    assert "Approve and do it: Change roles (han, operator/hub: operator)" in kept.text
    assert send_kept_form(boss, kept.text).location == act
    assert list_roles(console, han) == {"operator"}


@BOTH
def test_pages_in_other_windows_work_after_the_proof(console: Console, head: Browser) -> None:
    """Two forms wait in two windows; a third window shows a page from before."""
    kim = console.add_account("kim", KPTA, "officer")
    first = send(head, "/console/people/add", **_PERSON, role=["officer"])
    second = send(head, f"/console/people/{kim}/link")
    head.get("/console/account")
    before = head.token
    for _ in range(2):
        assert "New link" in sign_in_again(head, second.text).text
        let_pass(console, LATER)
        second = send(head, f"/console/people/{kim}/link")
    head.token = before
    assert head.post("/console/account/organisation", organisation="agency/KPTA").status_code == 302
    head.token = before
    assert head.post(f"/console/people/{kim}/end-sessions").status_code == 403, "another session by choice"
    assert sign_in_again(head, first.text).location == "/console/people"
    assert "A form that waited belongs to another session" in head.get("/console/people").text
    assert list_names(console) == ["head", "kim"]


def test_another_person_at_the_browser_ends_the_session_before(console: Console, head: Browser) -> None:
    console.add_account("boss", KPTA, "head")
    head.get("/console/people")
    before = head.token
    assert head.post("/console/sign-in", name="boss", password=PASSWORD).status_code == 302
    with read_transaction(console.services.engine) as conn:
        assert [row.ended_at is None for row in sessions.list_sessions(conn, 1)] == [False]
    head.token = before
    assert head.post("/console/account/organisation", organisation="agency/KPTA").status_code == 403


@pytest.mark.long
@pytest.mark.parametrize("way", ["passkey", "certificate"])
def test_every_way_to_sign_in_is_a_proof(console: Console, way: str) -> None:
    account = console.add_account("head", KPTA, "head")
    browser, authenticator = console.enter("head"), Authenticator()
    if way == "passkey":
        assert register(browser, authenticator).status_code == 302
    else:
        browser.connection[CERTIFICATE_KEY] = bind(console, account, issue())
    let_pass(console, LATER)
    asked = send(browser, "/console/people/add", **_PERSON, role=["head"])
    assert asked.status_code == 401
    assert f"/console/sign-in/{way}" in asked.text
    if way == "passkey":
        assert sign_in(console, authenticator, browser).status_code == 302
    else:
        assert browser.post("/console/sign-in/certificate").status_code == 302
    assert send(browser, "/console/people/add", **_PERSON, role=["head"]).status_code == 200


@BOTH
def test_who_signs_in_again_goes_on_in_the_same_organisation(console: Console) -> None:
    """The session before ends: its token may have been copied."""
    account = console.add_account("head", KFDA, "head")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, account, *KPTA, ["head"], console.services.clock())
    browser = console.enter("head")
    for place in (KPTA, KFDA):
        browser.get("/console/account")
        assert browser.post("/console/account/organisation", organisation="/".join(place)).status_code == 302
        let_pass(console, LATER)
        assert browser.post("/console/sign-in", name="head", password=PASSWORD).status_code == 302
        with read_transaction(console.services.engine) as conn:
            rows = [row for row in sessions.list_sessions(conn, account) if row.ended_at is None]
        assert len(rows) == 1
        page = browser.get("/console/account").text
        assert f'<span class="organisation">{place[1]}</span>' in page
        changed = browser.post("/console/account/password", old=PASSWORD, new=NEW)
        assert changed.status_code == 302
        assert f'<span class="organisation">{place[1]}</span>' in browser.get("/console/account").text
        assert browser.post("/console/account/password", old=NEW, new=PASSWORD).status_code == 302


@BOTH
def test_a_new_password_makes_earlier_links_useless(console: Console) -> None:
    """Somebody else may have read the link meanwhile."""
    kim = console.add_account("kim", KPTA, "officer")
    with write_transaction(console.services.engine, "test") as conn:
        now = console.services.clock()
        accounts.insert_invitation(conn, NewInvitation(digest_token("x" * 43), kim, "head", now + LATER), now)
    stranger = console.visit()
    assert stranger.get(f"/console/welcome/{'x' * 43}").status_code == 200
    browser = console.enter("kim")
    browser.get("/console/account")
    assert browser.post("/console/account/password", old=PASSWORD, new=NEW).status_code == 302
    assert stranger.get(f"/console/welcome/{'x' * 43}").status_code == 404
    assert stranger.post(f"/console/welcome/{'x' * 43}", new=PASSWORD, again=PASSWORD).status_code == 404


@pytest.mark.parametrize("act", ["party resume", "agreement load"])
def test_what_lets_a_partner_in_needs_a_proof(story: Story, act: str) -> None:
    """An operator's unlocked browser: a suspended party, or an agreement of one's own, comes into force."""
    console = Console(story.house.hub)
    for name, role in (("kim", "operator"), ("root", "administrator")):
        console.add_account(name, HUB, role)
    name = "kim" if act == "party resume" else "root"
    browser = console.enter(name)
    if act == "party resume":
        with write_transaction(console.services.engine, "test") as conn:
            parties.set_party_status(conn, "broker1", "SUSPENDED")
        path, fields = "/console/operations/act", {"act": act, "party": "broker1", "reason": "they paid"}
    else:
        browser.get("/console/operations/agreements")
        file = (BytesIO(AGREEMENT), "agreement.yaml")
        path = f"{browser.post('/console/operations/agreements', file=file).location}/confirm"
        fields = {"reason": "they asked"}
    let_pass(console, LATER)
    browser.get("/console/account")
    asked = browser.post(path, **fields)
    assert (asked.status_code, SIGN_IN_AGAIN in asked.text) == (401, True)
    with read_transaction(console.services.engine) as conn:
        party, waiting = parties.find_party(conn, "broker1"), operator_acts.find_act(conn, 1)
    assert party is not None
    assert party.status == ("SUSPENDED" if act == "party resume" else "ACTIVE")
    assert waiting is None or waiting.state == "DRAFT"
    done = send_kept_form(browser, sign_in_again(browser, asked.text, name).text)
    assert done.status_code == 302
    with read_transaction(console.services.engine) as conn:
        party, waiting = parties.find_party(conn, "broker1"), operator_acts.find_act(conn, 1)
    assert party is not None
    assert party.status == "ACTIVE"
    assert waiting is None or waiting.state == "DONE"


def test_a_party_is_suspended_without_a_proof(story: Story) -> None:
    console = Console(story.house.hub)
    console.add_account("kim", HUB, "operator")
    browser = console.enter("kim")
    let_pass(console, LATER)
    browser.get("/console/account")
    fields = {"act": "party suspend", "party": "broker1", "reason": "stolen key"}
    assert browser.post("/console/operations/act", **fields).status_code == 302
