"""An operator reads why a delivery failed: at the queue, at the case, and at the message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.errors import PARTNER_FAULT, UNREACHABLE, GatewayError
from gateway.store import DeliveryLease, deliveries, messages, read_transaction
from tests.flows.craft import text
from tests.kit.databases import BOTH
from tests.kit.desk import Desk
from tests.kit.story import Story, unreachable

DOWN = GatewayError(UNREACHABLE, "Connection refused", "http://kr-a.example/soap")
FAULT = GatewayError(
    PARTNER_FAULT, "it answered with a fault", "Body", theirs="fault Server: GW209 \x1b[2J too old"
)
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')

    def run(*words: str) -> str:
        assert main([*words, "--home", str(tmp_path)]) == 0
        return capsys.readouterr().out

    return run


@BOTH
def test_a_delivery_shows_every_attempt_with_our_sentence_and_theirs(engine: Engine, run: Run) -> None:
    said = [DOWN, FAULT]

    def act(lease: DeliveryLease) -> None:
        raise said[lease.attempt - 1]

    desk = Desk(engine, act)
    (number,) = desk.queue()
    desk.worker.run_once()
    desk.clock.forward(seconds=60)
    desk.worker.run_once()
    told = json.loads(run("queue", "show", str(number), "--json"))
    assert told["last_sentence"] == "it answered with a fault at Body"
    seen = [(one["outcome"], one["problem"], one["ours"], one["theirs"]) for one in told["attempts"]]
    assert seen == [
        ("defer", "GW601", "Connection refused at http://kr-a.example/soap", None),
        ("defer", "GW608", "it answered with a fault at Body", "fault Server: GW209  [2J too old"),
    ]
    text = run("queue", "show", str(number))
    assert text.startswith(f"delivery {number}  ")
    assert "\n  attempt 1  " in text
    assert "they said: fault Server: GW209" in text
    (row,) = (json.loads(line) for line in run("queue", "list", "--json").splitlines())
    assert row["last_sentence"] == told["last_sentence"]


def test_a_case_shows_why_its_agency_has_nothing(engine: Engine, run: Run) -> None:
    story = Story(engine)
    story.say("KPTA", unreachable("Connection refused"))
    story.submit()
    story.tick()
    words = run("case", "show", story.case().number)
    assert "GW601  Connection refused" in words
    assert "attempt 1" in words
    with read_transaction(engine) as conn:
        message = messages.list_messages(conn, limit=1, direction="in")[0]
        (task,) = deliveries.list_deliveries(conn, subject_type="message", subject_id=str(message.id))
    told = json.loads(run("message", "show", str(message.id), "--json"))
    assert [one["id"] for one in told["deliveries"]] == [task.id]
    assert told["deliveries"][0]["attempts"][0]["outcome"] == "delivered"
    text = run("message", "show", str(message.id))
    assert text.startswith(f"message {message.id}  in  {message.state}\n")
    assert f"\n  delivery {task.id}  " in text
    assert "\n    attempt 1  " in text
    assert "\n  evidence NRO  " in text
    assert "{'" not in text


def test_a_refused_submission_shows_the_sentence_of_its_refusal(engine: Engine, run: Run) -> None:
    story = Story(engine)
    story.submit(story.submission(text(".//Declarant/ID", "6N999")))
    story.tick()
    told = json.loads(run("message", "show", str(story.case().message), "--json"))
    ((problem, pointer),) = story.problems()
    assert (told["problem"], pointer) == (problem, "Declarant/ID")
    (stored,) = story.case().detail["problems"]
    assert told["last_sentence"] == f"{stored['text']} at {pointer}"
