"""The page of certificates: what is registered for an organisation, and the webhooks of its software."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.store import accounts, event_readers, parties, read_transaction, write_transaction
from tests.kit.audited import list_actions
from tests.kit.console import Console
from tests.kit.databases import BOTH

PATH = "/console/account/certificates"


@pytest.mark.long
@BOTH
def test_people_see_the_certificates_of_their_own_organisation(console: Console) -> None:
    console.add_account("han", ("party", "broker1"), "viewer")
    console.add_account("kim", ("agency", "KPTA"), "officer")
    console.add_account("root", ("operator", "hub"), "administrator")
    with read_transaction(console.services.engine) as conn:
        own = {row.sha256 for row in parties.list_certificates(conn, "broker1")}
        theirs = {row.sha256 for row in parties.list_certificates(conn, "KPTA")}
    assert own
    assert theirs
    assert not own & theirs
    han, kim, root = (console.enter(name).get(PATH).text for name in ("han", "kim", "root"))
    assert all(one in han for one in own)
    assert not any(one in han for one in theirs)
    assert all(one in kim for one in theirs)
    assert not any(one in kim for one in own)
    assert not any(one in root for one in own | theirs)
    assert PATH in console.enter("han").get("/console/account").text
    assert "Webhooks" not in han


def test_an_end_by_the_operator_and_a_retired_certificate_are_told(console: Console) -> None:
    console.add_account("han", ("party", "broker1"), "viewer")
    with read_transaction(console.services.engine) as conn:
        row = parties.list_certificates(conn, "broker1")[0]
    with write_transaction(console.services.engine, "test") as conn:
        end = console.services.clock() + timedelta(days=3)
        parties.limit_certificate_use(conn, row.sha256, end)
    page = console.enter("han").get(PATH).text
    assert "! in 3 d" in page
    assert f"{end.astimezone(ZoneInfo('Asia/Seoul')):%Y-%m-%d %H:%M}" in page
    with write_transaction(console.services.engine, "test") as conn:
        parties.retire_certificate(conn, row.sha256)
    assert row.sha256 not in console.enter("han").get(PATH).text


def test_what_has_ended_and_what_signs_in_is_told(console: Console) -> None:
    """To the person, and to the head of the people."""
    account = console.add_account("lee", ("party", "broker1"), "manager")
    with read_transaction(console.services.engine) as conn:
        row = parties.list_certificates(conn, "broker1")[0]
    with write_transaction(console.services.engine, "test") as conn:
        now = console.services.clock()
        parties.limit_certificate_use(conn, row.sha256, now + timedelta(seconds=1))
        accounts.update_account(conn, account, certificate_sha256="c" * 64)
        event_readers.insert_webhook(conn, "mine", "broker1", "https://mine.example/", now)
        event_readers.switch_webhook_off(conn, "mine", "it failed for a day")
    lee = console.enter("lee")
    console.services.clock.forward(seconds=2)  # type: ignore[attr-defined]
    page = lee.get(PATH).text
    assert '<span class="state bad">✗ ended</span>' in page
    assert f"<code>{'c' * 64}</code>" in page
    assert '✗ off</span> <span lang="en">it failed for a day</span>' in page
    assert "Password Certificate" in lee.get("/console/people").text
    assert "Password Certificate" in lee.get(f"/console/people/{account}").text


def test_a_manager_deletes_a_webhook_of_the_party_only(console: Console) -> None:
    console.add_account("lee", ("party", "broker1"), "manager")
    console.add_account("han", ("party", "broker1"), "filer")
    with write_transaction(console.services.engine, "test") as conn:
        for name, party in (("mine", "broker1"), ("theirs", "KPTA")):
            event_readers.insert_webhook(
                conn, name, party, f"https://{name}.example/", console.services.clock()
            )
    lee, han = console.enter("lee"), console.enter("han")
    page = lee.get(PATH).text
    assert "https://mine.example/" in page
    assert "theirs" not in page
    assert "mine.example" not in han.get(PATH).text
    assert han.post(f"{PATH}/webhooks/mine/delete").status_code == 403
    assert lee.post(f"{PATH}/webhooks/theirs/delete").status_code == 404
    assert lee.post(f"{PATH}/webhooks/mine/delete").status_code == 302
    with read_transaction(console.services.engine) as conn:
        assert event_readers.list_webhooks(conn, "broker1") == []
        assert len(event_readers.list_webhooks(conn, "KPTA")) == 1
        row = list_actions(conn)[0]
    assert (row.actor, row.action, row.object) == ("lee", "webhook delete", "webhook mine")
    assert row.before == {"url": "https://mine.example/", "state": "ACTIVE"}
