"""Four eyes, raced: an act is done once, by another person, on each kind of database."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from gateway.store import ActDecision, operator_acts, write_transaction
from tests.kit.console import Console
from tests.kit.databases import BOTH, database_url
from tests.web.console.operations.test_acts import act, audit, state

__all__ = ["database_url"]


@BOTH
def test_two_approvals_at_once_do_it_once(two: Console, failed: int, engine: Engine) -> None:
    """Two persons press at the same moment, and so does the proposer in another tab."""
    kim = two.sign_in("kim")
    place = act(kim, "queue cancel", delivery=failed).location
    browsers = [kim, two.sign_in("lee"), two.sign_in("choi")]
    for one in browsers:
        one.get(place)
    ready, answers = threading.Barrier(len(browsers)), {}

    def press(number: int) -> None:
        ready.wait()
        answers[number] = browsers[number].post(f"{place}/approve", reason="agreed").status_code

    threads = [threading.Thread(target=press, args=(number,)) for number in range(len(browsers))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers[0] == 409
    assert sorted((answers[1], answers[2])) == [302, 409]
    assert [row[3] for row in audit(two)] == ["proposed", "done"]
    assert state(two, failed) == "CANCELLED"


def test_the_database_refuses_the_proposer(two: Console, failed: int) -> None:
    """The last guard is the statement itself, whatever a page has checked."""
    kim = two.sign_in("kim")
    number = int(act(kim, "queue cancel", delivery=failed).location.rpartition("/")[2])
    with write_transaction(two.services.engine) as conn:
        row = operator_acts.find_act(conn, number)
        assert row is not None
        decision = ActDecision(row.proposed_by, two.services.clock(), "me")
        assert not operator_acts.end_act(conn, number, "DONE", decision)
