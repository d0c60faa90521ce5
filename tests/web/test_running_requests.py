"""An account or a party has few requests answered at once: a further one is told to come again."""

from __future__ import annotations

from threading import Barrier, Event, Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.web.api import api_application
from tests.kit.api import Api
from tests.kit.console import Console
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


class HeldRequests:
    """Requests that are held while they are answered, each on a thread of its own."""

    def __init__(self, number: int) -> None:
        self.inside, self.go_on = Barrier(number + 1), Event()

    def hold(self, *_: Any) -> None:
        self.inside.wait(60)
        self.go_on.wait(60)


@pytest.mark.long
@in_turn
def test_a_third_page_of_one_account_comes_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    console, held = Console(story.house.hub), HeldRequests(2)
    for name in ("kim", "lee"):
        console.add_account(name, ("party", "broker1"), "filer")
    answer = console.application.view_functions["account.show_account"]
    monkeypatch.setitem(
        console.application.view_functions, "account.show_account", lambda: held.hold() or answer()
    )
    # Two sessions of the account count together.
    threads = [Thread(target=console.enter("kim").get, args=("/console/account",)) for _ in range(2)]
    for one in threads:
        one.start()
    held.inside.wait(60)
    late = console.enter("kim").get("/console/cases")
    assert (late.status_code, late.headers["Retry-After"]) == (429, "1")
    assert "GW807" in late.text
    assert "Other pages of your account are being made. Load this page again in a second." in late.text
    assert "Retry-After" not in late.text, "that is for programs"
    assert console.enter("lee").get("/console/cases").status_code == 200
    held.go_on.set()
    for one in threads:
        one.join(60)
    assert console.enter("kim").get("/console/cases").status_code == 200


@BOTH_AT_LANDING
def test_a_third_api_request_of_one_party_comes_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    api, held = Api(story.house.hub), HeldRequests(2)
    first, second = api.client("broker1"), api.client("broker1")
    read = api_application.read_request

    def read_slowly(operation: Any, call: Any) -> Any:
        if operation.id == "listWebhooks":
            held.hold()
        return read(operation, call)

    monkeypatch.setattr(api_application, "read_request", read_slowly)
    threads = [Thread(target=one.get, args=("webhooks",)) for one in (first, second)]
    for one in threads:
        one.start()
    held.inside.wait(60)
    late = first.get("cases")
    assert (first.problem(late), "Retry-After" in late.headers) == ((429, "GW807"), True)
    assert api.visit().get("problems").status_code == 200
    held.go_on.set()
    for one in threads:
        one.join(60)
    assert first.get("cases").status_code == 200
