"""Management of accounts: who sees and changes whom, links for passwords, and what is left in the audit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from gateway.evidence import list_subject_leaves, read_leaf_data
from gateway.store import accounts, read_transaction, write_transaction
from tests.kit.audited import list_actions
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story

KPTA, KFDA, HUB = ("agency", "KPTA"), ("agency", "KFDA"), ("operator", "hub")
NEW = "quite another long sentence"
_LINK = re.compile(r"/console/welcome/[\w-]{43}")


@pytest.fixture
def head(console: Console) -> Browser:
    console.add_account("head", KPTA, "head")
    return console.enter("head")


@pytest.fixture
def administrator(console: Console) -> Browser:
    console.add_account("root", HUB, "administrator")
    return console.enter("root")


def add(browser: Browser, name: str = "lee", **more: Any) -> Any:
    browser.get("/console/people/add")
    fields = {"name": name, "display_name": "Lee", "language": "ko", "role": ["officer"]}
    return browser.post("/console/people/add", **(fields | more))


def list_roles(console: Console, account: int) -> set[tuple[str, str, str]]:
    with read_transaction(console.services.engine) as conn:
        return {(one.kind, one.organisation, one.role) for one in accounts.list_account_roles(conn, account)}


@pytest.mark.parametrize("name", ["l\u2011ee", "\uff4cee", "le\u3164e"])
def test_a_name_that_looks_like_another_is_refused(head: Browser, name: str) -> None:
    page = add(head, name)
    assert page.status_code == 422
    assert "looks like another one" in page.text


@BOTH
def test_a_person_is_added_and_sets_the_password_by_the_link(console: Console, head: Browser) -> None:
    link = _LINK.search(add(head).text)
    assert link is not None
    person = console.visit()
    assert "lee" in person.get(link[0]).text
    assert person.post(link[0], new="short", again="short").status_code == 422
    assert "not the same" in person.post(link[0], new=NEW, again=NEW + "!").text
    assert person.post(link[0], new=NEW, again=NEW).location == "/console/"
    assert "KPTA" in person.get("/console/account").text
    assert console.visit().get(link[0]).status_code == 404
    assert console.visit().post(link[0], new=NEW, again=NEW).status_code == 404
    assert console.visit().post("/console/sign-in", name="lee", password=NEW).status_code == 302
    with read_transaction(console.services.engine) as conn:
        (row,) = list_actions(conn, action="account add")
        leaves = list_subject_leaves(conn, "register", "account lee")
    assert (row.actor, row.role, row.object) == ("head", "agency/KPTA", "account lee")
    assert row.after == {"roles": "agency/KPTA:officer"}
    assert [read_leaf_data(leaf)["verb"] for leaf in leaves] == ["account add", "change_password"]


@pytest.mark.parametrize("how", ["late", "suspended", "another role", "a newer link"])
def test_a_link_is_good_for_a_time_and_for_one_state(console: Console, head: Browser, how: str) -> None:
    link = _LINK.search(add(head).text)
    assert link is not None
    with write_transaction(console.services.engine, "test") as conn:
        lee = accounts.find_by_name(conn, "lee")
        assert lee is not None
        now = console.services.clock()
        if how == "suspended":
            accounts.set_status(conn, lee.id, "SUSPENDED", now)
            accounts.set_status(conn, lee.id, "ACTIVE", now)
        if how == "another role":
            accounts.set_roles(conn, lee.id, *HUB, ["administrator"], now)
    if how == "late":
        console.services.hub.clock.now += timedelta(hours=72)  # type: ignore[attr-defined]
    if how == "a newer link":
        head.get(f"/console/people/{lee.id}")
        assert _LINK.search(head.post(f"/console/people/{lee.id}/link").text)
    assert console.visit().get(link[0]).status_code == 404
    assert console.visit().post(link[0], new=NEW, again=NEW).status_code == 404


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "head"}, "There is an account with this name already."),
        ({"name": "HEAD"}, "There is an account with this name already."),
        ({"name": ""}, "no spaces"),
        ({"name": "a b"}, "no spaces"),
        ({"name": "x" * 65}, "no spaces"),
        ({"display_name": " "}, "others see"),
        ({"role": []}, "needs a role"),
        ({"role": ["administrator"]}, "another kind"),
        ({"role": ["officer", "nothing"]}, "another kind"),
    ],
    ids=str,
)
def test_a_person_is_not_added(
    console: Console, head: Browser, fields: dict[str, Any], sentence: str
) -> None:
    answer = add(head, **fields)
    assert answer.status_code == 422
    assert sentence in answer.text
    with read_transaction(console.services.engine) as conn:
        assert [row.name for row in accounts.list_accounts(conn)] == ["head"]


def test_an_organisation_adds_so_many_people_in_a_day(
    console: Console, head: Browser, administrator: Browser, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever of it adds them, and also of those who have lost their roles again."""
    monkeypatch.setattr("gateway.web.console.people.managed_accounts._MOST_ADDED", 2)
    console.add_account("boss", KPTA, "head")
    boss = console.sign_in("boss")
    assert add(head, "a").status_code == 200
    with write_transaction(console.services.engine) as conn:
        account = accounts.find_by_name(conn, "a")
        assert account is not None
        accounts.set_roles(conn, account.id, *KPTA, [], story.clock())
    assert add(boss, "b").status_code == 200
    refused = add(head, "c")
    assert (refused.status_code, "has added 100 people within a day" in refused.text) == (422, True)
    place = {"organisation": "party/broker1", "role": ["manager"]}
    for name in ("d", "e", "f"):
        assert add(administrator, name, **place).status_code == 200, "an operator adds as many as there are"
    console.add_account("other", KFDA, "head")
    assert add(console.sign_in("other"), "g").status_code == 200
    story.clock.forward(hours=25)
    assert add(console.sign_in("head"), "c").status_code == 200


def test_a_manager_adds_only_to_the_own_organisation(console: Console, head: Browser) -> None:
    assert add(head, organisation="operator/hub", role=["officer"]).status_code == 200
    assert list_roles(console, 2) == {("agency", "KPTA", "officer")}


def test_an_organisation_sees_its_own_people_only(console: Console, head: Browser) -> None:
    console.add_account("kim", KPTA, "officer")
    other = console.add_account("choi", KFDA, "head")
    page = head.get("/console/people?organisation=agency/KFDA").text
    assert "kim" in page
    assert "choi" not in page
    assert "choi" not in head.get("/console/people?format=csv").text
    assert head.get(f"/console/people/{other}").status_code == 404
    for act in ("roles", "suspend", "resume", "end-sessions", "link"):
        assert head.post(f"/console/people/{other}/{act}", role="officer").status_code == 404
    assert list_roles(console, other) == {("agency", "KFDA", "head")}


def test_an_account_with_roles_elsewhere_is_the_operators(console: Console, head: Browser) -> None:
    kim = console.add_account("kim", KPTA, "officer")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, kim, *HUB, ["operator"], console.services.clock())
    page = head.get(f"/console/people/{kim}").text
    assert "the operator manages it" in page
    assert "operator/hub" not in page
    for act in ("suspend", "resume", "end-sessions", "link"):
        assert head.post(f"/console/people/{kim}/{act}").status_code == 422
    assert head.post(f"/console/people/{kim}/roles", role="reader").status_code == 302
    assert list_roles(console, kim) == {("agency", "KPTA", "reader"), ("operator", "hub", "operator")}


def test_suspension_and_ended_sessions_take_effect_at_once(console: Console, head: Browser) -> None:
    kim = console.add_account("kim", KPTA, "officer")
    for act in ("end-sessions", "suspend"):
        officer = console.enter("kim")
        assert officer.get("/console/account").status_code == 200
        head.get(f"/console/people/{kim}")
        assert head.post(f"/console/people/{kim}/{act}").status_code == 302
        assert officer.get("/console/account").status_code == 302
    assert "suspended" in head.get("/console/people?status=SUSPENDED").text
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 401
    assert head.post(f"/console/people/{kim}/link").status_code == 422
    assert head.post(f"/console/people/{kim}/resume").status_code == 302
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 302
    with read_transaction(console.services.engine) as conn:
        told = [row.action for row in list_actions(conn, object="account kim")]
    assert told == ["account resume", "account suspend", "account end-sessions"]


def test_nobody_takes_the_management_away_from_oneself(console: Console, head: Browser) -> None:
    head.get("/console/people/1")
    assert head.post("/console/people/1/suspend").status_code == 422
    assert head.post("/console/people/1/roles", role="officer").status_code == 422
    assert head.post("/console/people/1/roles").status_code == 422
    assert list_roles(console, 1) == {("agency", "KPTA", "head")}


@pytest.mark.parametrize("role", ["reader", "officer", "approver"])
def test_without_the_right_there_is_no_page(console: Console, head: Browser, role: str) -> None:
    console.add_account("kim", KPTA, role)
    officer = console.enter("kim")
    assert "/console/people" not in officer.get("/console/account").text
    for path in ("/console/people", "/console/people/add", "/console/people/1"):
        assert officer.get(path).status_code == 403
    for path in ("/console/people/add", "/console/people/1/roles", "/console/people/2/roles"):
        assert officer.post(path, role="head").status_code == 403


@pytest.mark.story("an administrator manages the people of every organisation")
def test_the_administrator_manages_every_organisation(console: Console, administrator: Browser) -> None:
    kim = console.add_account("kim", KPTA, "officer")
    assert "agency/KPTA:officer" in administrator.get("/console/people").text
    assert "kim" not in administrator.get("/console/people?organisation=party").text
    assert "kim" in administrator.get("/console/people?organisation=agency/KPTA").text
    administrator.get(f"/console/people/{kim}")
    answer = administrator.post(f"/console/people/{kim}/roles", organisation="agency/KFDA", role="head")
    assert answer.status_code == 302
    assert list_roles(console, kim) == {("agency", "KPTA", "officer"), ("agency", "KFDA", "head")}
    assert add(administrator, organisation="party/broker1", role=["manager"]).status_code == 200


@pytest.mark.parametrize("place", ["", "agency", "agency/NONE", "party/nobody", "operator/x", "x/y"])
def test_an_unknown_organisation_has_no_people(administrator: Browser, place: str) -> None:
    answer = add(administrator, organisation=place)
    assert answer.status_code == 422
    assert "This organisation is not known" in answer.text


def test_a_long_list_goes_on_and_is_a_csv(console: Console, head: Browser) -> None:
    with write_transaction(console.services.engine, "test") as conn:
        for number in range(60):
            one = accounts.NewAccount(f"p{number:02}", "=1+1", "test")
            account = accounts.insert_account(conn, one, console.services.clock())
            accounts.set_roles(conn, account, *KPTA, ["reader"], console.services.clock())
    page = head.get("/console/people").text
    assert "p48" in page
    assert "p49" not in page
    assert "after=p48" in page
    assert "p59" in head.get("/console/people?after=p48").text
    assert "(p07)" in head.get("/console/people?q=P07").text
    lines = head.get("/console/people?format=csv").text.splitlines()
    assert len(lines) == 62
    assert lines[2].startswith("p00,'=1+1,ACTIVE,reader,")


def test_a_name_of_markup_stays_text(console: Console, head: Browser) -> None:
    add(head, name="<b>", display_name="<script>alert(1)</script>")
    for path in ("/console/people", "/console/people/2"):
        assert "<script>alert" not in head.get(path).text
        assert "<b>" not in head.get(path).text
