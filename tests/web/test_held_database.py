"""While the database is older than what was acknowledged, all are told to come again, and why is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.test import Client

from gateway.evidence import record_evidence
from gateway.store import keep_database_mark, make_engine, read_mark_file, write_transaction
from gateway.store.database_marks import write_mark_file
from gateway.web.wsgi_application import build_wsgi_application
from tests.kit.api import Api
from tests.kit.console import PASSWORD, Console
from tests.kit.databases import in_turn
from tests.kit.house import START
from tests.kit.story import Story


@pytest.fixture
def held(database_url: str, tmp_path: Path) -> Iterator[Story]:
    """Give a hub whose home has the mark of a later moment."""
    mark = tmp_path / "acknowledged.json"
    before = Story(make_engine(database_url, mark_path=mark))
    with write_transaction(before.house.engine) as conn:
        record_evidence(conn, "closed", "case", 1, None, {}, START)
    Console(before.hub).add_account("kim", ("operator", "operator"), "administrator")
    keep_database_mark(before.house.engine)
    before.house.engine.dispose()
    known = read_mark_file(mark)
    assert known is not None
    write_mark_file(mark, replace(known, leaf=7))
    story = Story(make_engine(database_url, mark_path=mark), first=1000)
    yield story
    story.house.engine.dispose()


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("path", ["/msh/ebms2", "/msh/as4", "/soap/agency", "/soap/customs"])
def test_partners_are_told_to_come_again(held: Story, path: str) -> None:
    client = Client(build_wsgi_application(held.hub, 1 << 20))
    answer = client.post(path, data=b"<a/>", content_type="text/xml")
    assert (answer.status_code, answer.text[:5]) == (503, "GW810")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/status/live").status_code == 200
    ready = client.get("/status/ready")
    assert (ready.status_code, ready.text[:20]) == (503, "GW810 database held:")


@pytest.mark.long
@in_turn
def test_the_api_and_the_console_say_so(held: Story) -> None:
    api = Api(held.hub)
    stranger = api.visit(token="unknown")
    # Software that was registered after the backup is not told that it is unknown.
    assert stranger.problem(stranger.get("cases")) == (503, "GW810")
    assert stranger.get_token(api.assertion("broker1")).status_code == 503
    assert stranger.get("openapi.json").status_code == 200
    console = Console(held.hub)
    page = console.visit().get("/console/status", headers={"Accept-Language": "en"}).text
    assert "New messages are not accepted" in page
    visitor = console.visit()
    visitor.get("/console/sign-in")
    answer = visitor.post("/console/sign-in", name="kim", password=PASSWORD)
    assert (answer.status_code, "GW810" in answer.text) == (503, True)
