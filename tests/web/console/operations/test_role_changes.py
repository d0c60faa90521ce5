"""Changes of roles by administrators that a second person must approve, where the settings say so."""

from __future__ import annotations

import re

import pytest

from gateway.store import accounts, read_transaction
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.story import Story

HUB = ("operator", "hub")


@pytest.fixture
def hub(story: Story) -> Console:
    console = Console(story.house.hub, console={"second_person": ["account role"]})
    for name, role in (("root", "administrator"), ("lee", "supervisor"), ("han", "observer")):
        console.add_account(name, HUB, role)
    return console


def find(console: Console, name: str) -> tuple[int, set[str]]:
    with read_transaction(console.services.engine) as conn:
        row = accounts.find_by_name(conn, name)
        assert row is not None
        return int(row.id), {one.role for one in accounts.list_account_roles(conn, row.id)}


def propose(console: Console, browser: Browser, name: str, *roles: str, reason: str = "on leave") -> str:
    number = find(console, name)[0]
    browser.get(f"/console/people/{number}")
    fields = {"organisation": "operator/hub", "role": list(roles), "reason": reason}
    answer = browser.post(f"/console/people/{number}/roles", **fields)
    assert answer.status_code == 302, answer.text
    return str(answer.location)


def decide(browser: Browser, place: str, word: str = "approve") -> int:
    browser.get(place)
    return browser.post(f"{place}/{word}", reason="agreed").status_code


def test_roles_wait_for_a_second_person(hub: Console) -> None:
    root, lee = hub.enter("root"), hub.enter("lee")
    place = propose(hub, root, "han", "operator")
    assert find(hub, "han")[1] == {"observer"}
    page = lee.get(place).text
    assert "observer" in page
    assert "operator" in page
    assert "on leave" in page
    none = lee.get(propose(hub, root, "han")).text
    assert "<dt>Roles after</dt><dd>none</dd>" in none
    assert decide(root, place) == 403
    assert decide(lee, place) == 302
    assert find(hub, "han")[1] == {"operator"}
    with read_transaction(hub.services.engine) as conn:
        rows = [(row.actor, row.action, row.object, row.outcome) for row in list_actions(conn)]
    assert ("root", "account role", "account han", "proposed") in rows
    assert ("lee", "account role", "account han", "done") in rows


@pytest.mark.refusal("an administrator approves a change of own roles")
def test_nobody_approves_a_change_of_own_roles(hub: Console) -> None:
    root, lee = hub.enter("root"), hub.enter("lee")
    place = propose(hub, root, "lee", "supervisor", "administrator")
    assert decide(lee, place) == 409
    assert find(hub, "lee")[1] == {"supervisor"}


def test_a_proposal_does_not_undo_what_came_between(hub: Console) -> None:
    root, lee = hub.enter("root"), hub.enter("lee")
    first, second = propose(hub, root, "han", "operator"), propose(hub, root, "han", "supervisor")
    assert decide(lee, second) == 302
    assert decide(lee, first) == 409
    assert find(hub, "han")[1] == {"supervisor"}


def test_a_new_person_has_no_role_before_the_approval(hub: Console) -> None:
    root, lee = hub.enter("root"), hub.enter("lee")
    root.get("/console/people/add")
    fields = {"name": "new", "display_name": "New", "language": "en", "organisation": "operator/hub"}
    refused = root.post("/console/people/add", **fields, role=["administrator"])
    assert refused.status_code == 422
    assert "Give a reason" in refused.text
    answer = root.post("/console/people/add", **fields, role=["administrator"], reason="joined")
    assert "The link has two parts." in answer.text
    with read_transaction(hub.services.engine) as conn:
        assert accounts.find_by_name(conn, "new") is None
    page = lee.get("/console/operations/acts/1").text
    assert ("New" in page, "administrator" in page, "joined" in page) == (True, True, True)
    assert decide(lee, "/console/operations/acts/1") == 200
    assert find(hub, "new")[1] == {"administrator"}


def test_other_organisations_give_their_roles_themselves(hub: Console) -> None:
    hub.add_account("head", ("agency", "KPTA"), "head")
    officer = hub.add_account("kim", ("agency", "KPTA"), "reader")
    head = hub.enter("head")
    head.get(f"/console/people/{officer}")
    assert head.post(f"/console/people/{officer}/roles", role=["officer"]).status_code == 302
    assert find(hub, "kim")[1] == {"officer"}


def test_nobody_takes_over_an_account_of_the_operator(hub: Console) -> None:
    """Who sets the password of the second person could approve an own proposal."""
    root = hub.enter("root")
    for name in ("lee", "han"):
        number = find(hub, name)[0]
        root.get(f"/console/people/{number}")
        assert root.post(f"/console/people/{number}/link").status_code == 422, "a reason is missing"
        answer = root.post(f"/console/people/{number}/link", reason="forgot it")
        assert answer.status_code == 200
        assert re.search(r"/console/welcome/[\w-]{43}/code", answer.text)
