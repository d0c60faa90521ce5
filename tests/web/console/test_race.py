"""Many attempts at the same moment: limits count before anything is judged or stored, on each database."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.store import api_tokens, read_transaction, sessions
from gateway.store.sessions import passkey_challenges
from gateway.web.console import sign_in
from tests.kit.api import Api
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story

AGENCY = ("agency", "KPTA")
NEW = "another long sentence"
MANY = 40


@pytest.fixture
def console(story: Story) -> Console:
    """A console on which as many requests of one account are answered at once."""
    return Console(story.house.hub, console={"threads": MANY + 1, "requests_per_account": MANY})


def press_at_once(press: Callable[[int], Any]) -> list[Any]:
    """Call a function from many threads at the same moment; return what each call gave."""
    ready = threading.Barrier(MANY)

    def run(number: int) -> Any:
        ready.wait()
        return press(number)

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(run, range(MANY)))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the passwords that were judged; each takes its time, as hashing does."""
    seen: list[str] = []
    verify = sign_in.verify_typed_password

    def judge(stored: str | None, password: str) -> bool:
        seen.append(password)
        time.sleep(0.1)
        return verify(stored, password)

    monkeypatch.setattr("gateway.web.console.sign_in.verify_typed_password", judge)
    return seen


@pytest.mark.long
@BOTH
def test_of_many_wrong_passwords_at_once_five_are_judged(console: Console, judged: list[str]) -> None:
    console.add_account("kim", AGENCY, "officer")

    def guess(number: int) -> int:
        return console.visit().post("/console/sign-in", name="kim", password=f"guess {number}").status_code

    assert Counter(press_at_once(guess)) == {401: 5, 429: MANY - 5}
    assert len(judged) == 5


@pytest.mark.long
@BOTH
def test_of_many_wrong_present_passwords_at_once_five_are_judged(console: Console, judged: list[str]) -> None:
    console.add_account("kim", AGENCY, "officer")
    browser = console.enter("kim")
    browser.get("/console/account")
    cookie = browser.client.get_cookie("__Host-session")
    assert cookie is not None
    copies = [Browser(console.application.test_client(), browser.token) for _ in range(MANY)]
    for one in copies:
        one.client.set_cookie("__Host-session", cookie.value, secure=True)
    press_at_once(
        lambda n: copies[n].post("/console/account/password", old=f"guess {n}", new=NEW).status_code
    )
    assert len(judged) == 5


@pytest.mark.long
@BOTH
def test_what_a_network_may_have_open_is_counted_in_turn(console: Console, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.web.console.passkey_challenges._MOST_OPEN", 5)
    count = sessions.count_challenges

    def count_slowly(*arguments: Any) -> int:
        found = count(*arguments)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(sessions, "count_challenges", count_slowly)
    press_at_once(lambda _: console.visit().post("/console/sign-in/passkey/options").status_code)
    with read_transaction(console.services.engine) as conn:
        assert conn.execute(select(func.count()).select_from(passkey_challenges)).scalar_one() == 5


@pytest.mark.long
@BOTH
def test_tokens_of_a_party_are_counted_in_turn(story: Story, monkeypatch: Any) -> None:
    api = Api(story.house.hub, api={"tokens_per_party": 5})
    count = api_tokens.count_valid_tokens

    def count_slowly(*arguments: Any) -> int:
        found = count(*arguments)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(api_tokens, "count_valid_tokens", count_slowly)
    statuses = press_at_once(lambda _: api.visit().get_token(api.assertion("broker1")).status_code)
    assert Counter(statuses) == {200: 5, 429: MANY - 5}
