"""``gateway order``: an operator sees what waits and why, releases it or gives it up, and leaves his name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.hub.intake.message_order import OrderedArrival, release_or_hold_message
from gateway.message_model import SequenceNumber
from gateway.monitor import metrics
from gateway.store import SequenceKey, messages, read_transaction, write_transaction
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, stored

Run = Callable[..., tuple[int, str, str]]
# The verbs judge it by the clock of the machine.
_EXPIRES_AT = datetime.now(UTC) + timedelta(days=9)
KEY = SequenceKey("in", "broker", "urn:cpa", "talk")


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    text = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n'
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def waiting(engine: Engine) -> tuple[int, ...]:
    """Store the messages 0, 2, 3 and 5 of a conversation; return their rows."""
    found = []
    with write_transaction(engine) as conn:
        for number in (0, 2, 3, 5):
            place = SequenceNumber(number, "Continue" if number else "Reset")
            message = stored(conn)
            found.append(message)
            release_or_hold_message(conn, KEY, OrderedArrival(message, place, _EXPIRES_AT, True, 9), NOW)
    return tuple(found)


@BOTH
def test_what_waits_is_listed_and_shown_with_its_reason(run: Run, waiting: tuple[int, ...]) -> None:
    status, out, _ = run("order", "list", "--json")
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert (row["party"], row["next_number"], row["held"], row["first_held"]) == ("broker", 1, 3, 2)
    status, out, _ = run("order", "show", str(row["id"]), "--json")
    told = json.loads(out)
    assert told["waits_because"] == "the message with the number 1 has not arrived"
    assert [(one["number"], one["message"]) for one in told["messages"]] == list(
        zip((2, 3, 5), waiting[1:], strict=True)
    )
    assert "gives_up_at" in run("order", "show", str(row["id"]))[1]
    assert run("order", "list", "--party", "nobody", "--json")[1] == ""
    rows = [json.loads(line) for line in run("message", "list", "--json")[1].splitlines()]
    told = {row["id"]: row["waits_for"] for row in rows}
    assert {told[one] for one in waiting[1:]} == {"an earlier message of its conversation: order 1"}
    assert told[waiting[0]].startswith("processing")


def test_releasing_and_giving_up_leave_a_row_of_audit(
    run: Run, engine: Engine, waiting: tuple[int, ...]
) -> None:
    assert "gateway_held_messages 3.0" in metrics.render_metrics(engine, NOW)
    status, out, _ = run("order", "release", "1", "--reason", "1 is lost", "--by", "Kim", "--json")
    told = json.loads(out)
    assert (status, told["messages"]) == (0, list(waiting[1:3]))
    assert (told["before"], told["after"]["next_number"]) == ({"next_number": 1}, 4)
    status, out, _ = run("order", "reset", "1", "--reason", "4 is lost", "--by", "Lee")
    assert (status, out) == (0, "Gave up 1 message of order 1; the next number is 4.\n")
    with read_transaction(engine) as conn:
        rows = list_actions(conn, limit=9)
        state = messages.find_by_id(conn, waiting[3])
    assert [(row.action, row.object, row.actor, row.reason) for row in rows] == [
        ("order reset", "order 1", "Lee", "4 is lost"),
        ("order release", "order 1", "Kim", "1 is lost"),
    ]
    assert state is not None
    assert (state.state, state.problem) == ("FAILED", "GW315")
    assert "gateway_held_messages 0.0" in metrics.render_metrics(engine, NOW)


@pytest.mark.parametrize("words", [("show", "7"), ("release", "7"), ("reset", "7")])
def test_an_order_that_does_not_exist_is_misuse(run: Run, words: tuple[str, str]) -> None:
    status, _, err = run("order", *words)
    assert status == 1
    assert "there is no order 7" in err


def test_where_nothing_waits_nothing_is_released(run: Run, engine: Engine) -> None:
    with write_transaction(engine) as conn:
        place = OrderedArrival(stored(conn), SequenceNumber(0, "Reset"), NOW, True, 9)
        release_or_hold_message(conn, KEY, place, NOW)
    status, _, err = run("order", "release", "1")
    assert status != 0
    assert "GW705" in err
    assert json.loads(run("order", "list", "--all", "--json")[1])["held"] == 0
