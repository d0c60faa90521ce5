"""Where an act needs two persons, nobody becomes the second one by giving access to an account."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from gateway.accounts import digest_token
from gateway.config import Settings
from gateway.operations import find_second_person_warnings
from gateway.store import NewInvitation, accounts, read_transaction, sessions, write_transaction
from gateway.web.console import account_pages
from gateway.web.console.people.access_proposals import MAX_PROPOSALS
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.web.console.test_passkeys import register

KPTA, KFDA, HUB = ("agency", "KPTA"), ("agency", "KFDA"), ("operator", "hub")
NEW = "quite another long sentence"
PERSON = {"name": "kim2", "display_name": "Kim 2", "language": "en", "role": ["approver"]}
_LINK = re.compile(r"/console/welcome/[\w-]{43}(?:/code)?")
_CODE = re.compile(r"<pre[^>]*>([A-Z2-7]{4}(?:-[A-Z2-7]{4}){3})</pre>")
_AGENCY = {"endpoint": "http://127.0.0.1:9/"}
_FOUR_EYES = {"agency": {"KPTA": _AGENCY | {"four_eyes": True}, "KFDA": _AGENCY}}


@pytest.fixture
def hub(story: Story) -> Console:
    """A hub in which KPTA decides with four eyes, with a head there, and two operators."""
    console = Console(story.house.hub, **_FOUR_EYES)
    for name, organisation, role in (
        ("head", KPTA, "head"),
        ("root", HUB, "administrator"),
        ("lee", HUB, "supervisor"),
    ):
        console.add_account(name, organisation, role)
    return console


def send(browser: Browser, path: str, **fields: Any) -> TestResponse:
    """Open the page of a form, and send the form."""
    browser.get(path if path.endswith("/add") else path.rpartition("/")[0])
    return browser.post(path, **fields)


def find_link(answer: TestResponse) -> str:
    link = _LINK.search(answer.text)
    assert link is not None, answer.text
    return link[0]


def approve(browser: Browser, act: int = 1) -> TestResponse:
    browser.get(f"/console/operations/acts/{act}")
    return browser.post(f"/console/operations/acts/{act}/approve", reason="agreed")


def find_code(answer: TestResponse) -> str:
    code = _CODE.search(answer.text)
    assert code is not None, answer.text
    return code[1]


def set_password(console: Console, link: str, **fields: str) -> TestResponse:
    return console.visit().post(link, new=NEW, again=NEW, **fields)


def may_sign_in(console: Console, name: str, password: str = PASSWORD) -> bool:
    return console.visit().post("/console/sign-in", name=name, password=password).status_code == 302


def list_roles(console: Console, name: str) -> set[str] | None:
    """Return the roles of an account by its name; None if there is no such account."""
    with read_transaction(console.services.engine) as conn:
        row = accounts.find_by_name(conn, name)
        return None if row is None else {one.role for one in accounts.list_account_roles(conn, row.id)}


@BOTH
@pytest.mark.refusal("an administrator of an agency adds a second person alone")
def test_a_head_alone_makes_no_second_officer(hub: Console) -> None:
    head = hub.enter("head")
    assert 'name="reason"' in head.get("/console/people/add").text
    link = find_link(send(head, "/console/people/add", **PERSON, reason="joins us"))
    assert list_roles(hub, "kim2") is None
    assert set_password(hub, link, code="").status_code == 422
    assert set_password(hub, link.removesuffix("/code")).status_code == 404
    assert hub.visit().get(link.replace("/code", "x/code")).status_code == 404, "it is cut or changed"
    approved = approve(hub.enter("lee"))
    code = find_code(approved)
    assert list_roles(hub, "kim2") == {"approver"}
    for wrong in ("", "AAAA-AAAA-AAAA-AAAA", code[:-1]):
        assert set_password(hub, link, code=wrong).status_code == 422
    assert set_password(hub, link.removesuffix("/code")).status_code == 404, "the link alone is not good"
    assert set_password(hub, link, code=f" {code.lower().replace('-', ' ')} ").status_code == 302
    assert may_sign_in(hub, "kim2", NEW)
    assert set_password(hub, link, code=code).status_code == 422, "it works once"


@BOTH
def test_a_head_alone_does_not_become_a_colleague(hub: Console) -> None:
    kim = hub.add_account("kim", KPTA, "approver")
    of_kim = hub.enter("kim")
    link = find_link(send(hub.enter("head"), f"/console/people/{kim}/link", reason="forgot it"))
    assert set_password(hub, link, code="").status_code == 422
    code = find_code(approve(hub.enter("lee")))
    assert may_sign_in(hub, "kim"), "the old password is good until the new one is set"
    page = hub.enter("lee").get("/console/operations/acts/1").text
    assert ("Kim" in page, "agency/KPTA" in page) == (True, True), "whom the code is for"
    told = of_kim.get("/console/account").text
    assert "head, lee made a link to set a new password of yours." in told
    assert set_password(hub, link, code=code).status_code == 302
    assert may_sign_in(hub, "kim", NEW)


def test_an_administrator_alone_makes_no_officer_of_such_an_agency(hub: Console) -> None:
    root, fields = hub.enter("root"), PERSON | {"organisation": "agency/KPTA"}
    assert send(root, "/console/people/add", **fields).status_code == 422, "it asks for a reason"
    assert "/code" in find_link(send(root, "/console/people/add", **fields, reason="joins us"))
    assert list_roles(hub, "kim2") is None
    elsewhere = PERSON | {"organisation": "agency/KFDA"}
    assert "/code" not in find_link(send(root, "/console/people/add", **elsewhere))
    assert list_roles(hub, "kim2") == {"approver"}


def test_an_administrator_alone_makes_no_second_operator(hub: Console) -> None:
    """Operators approve who has access to an agency that decides with four eyes."""
    fields = PERSON | {"organisation": "operator/hub", "role": ["supervisor"]}
    root = hub.enter("root")
    assert "/code" in find_link(send(root, "/console/people/add", **fields, reason="joins us"))
    assert approve(root).status_code == 403
    lee = hub.add_account("lee2", HUB, "supervisor")
    assert "/code" in find_link(send(root, f"/console/people/{lee}/link", reason="forgot it"))
    assert may_sign_in(hub, "lee2")


@BOTH
@pytest.mark.refusal("an administrator becomes the person who approves")
def test_what_one_person_may_know_ends_with_the_first_role_that_needs_two(story: Story) -> None:
    """An account is taken over while it may do little, and then gets the role of a second person."""
    console = Console(story.house.hub, **_FOUR_EYES)
    for name, role in (("root", "administrator"), ("lee", "supervisor")):
        console.add_account(name, HUB, role)
    han, root = console.add_account("han", KFDA, "reader"), console.enter("root")
    link = find_link(send(root, f"/console/people/{han}/link"))
    assert set_password(console, link).status_code == 302
    key = Authenticator()
    assert register(console.enter("han"), key, password=NEW).status_code == 302
    fields = {"organisation": "operator/hub", "role": ["supervisor"], "reason": "promoted"}
    act = send(root, f"/console/people/{han}/roles", **fields).location
    taken_over = console.enter("han")
    lee = console.enter("lee")
    assert "Password, passkeys and sessions of this person end with it" in lee.get(act).text
    assert approve(lee).status_code == 302
    assert list_roles(console, "han") == {"reader", "supervisor"}
    assert not may_sign_in(console, "han", NEW)
    assert taken_over.get("/console/people").status_code != 200
    with read_transaction(console.services.engine) as conn:
        assert not sessions.list_passkeys(conn, han)
    again = find_link(send(root, f"/console/people/{han}/link", reason="new role"))
    assert set_password(console, again, code=find_code(approve(lee, 2))).status_code == 302


def test_a_session_of_before_ends_also_without_a_password(hub: Console) -> None:
    """The account signs in by OpenID; somebody has a session of it."""
    han = hub.add_account("han", KFDA, "reader")
    with write_transaction(hub.services.engine, "test") as conn:
        accounts.set_password(conn, han, None, hub.services.clock())
    taken_over = hub.enter("han")
    fields = {"organisation": "operator/hub", "role": ["supervisor"], "reason": "promoted"}
    act = send(hub.enter("root"), f"/console/people/{han}/roles", **fields).location
    lee = hub.enter("lee")
    assert "sessions of this person end with it" in lee.get(act).text
    assert approve(lee).status_code == 302
    assert taken_over.get("/console/account").status_code != 200


def test_a_head_who_operates_sees_the_proposals_of_the_agency_alone(story: Story) -> None:
    console = Console(story.house.hub, console={"second_person": ["party suspend"]}, **_FOUR_EYES)
    number = console.add_account("head", KPTA, "head")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, number, *HUB, ["operator"], console.services.clock())
    head = console.enter("head")
    head.get("/console/account")
    head.post("/console/account/organisation", organisation="operator/hub")
    head.get("/console/account")
    fields = {"act": "party suspend", "party": "broker1", "reason": "stolen key"}
    assert head.post("/console/operations/act", **fields).status_code == 302
    head.post("/console/account/organisation", organisation="agency/KPTA")
    assert "stolen key" not in head.get("/console/people").text
    assert head.post("/console/people/acts/1/withdraw").status_code == 404


def test_other_roles_of_a_second_person_end_nothing(hub: Console) -> None:
    kim = hub.add_account("kim", KPTA, "officer")
    answer = send(hub.enter("head"), f"/console/people/{kim}/roles", role=["approver"], reason="promoted")
    assert answer.location == "/console/people"
    assert approve(hub.enter("lee")).status_code == 302
    assert list_roles(hub, "kim") == {"approver"}
    assert may_sign_in(hub, "kim")


def test_a_link_of_one_person_is_no_good_for_a_second_person(hub: Console) -> None:
    """It was made before the agency decided with four eyes."""
    kim, token, now = hub.add_account("kim", KPTA, "approver"), "A" * 43, hub.services.clock()
    with write_transaction(hub.services.engine, "test") as conn:
        later = now.replace(year=now.year + 1)
        accounts.insert_invitation(conn, NewInvitation(digest_token(token), kim, "head", later), now)
    assert hub.visit().get(f"/console/welcome/{token}").status_code == 404
    assert set_password(hub, f"/console/welcome/{token}").status_code == 404
    assert may_sign_in(hub, "kim")


def test_nobody_approves_a_link_for_oneself(hub: Console) -> None:
    with read_transaction(hub.services.engine) as conn:
        lee = accounts.find_by_name(conn, "lee")
    assert lee is not None
    send(hub.enter("root"), f"/console/people/{lee.id}/link", reason="forgot it")
    assert approve(hub.enter("lee")).status_code == 409


def test_roles_are_taken_away_at_once(hub: Console) -> None:
    kim = hub.add_account("kim", KPTA, "officer", "approver")
    assert send(hub.enter("head"), f"/console/people/{kim}/roles", role=["officer"]).status_code == 302
    assert list_roles(hub, "kim") == {"officer"}


def test_a_head_sees_and_withdraws_own_proposals(hub: Console) -> None:
    hub.add_account("head2", KPTA, "head")
    head, other = hub.enter("head"), hub.enter("head2")
    send(head, "/console/people/add", **PERSON, reason="joins us")
    page = head.get("/console/people").text
    assert ("kim2" in page, "joins us" in page) == (True, True)
    assert "joins us" not in other.get("/console/people").text
    assert other.post("/console/people/acts/1/withdraw").status_code == 404
    assert "joins us" in head.get("/console/people").text
    assert head.post("/console/people/acts/1/withdraw").status_code == 302
    assert "joins us" not in head.get("/console/people").text
    assert approve(hub.enter("lee")).status_code == 409


def test_a_head_reads_why_a_proposal_was_rejected(hub: Console) -> None:
    head, lee = hub.enter("head"), hub.enter("lee")
    send(head, "/console/people/add", **PERSON, reason="joins us")
    lee.get("/console/operations/acts/1")
    rejected = lee.post("/console/operations/acts/1/reject", reason="call me first")
    assert rejected.status_code == 302
    page = head.get("/console/people").text
    assert ("call me first" in page, "REJECTED" in page, "Withdraw" in page) == (True, True, False)


def test_a_name_that_was_given_meanwhile_is_refused(hub: Console) -> None:
    send(hub.enter("head"), "/console/people/add", **PERSON, reason="joins us")
    hub.add_account("kim2", KFDA, "reader")
    refused = approve(hub.enter("lee"))
    assert (refused.status_code, "GW705" in refused.text) == (409, True)
    assert list_roles(hub, "kim2") == {"reader"}


def test_a_hub_without_a_second_person_is_warned(hub: Console) -> None:
    def list_warnings(settings: Settings) -> list[str]:
        with read_transaction(hub.services.engine) as conn:
            return list(find_second_person_warnings(conn, settings))

    settings = hub.services.settings
    assert list_warnings(settings) == []
    with write_transaction(hub.services.engine, "test") as conn:
        lee = accounts.find_by_name(conn, "lee")
        assert lee is not None
        accounts.set_status(conn, lee.id, "SUSPENDED", hub.services.clock())
    (warning,) = list_warnings(settings)
    assert "nobody has the role supervisor" in warning
    assert list_warnings(Settings()) == []


@BOTH
@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("password", "hash_typed_password"),
        ("passkeys", "find_method_refusal"),
        ("organisation", "get_network"),
    ],
)
def test_a_request_that_began_before_the_role_leaves_no_way_in(
    hub: Console, monkeypatch: pytest.MonkeyPatch, path: str, step: str
) -> None:
    """The act is approved while the request of an account that was taken over is at work, after a step."""
    han = hub.add_account("han", KFDA, "reader")
    fields = {"organisation": "operator/hub", "role": ["supervisor"], "reason": "promoted"}
    send(hub.enter("root"), f"/console/people/{han}/roles", **fields)
    lee, taken_over, original = hub.enter("lee"), hub.enter("han"), getattr(account_pages, step)

    def approve_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        result = original(*arguments)
        # In a thread: a request within a request would have the values of the other one.
        with ThreadPoolExecutor() as pool:
            assert pool.submit(approve, lee).result().status_code == 302
        return result

    taken_over.get("/console/account/passkeys")
    key = Authenticator().create(taken_over.post("/console/account/passkeys/options").text)
    typed = {
        "password": {"old": PASSWORD, "new": NEW},
        "passkeys": {"name": "desk", "password": PASSWORD, "passkey_answer": key},
        "organisation": {"organisation": "agency/KFDA"},
    }
    monkeypatch.setattr(account_pages, step, approve_meanwhile)
    answer = taken_over.post(f"/console/account/{path}", **typed[path])
    assert list_roles(hub, "han") == {"reader", "supervisor"}
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (302, [])
    assert not may_sign_in(hub, "han", NEW)
    with read_transaction(hub.services.engine) as conn:
        assert not sessions.list_passkeys(conn, han)
        assert all(row.ended_at for row in sessions.list_sessions(conn, han))


@BOTH
def test_a_role_that_is_taken_away_does_not_come_back(hub: Console) -> None:
    """Two forms of one manager at once: one takes a role away, the other one all."""
    kim, now = hub.add_account("kim", KPTA, "reader", "approver"), hub.services.clock()
    browsers = [hub.enter("root"), hub.enter("root")]
    path = f"/console/people/{kim}/roles"
    for browser in browsers:
        browser.get(f"/console/people/{kim}")
    for _ in range(4):
        with ThreadPoolExecutor() as pool:
            changes = [
                pool.submit(browser.post, path, organisation="agency/KPTA", role=roles)
                for browser, roles in zip(browsers, (["approver"], []), strict=True)
            ]
            assert {change.result().status_code for change in changes} <= {302, 422}
        assert list_roles(hub, "kim") == set()
        with write_transaction(hub.services.engine, "test") as conn:
            accounts.set_roles(conn, kim, *KPTA, ["reader", "approver"], now)


@pytest.mark.parametrize("change", ["suspended", "no head", "moved"])
def test_a_proposal_ends_with_the_right_of_its_author(hub: Console, change: str) -> None:
    """A head proposes a link for an officer; then the head, or the officer, is elsewhere."""
    kim = hub.add_account("kim", KPTA, "officer")
    send(hub.enter("head"), f"/console/people/{kim}/link", reason="forgot it")
    with write_transaction(hub.services.engine, "test") as conn:
        now, head = hub.services.clock(), accounts.find_by_name(conn, "head")
        assert head is not None
        if change == "suspended":
            accounts.set_status(conn, head.id, "SUSPENDED", now)
        elif change == "no head":
            accounts.set_roles(conn, head.id, *KPTA, ["approver"], now)
        else:
            accounts.set_roles(conn, kim, *HUB, ["supervisor"], now)
    refused = approve(hub.enter("lee"))
    assert (refused.status_code, "may not manage account kim any more" in refused.text) == (409, True)


@BOTH
def test_one_name_is_given_once(hub: Console) -> None:
    """Two heads propose a person of one name, and both are approved at once."""
    hub.add_account("lee2", HUB, "supervisor")
    for _ in range(2):
        send(hub.enter("head"), "/console/people/add", **PERSON, reason="joins us")
    browsers = {1: hub.enter("lee"), 2: hub.enter("lee2")}
    with ThreadPoolExecutor() as pool:
        approvals = [pool.submit(approve, browser, act) for act, browser in browsers.items()]
        assert sorted(approval.result().status_code for approval in approvals) == [200, 409]
    assert list_roles(hub, "kim2") == {"approver"}


def test_proposals_of_a_head_are_bounded(hub: Console) -> None:
    head = hub.enter("head")
    kim = hub.add_account("kim", KPTA, "officer")
    for _ in range(MAX_PROPOSALS):
        assert send(head, f"/console/people/{kim}/link", reason="forgot it").status_code == 200
    assert "Withdraw some" in send(head, f"/console/people/{kim}/link", reason="forgot it").text
    head.get("/console/people")
    head.post("/console/people/acts/1/withdraw")
    assert send(head, f"/console/people/{kim}/link", reason="forgot it").status_code == 200
    acts = hub.enter("lee").get("/console/operations/acts").text
    assert all(f"acts/{number}" in acts for number in range(1, MAX_PROPOSALS + 2))
