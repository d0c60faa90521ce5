"""A party that is suspended: its people and its software are out at once, on both databases."""

from __future__ import annotations

from gateway.operations import Act, open_change, set_party_status
from gateway.store import accounts, event_readers, parties, read_transaction, write_transaction
from tests.kit.api import Api
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story

PARTY = ("party", "broker1")


def suspend(console: Console, status: str = "SUSPENDED") -> None:
    with write_transaction(console.services.engine, "test") as conn:
        parties.set_party_status(conn, "broker1", status)


def is_in(browser: Browser) -> bool:
    return browser.get("/console/cases").status_code == 200


@BOTH
def test_people_of_a_suspended_party_are_out_with_the_next_request(story: Story, console: Console) -> None:
    console.add_account("han", PARTY, "manager")
    console.add_account("kim", ("agency", "KPTA"), "officer")
    # As another process has it.
    other = Console(story.house.hub)
    here, there, officer = console.enter("han"), other.enter("han"), console.enter("kim")
    assert is_in(here)
    assert is_in(there)
    suspend(console)
    assert not is_in(here)
    assert not is_in(there)
    assert here.get("/console/account").location.startswith("/console/sign-in")
    assert officer.get("/console/account").status_code == 200
    assert console.visit().post("/console/sign-in", name="han", password=PASSWORD).status_code == 401
    suspend(console, "ACTIVE")
    assert is_in(console.sign_in("han"))


def test_who_belongs_to_another_party_too_keeps_that(story: Story, console: Console) -> None:
    story.register("trader", "7T001")
    han = console.add_account("han", PARTY, "manager")
    with write_transaction(console.services.engine, "test") as conn:
        accounts.set_roles(conn, han, "party", "trader", ["viewer"], console.services.clock())
    first, second = console.enter("han"), console.enter("han")
    second.get("/console/account")
    assert second.post("/console/account/organisation", organisation="party/trader").status_code == 302
    suspend(console)
    assert not is_in(first)
    assert is_in(second)
    page = second.get("/console/account").text
    assert "broker1" not in page
    second.post("/console/account/organisation", organisation="party/broker1")
    assert "trader" in second.get("/console/account").text
    assert "trader" in console.sign_in("han").get("/console/account").text


@BOTH
def test_officers_of_a_suspended_agency_are_out_with_the_next_request(story: Story, console: Console) -> None:
    console.add_account("kim", ("agency", "KPTA"), "officer")
    console.add_account("lee", ("agency", "NPQS"), "officer")
    officer, of_another = console.enter("kim"), console.enter("lee")
    act = Act("party suspend", "test", "test")
    with open_change(console.services.engine, console.services.settings, act, at=story.clock()) as change:
        set_party_status(change, "KPTA", "SUSPENDED")
    assert officer.get("/console/account").status_code == 302
    assert console.visit().post("/console/sign-in", name="kim", password=PASSWORD).status_code == 401
    assert of_another.get("/console/account").status_code == 200
    with write_transaction(console.services.engine, "test") as conn:
        parties.set_party_status(conn, "KPTA", "ACTIVE")
    assert officer.get("/console/account").status_code == 302
    assert console.sign_in("kim").get("/console/account").status_code == 200


def test_what_was_open_before_a_suspension_stays_closed_after_it(story: Story, console: Console) -> None:
    console.add_account("han", PARTY, "manager")
    browser, broker = console.enter("han"), Api(story.house.hub).client("broker1")
    assert broker.get("cases").status_code == 200
    act = Act("party suspend", "test", "test")
    for status in ("SUSPENDED", "ACTIVE"):
        with open_change(console.services.engine, console.services.settings, act, at=story.clock()) as change:
            set_party_status(change, "broker1", status)
    assert not is_in(browser)
    assert broker.refusal("cases") == (401, "GW214")
    assert is_in(console.sign_in("han"))
    assert Api(story.house.hub).client("broker1").get("cases").status_code == 200


def test_a_suspended_party_is_told_no_events(story: Story, console: Console) -> None:
    now = console.services.clock()
    with write_transaction(console.services.engine, "test") as conn:
        event_readers.insert_webhook(conn, "hook", "broker1", "https://broker.example/", now)
    for status, told in (("SUSPENDED", {}), ("ACTIVE", {"broker1": ["hook"]})):
        suspend(console, status)
        with read_transaction(console.services.engine) as conn:
            assert event_readers.list_active_webhooks(conn, ["broker1"]) == told
