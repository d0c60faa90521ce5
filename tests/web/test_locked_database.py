"""While the database is locked or does not answer, status pages say so in time, and all others refuse."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Engine, text
from werkzeug.test import Client

from gateway.config import Settings
from gateway.store import make_engine, write_transaction
from gateway.web import hub_readiness
from gateway.web.server import PageNeeds
from gateway.web.server_settings import build_api_limits, build_console_limits
from gateway.web.wsgi_application import build_wsgi_application
from tests.kit.api import Api
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.story import Story
from tests.kit.waiting import until

SECONDS = 0.4


@pytest.fixture(autouse=True)
def ask_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_readiness, "_ASKING_SECONDS", SECONDS)
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)


@pytest.fixture
def story(database_url: str) -> Iterator[Story]:
    story = Story(make_engine(database_url, max_wait_seconds=SECONDS * 2))
    yield story
    story.house.engine.dispose()


@contextmanager
def lock_database(engine: Engine) -> Iterator[None]:
    """Let another process have the database: on SQLite nobody writes, on PostgreSQL nobody reads either."""
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
        return
    other = make_engine(engine.url.render_as_string(hide_password=False))
    tables = "epochs, sessions, accounts, status_notices, cases, api_tokens"
    with write_transaction(other) as conn:
        conn.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
        yield
    other.dispose()


class Statuses:
    """What each status page says whether messages are accepted, with the time that it took."""

    def __init__(self, story: Story) -> None:
        self.story, self.console, self.api = story, Console(story.hub), Api(story.hub)
        self.console.add_account("kim", ("operator", "operator"), "administrator")
        self.operator = self.console.enter("kim")
        self.hub = Client(build_wsgi_application(story.hub, 1 << 20))
        self.seconds: list[float] = []

    def read(self) -> list[bool]:
        """Return what three pages say, and the first once more to somebody who has signed in."""
        return [
            self._time(ask) for ask in (self._ask_hub, self._ask_api, self._ask_page, self._ask_signed_in)
        ]

    def await_readiness(self) -> None:
        def is_ready() -> bool:
            # The status page has a limit of requests in a second.
            self.story.clock.forward(seconds=1)
            return self.read() == [True] * 4

        until(is_ready, every=0.1)

    def _time(self, ask: Callable[[], bool]) -> bool:
        began = time.monotonic()
        verdict = ask()
        self.seconds.append(time.monotonic() - began)
        return verdict

    def _ask_hub(self) -> bool:
        answer = self.hub.get("/status/ready")
        assert answer.text == "ready\n" or answer.text.startswith("GW806 the database")
        return answer.status_code == 200

    def _ask_api(self) -> bool:
        told = self.api.visit().get("status").json
        assert told["ready"] or told["problem_id"] == "GW806"
        return bool(told["ready"])

    def _ask_page(self) -> bool:
        return self._read_page(self.console.visit())

    def _ask_signed_in(self) -> bool:
        return self._read_page(self.operator)

    def _read_page(self, browser: Browser) -> bool:
        answer = browser.get("/console/status", headers={"Accept-Language": "en"})
        assert answer.status_code == 200
        is_ready = "New messages are not accepted" not in answer.text
        assert ("No incident is known" in answer.text) is is_ready
        return is_ready


@pytest.mark.long
@in_turn
def test_all_say_the_same_in_time(story: Story) -> None:
    statuses = Statuses(story)
    # Only a locked database has to be told within the short limit: the first questions also connect.
    statuses.await_readiness()
    for _ in range(2):
        with lock_database(story.house.engine):
            # The use of a session is stored after a minute.
            story.clock.forward(minutes=2)
            statuses.seconds.clear()
            for _ in range(3):
                assert statuses.read() == [False] * 4
            assert max(statuses.seconds) < SECONDS * 3
        statuses.await_readiness()


@pytest.mark.long
@in_turn
def test_twenty_that_ask_at_once_wait_for_one_probe(story: Story) -> None:
    statuses = Statuses(story)
    answers: list[bool] = []
    with lock_database(story.house.engine):
        threads = [threading.Thread(target=lambda: answers.extend(statuses.read())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        names = [thread.name for thread in threading.enumerate()]
    assert answers == [False] * 80
    # One of each process, and that of the page.
    assert names.count("status") <= 4
    statuses.await_readiness()


@pytest.mark.long
@in_turn
def test_what_needs_the_database_is_refused_in_time(story: Story) -> None:
    engine = story.house.engine
    statuses = Statuses(story)
    stranger, token = statuses.console.visit(), statuses.api.client("broker1")
    stranger.get("/console/sign-in")
    story.clock.forward(minutes=2)
    asks: list[Callable[[], tuple[int, str]]] = [
        lambda: show(statuses.operator.get("/console/operations")),
        lambda: show(stranger.post("/console/sign-in", name="kim", password="wrong horse battery")),
        lambda: show(statuses.operator.post("/console/sign-out")),
        lambda: show(statuses.api.visit().get_token(statuses.api.assertion("broker1"))),
    ]
    if engine.dialect.name == "postgresql":
        # Readers of SQLite go on.
        asks.append(lambda: show(token.get("cases")))
    with lock_database(engine):
        for ask in asks:
            began = time.monotonic()
            status, page = ask()
            assert (status, "GW806" in page or "temporarily_unavailable" in page) == (503, True), page
            assert time.monotonic() - began < SECONDS * 6
    statuses.await_readiness()
    assert statuses.operator.get("/console/operations").status_code == 200


def show(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.text  # type: ignore[attr-defined]


def test_status_has_threads_of_its_own() -> None:
    """Where those for other pages all wait for the database."""
    settings = Settings()
    console_limits = build_console_limits(settings, lambda *_: PageNeeds())
    assert console_limits.status_paths == {"/console/status"}
    assert build_api_limits(settings).status_paths == {"/api/v1/status"}


@BOTH_AT_LANDING
def test_a_signed_in_person_changes_the_language_there(story: Story) -> None:
    """The page does not read the session, but its form has the token of it."""
    console = Console(story.hub)
    console.add_account("kim", ("operator", "operator"), "administrator")
    operator = console.enter("kim")
    page = operator.get("/console/status", headers={"Accept-Language": "en"})
    assert "public" not in page.headers["Cache-Control"]
    assert operator.post("/console/language", language="ko", next="/console/status").status_code == 302
    assert "시스템 상태" in operator.get("/console/status").text
