"""Two answers to one challenge at the same moment: one of them is taken, on each kind of database.

The passkey does not count, as those that are kept in several devices do not: the challenge alone
tells a second use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gateway.accounts import PasskeyError
from gateway.store import read_transaction, sessions, write_transaction
from gateway.web.console.passkey_challenges import begin_passkey_confirmation, finish_passkey_confirmation
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Console
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.web.console.test_passkeys import AGENCY, DOCUMENT, get_visitor, register

MANY = 4


@pytest.fixture
def console(story: Story) -> Console:
    """A console on which as many requests of one account are answered at once."""
    return Console(story.house.hub, console={"threads": MANY + 1, "requests_per_account": MANY})


def press_at_once(press: Callable[[int], object]) -> list[object]:
    """Call a function from several threads at the same moment; return what each call gave."""
    ready = threading.Barrier(MANY)
    answers: dict[int, object] = {}

    def run(number: int) -> None:
        ready.wait()
        answers[number] = press(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(MANY)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return [answers[number] for number in range(MANY)]


@pytest.mark.long
@BOTH
def test_one_of_several_registrations_with_one_challenge_is_taken(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    browsers = [console.enter("kim") for _ in range(MANY)]
    cookie = browsers[0].client.get_cookie("__Host-session")
    assert cookie is not None
    for one in browsers:
        one.client.set_cookie("__Host-session", cookie.value, secure=True)
        one.get("/console/account/passkeys")
    options = browsers[0].post("/console/account/passkeys/options").text
    # Each is another passkey: only the challenge is the same.
    told = [Authenticator().create(options) for _ in range(MANY)]
    statuses = press_at_once(
        lambda number: (
            browsers[number]
            .post("/console/account/passkeys", name="desk", password=PASSWORD, passkey_answer=told[number])
            .status_code
        )
    )
    assert sorted(map(str, statuses)) == ["302", "422", "422", "422"]
    with read_transaction(console.services.engine) as conn:
        assert len(sessions.list_passkeys(conn, 1)) == 1


@pytest.mark.long
@BOTH
def test_one_of_several_sign_ins_with_one_answer_is_taken(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    authenticator = Authenticator(steps=0)
    assert register(console.enter("kim"), authenticator).status_code == 302
    browsers = [console.visit() for _ in range(MANY)]
    answer = authenticator.get(browsers[0].post("/console/sign-in/passkey/options").text)
    statuses = press_at_once(
        lambda number: browsers[number].post("/console/sign-in/passkey", passkey_answer=answer).status_code
    )
    assert sorted(map(str, statuses)) == ["302", "401", "401", "401"]


@pytest.mark.long
@BOTH
def test_one_of_several_confirmations_with_one_answer_is_taken(console: Console) -> None:
    console.add_account("kim", AGENCY, "officer")
    browser, authenticator = console.enter("kim"), Authenticator(steps=0)
    assert register(browser, authenticator).status_code == 302
    visitor = get_visitor(console, browser)
    # Two pages show the same document: the challenge is stored twice.
    shown = [console.call(begin_passkey_confirmation, visitor, DOCUMENT) for _ in range(2)]
    answer = authenticator.get(shown[0] or "")

    def confirm(number: int) -> bool:
        try:
            with write_transaction(console.services.engine, "test") as conn:
                console.call(finish_passkey_confirmation, conn, visitor, DOCUMENT, answer)
        except PasskeyError:
            return False
        return True

    assert sorted(map(str, press_at_once(confirm))) == ["False", "False", "False", "True"]
    assert not confirm(0)
