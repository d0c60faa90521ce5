"""Instants at the ends of the calendar in every row of a database: no page, no answer and no verb fails.

A certificate until 9999-12-31T23:59:59Z has no end (RFC 5280 4.1.2.5), and some write an agreement so. East
of Greenwich this instant lies in the year 10000, which cannot be shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update

from gateway.cases import DecisionCode
from gateway.cli import main
from gateway.store import make_engine, read_transaction, write_transaction
from gateway.store.table_types import Instant
from gateway.store.tables import metadata
from tests.kit import tables
from tests.kit.api import Api
from tests.kit.console import Browser, Console
from tests.kit.story import Story, asked
from tests.web.console.test_crawl import PEOPLE, crawl


@dataclass(frozen=True)
class Edge:
    """An instant, and a zone that does not have it."""

    moment: datetime
    zone: str

    @property
    def text(self) -> str:
        return self.moment.isoformat()[:16]


EDGES = {
    "last": Edge(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "Asia/Seoul"),
    "first": Edge(datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), "America/New_York"),
}
#: Who signs in must have a session that has not ended, and evidence is not changed without being noticed.
LEFT_OUT = ("account", "session", "sign_in", "evidence", "token")
#: A time of the hub's own clock, which the files of a ZIP archive have: a year from 1980 to 2107.
ARCHIVED = ("cases", "opened_at")


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """What is shown is the same on each database."""
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture(params=["last", pytest.param("first", marks=pytest.mark.night)])
def edge(request: pytest.FixtureRequest) -> Edge:
    return EDGES[request.param]


@pytest.fixture
def story(engine: Engine) -> Story:
    """A case that is decided in part and waits for the applicant, and a new one."""
    told = Story(engine)
    told.submit()
    told.tick(seconds=1)
    told.hear("KPTA", asked(told, "KPTA", "N1", text="Which one?"))
    told.tick(seconds=1)
    told.decide("KFDA", DecisionCode.REJECTED, number="77")
    told.tick(seconds=1)
    told.submit()
    return told


def move_all_instants(engine: Engine, moment: datetime) -> None:
    """Set every stored instant to `moment`."""
    changed = 0
    with write_transaction(engine, "test") as conn:
        for trigger in (
            conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        ):
            conn.execute(text(f'DROP TRIGGER "{trigger}"'))
        for table in metadata.sorted_tables:
            if not any(word in table.name for word in LEFT_OUT):
                for column in table.columns:
                    if isinstance(column.type, Instant) and (table.name, column.name) != ARCHIVED:
                        rows = update(table).where(column.is_not(None)).values({column.name: moment})
                        changed += conn.execute(rows).rowcount
    assert changed > 100


@pytest.mark.long
def test_every_page_shows_them(story: Story, edge: Edge) -> None:
    console = Console(story.house.hub, hub={"time_zone": edge.zone})
    people: dict[str, Browser] = {}
    for who, (kind, organisation, role) in PEOPLE.items():
        console.add_account(who, (kind, organisation), role)
        people[who] = console.enter(who)
    move_all_instants(story.house.engine, edge.moment)
    for who, person in people.items():
        pages = crawl(person, "/console/")
        assert sum(f'datetime="{edge.text}'.encode() in page for _, page in pages.values()) > 2, who


def test_every_answer_of_the_api_has_them(story: Story, edge: Edge) -> None:
    broker = Api(story.house.hub, hub={"time_zone": edge.zone}).client("broker1")
    with read_transaction(story.house.engine) as conn:
        message = conn.execute(tables.messages.select().where(tables.messages.c.direction == "in")).first()
    assert message is not None
    move_all_instants(story.house.engine, edge.moment)
    number = story.case().number
    paths = [
        "cases",
        f"cases/{number}",
        "events",
        "certificates",
        "statistics?measure=case_opened",
        "status",
        "webhooks",
    ]
    paths += [f"cases/{number}/{part}" for part in ("applications", "notices", "evidence")]
    paths += [f"messages/{message.message_id}", "statistics?measure=case_opened"]
    told = []
    for path in paths:
        answer = broker.get(path)
        assert answer.status_code == 200, (path, answer.text)
        told.append(edge.text in answer.text)
    assert sum(told) > 4, dict(zip(paths, told, strict=True))
    assert broker.get("certificates").json["certificates"][0]["not_after"] == f"{edge.text}:{edge.moment:%S}Z"


def test_a_question_to_the_api_is_answered_or_refused(story: Story) -> None:
    broker = Api(story.house.hub).client("broker1")
    statistics = "statistics?measure=case_opened"
    for day in ("0001-01-01", "0001-12-31", "9999-12-31"):
        for name in ("since", "until"):
            assert broker.get(f"cases?{name}={day}T00:00:00Z").status_code == 200
            assert broker.get(f"{statistics}&{name}={day}").status_code in (200, 400)
        assert broker.get(f"{statistics}&since={day}&until={day}").status_code == 200
    for moment in ("0001-01-01T00:00:00%2B09:00", "9999-12-31T23:59:59-05:00"):
        for name in ("since", "until"):
            assert broker.refusal(f"cases?{name}={moment}") == (400, "GW110")


VERBS = (
    "party list", "party show broker1", "party mandate list", "party certificate list", "requirement list",
    "fees list", "agreement list", "case list", "case show CASE", "message list", "message show 1",
    "message refusals", "retention show", "audit list", "audit show 1", "queue list", "queue show 1",
    "queue lanes", "node list", "order list", "map list", "rules list", "calendar list",
    "calendar overdue", "pki list list", "pki source list", "evidence list", "check", "config show",
    "map impact MAPPINGS",
)  # fmt: skip


@pytest.mark.long
def test_every_verb_prints_them(
    story: Story, edge: Edge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = story.house.engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "{edge.zone}"\n[database]\nurl = "{url}"\n', encoding="utf-8"
    )
    move_all_instants(story.house.engine, edge.moment)
    told = {}
    for verb in VERBS:
        words = verb.replace("CASE", story.case().number).replace("MAPPINGS", "mappings").split()
        for more in ((), ("--json",)):
            status = main([*words, *more, "--home", str(tmp_path)])
            printed = capsys.readouterr()
            assert status in (0, 1), (verb, printed.err)
            assert "GW901" not in printed.out + printed.err, (verb, printed)
            told[verb] = edge.text in printed.out
            if more:
                assert all(json.loads(line) is not None for line in printed.out.splitlines()), verb
    assert sum(told.values()) > 8, told
