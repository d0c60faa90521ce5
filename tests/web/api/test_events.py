"""Events: in one order without gaps, as feed, stream and webhook; for their parties alone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from standardwebhooks import Webhook
from werkzeug.test import EnvironBuilder

from gateway.config import Settings
from gateway.delivery.agents import WebhookAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import PARTNER_FAULT, UNREACHABLE, GatewayError
from gateway.hub import queue_webhook_calls
from gateway.hub.event_feed import advance_event_feed
from gateway.operations import list_lane_reports
from gateway.store import deliveries, event_readers, parties, read_transaction, transitions, write_transaction
from gateway.store.event_readers import event_readers as reader_rows
from gateway.web.server import STREAM_KEY
from tests.flows.craft import without_applications
from tests.kit.api import BASE, BOTH, Api, Client
from tests.kit.audited import list_actions
from tests.kit.house import START
from tests.kit.story import Story, asked

HOSTS = {"broker1": ["hooks.broker.example"]}
URL = "https://hooks.broker.example/events"


def kinds(client: Client, after: str = "") -> list[str]:
    path = f"events?after={after}" if after else "events"
    return [one["type"] for one in client.get(path).json["events"]]


def submit_alone(story: Story) -> None:
    story.submit(story.submission(without_applications), attach=False)


@pytest.mark.long
@BOTH
def test_what_happens_to_a_case_is_told_in_order(story: Story, broker: Client) -> None:
    story.submit()
    story.tick()
    story.tick()
    first = broker.get("events").json
    told = [one["type"] for one in first["events"]]
    assert told[0] == "case.in_progress"
    assert told.count("application.sent") == 3
    assert {one["case"] for one in first["events"]} == {story.case().number}
    story.hear("KPTA", asked(story, "KPTA", "Q1"))
    story.decide_all()
    story.tick()
    story.tick()
    told = kinds(broker, first["next"])
    assert told[:2] == ["notice.received", "application.information_required"]
    assert told.count("application.decided") == 3
    assert told.index("case.decided") < told.index("result.made") < told.index("case.closed")
    last = broker.get("events").json
    assert [one["type"] for one in last["events"]][len(first["events"]) :] == told
    assert broker.get(f"events?after={last['next']}").json == {"events": [], "next": last["next"]}


def test_an_event_has_ids_and_states_only(story: Story, broker: Client) -> None:
    story.submit()
    story.tick()
    story.hear("KPTA", asked(story, "KPTA", "Q1"))
    story.tick()
    allowed = {"id", "type", "at", "case", "application", "agency", "notice", "message_id", "state"}
    for one in broker.get("events").json["events"]:
        assert set(one) <= allowed
    assert "certificate of origin" not in broker.get("events").text


@BOTH
def test_pages_of_events_have_no_gaps(story: Story, broker: Client) -> None:
    story.submit()
    story.tick()
    story.tick()
    whole = broker.get("events").json["events"]
    seen: list[Any] = []
    after = ""
    while True:
        page = broker.get(f"events?limit=2{after}").json
        if not page["events"]:
            break
        seen += page["events"]
        after = f"&after={page['next']}"
    assert seen == whole
    assert len({one["id"] for one in seen}) == len(seen)


@BOTH
def test_events_are_of_their_parties_alone(story: Story, api: Api, broker: Client) -> None:
    story.register("broker2", "6N002")
    story.submit()
    story.tick()
    story.tick()
    assert kinds(broker)
    assert api.client("broker2").get("events").json == {"events": []}


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_transaction_that_commits_late_is_not_skipped(story: Story, engine: Engine) -> None:
    """Its rows have lower numbers than those that were read before: their place is behind them."""
    submit_alone(story)
    story.tick()
    now = story.clock()
    case = story.case().id
    late = engine.connect()
    begun = late.begin()
    transitions.record_events(late, "case", [(case, "LATE")], now)
    with write_transaction(engine) as conn:
        transitions.record_events(conn, "case", [(case, "EARLY")], now)
    advance_event_feed(story.hub.engine, story.hub.clock)
    with read_transaction(engine) as conn:
        before = event_readers.list_events(conn, "broker1", 0, 100)
    begun.commit()
    late.close()
    advance_event_feed(story.hub.engine, story.hub.clock)
    with read_transaction(engine) as conn:
        after = event_readers.list_events(conn, "broker1", before[-1].sequence, 100)
    assert before[-1].state == "EARLY"
    assert [one.state for one in after] == ["LATE"]


@BOTH
def test_an_event_that_is_rolled_back_was_never_there(story: Story, engine: Engine) -> None:
    submit_alone(story)
    story.tick()
    story.tick()
    with read_transaction(engine) as conn:
        before = len(conn.execute(select(reader_rows)).all())

    def undo() -> None:
        with write_transaction(engine) as conn:
            transitions.record_events(conn, "case", [(story.case().id, "X")], story.clock())
            raise LookupError

    with pytest.raises(LookupError):
        undo()
    advance_event_feed(story.hub.engine, story.hub.clock)
    with read_transaction(engine) as conn:
        assert len(conn.execute(select(reader_rows)).all()) == before


def open_stream(client: Client, headers: dict[str, str] | None = None, query: str = "") -> Any:
    """Open a stream as the server does: the application leaves it in the environment of the request."""
    given = {"Authorization": f"Bearer {client.token}"} | (headers or {})
    environ = EnvironBuilder(f"{BASE}/events/stream{query}", headers=given).get_environ()
    started: list[Any] = []
    client.http.application(environ, lambda *head: started.append(head))
    ((status, head),) = [one[:2] for one in started]
    assert (status, dict(head)["Content-Type"]) == ("200 OK", "text/event-stream")
    return environ[STREAM_KEY]


def read_stream(batch: bytes) -> list[dict[str, str]]:
    blocks = [block for block in batch.decode().split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]  # type: ignore[misc]


def test_a_stream_goes_on_where_it_was_interrupted(story: Story, broker: Client) -> None:
    stream = open_stream(broker)
    assert stream.read_batch() == b": nothing new\n\n"
    assert stream.read_batch() == b""
    submit_alone(story)
    story.tick()
    story.tick()
    first = read_stream(stream.read_batch())
    assert [one["event"] for one in first] == kinds(broker)
    assert json.loads(first[0]["data"])["id"] == first[0]["id"]
    stream.close()
    again = open_stream(broker, {"Last-Event-ID": first[0]["id"]})
    assert [one["id"] for one in read_stream(again.read_batch())] == [one["id"] for one in first[1:]]
    again.close()


def test_what_a_client_has_had_last_counts_above_the_place_in_its_address(
    story: Story, broker: Client
) -> None:
    """A client that connects again sends its first address, and the id of the last event beside it."""
    submit_alone(story)
    story.tick()
    story.tick()
    page = broker.get("events").json
    ids = [event["id"] for event in page["events"]]
    assert len(ids) > 2
    for headers, expected in (({}, ids[1:]), ({"Last-Event-ID": ids[1]}, ids[2:])):
        stream = open_stream(broker, headers, f"?after={ids[0]}")
        assert [event["id"] for event in read_stream(stream.read_batch())] == expected
        stream.close()


def test_a_stream_lives_by_heartbeats_and_ends(story: Story, broker: Client) -> None:
    stream = open_stream(broker)
    stream.read_batch()
    story.clock.forward(seconds=16)
    assert stream.read_batch() == b": nothing new\n\n"
    story.clock.forward(minutes=5)
    assert stream.read_batch() is None
    stream.close()


def test_a_stream_ends_with_its_credentials(story: Story, broker: Client) -> None:
    stream = open_stream(broker)
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    assert stream.read_batch() is None
    stream.close()


def test_streams_are_bounded(story: Story) -> None:
    story.register("broker2", "6N002")
    api = Api(story.house.hub, api={"streams": 3, "streams_per_party": 2})
    broker, other = api.client("broker1"), api.client("broker2")
    held = [open_stream(broker) for _ in range(2)]
    assert broker.refusal("events/stream") == (429, "GW807")
    held.append(open_stream(other))
    assert other.refusal("events/stream") == (503, "GW806")
    for one in held:
        one.close()
    open_stream(broker).close()


class Hooks:
    """A story with the webhooks of a broker; `calls` are those that its host got."""

    def __init__(self, story: Story, tmp_path: Path, **more: Any) -> None:
        sections = {"webhook_hosts": HOSTS, "webhook_key": tmp_path / "webhook.key"} | more
        self.story = story
        self.api = Api(story.house.hub, api=sections)
        self.broker = self.api.client("broker1")
        self.answers: list[Any] = []
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        settings = Settings(api=sections).api
        story.agents["webhook"] = WebhookAgent(story.hub, self, settings)  # type: ignore[arg-type]

    def post(self, url: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
        self.calls.append((url, headers, body))
        told = self.answers.pop(0) if self.answers else 204
        if isinstance(told, Exception):
            raise told
        return told if isinstance(told, HttpAnswer) else HttpAnswer(told, {}, b"")

    def create(self) -> Any:
        return self.broker.post("webhooks", json={"url": URL}).json

    def set_party_status(self, status: str) -> None:
        with write_transaction(self.story.hub.engine, "test") as conn:
            parties.set_party_status(conn, "broker1", status)

    def client(self) -> Client:
        """Return a client with a new token: the old one may have ended."""
        self.broker = self.api.client("broker1")
        return self.broker


@pytest.fixture
def hooks(story: Story, tmp_path: Path) -> Hooks:
    return Hooks(story, tmp_path)


@BOTH
def test_a_webhook_is_called_for_each_event_with_a_signature(hooks: Hooks, monkeypatch: Any) -> None:
    made = hooks.create()
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick()
    told = [json.loads(body) for _, _, body in hooks.calls]
    assert [one["type"] for one in told] == kinds(hooks.broker)
    moment = hooks.story.clock()

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment.astimezone(tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Then)
    verifier = Webhook(made["secret"])
    for url, headers, body in hooks.calls:
        assert url == URL
        assert verifier.verify(body, headers) == json.loads(body)
    url, headers, body = hooks.calls[0]
    with pytest.raises(Exception, match="signature"):
        verifier.verify(body.replace(b"case", b"cafe"), headers)
    assert len({headers["webhook-id"] for _, headers, _ in hooks.calls}) == len(hooks.calls)
    assert hooks.broker.get(f"webhooks/{made['id']}").json["last_good_at"]


def test_a_call_that_fails_is_made_again_under_the_same_id(hooks: Hooks) -> None:
    made = hooks.create()
    hooks.answers = [500, GatewayError(UNREACHABLE, "connection refused"), 301]
    submit_alone(hooks.story)
    for _ in range(8):
        hooks.story.tick(minutes=1)
    calls: dict[str, int] = {}
    for _, headers, _ in hooks.calls:
        calls[headers["webhook-id"]] = calls.get(headers["webhook-id"], 0) + 1
    assert sum(calls.values()) == len(calls) + 3
    assert "failing_since" not in hooks.broker.get(f"webhooks/{made['id']}").json


def test_the_lane_of_a_webhook_is_not_red_because_of_wrong_calls_of_its_party(hooks: Hooks) -> None:
    hooks.create()
    hooks.answers = [GatewayError(UNREACHABLE, "connection refused")] * 9
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick()
    for _ in range(4):
        assert hooks.broker.post("webhooks", json={"url": 7}).status_code == 400
    hooks.story.hub.tally.store_counts()
    with read_transaction(hooks.story.hub.engine) as conn:
        lanes = {lane.name: lane for lane in list_lane_reports(conn, Settings())}
    assert (lanes["webhook:broker1"].state, lanes["webhook:broker1"].problem) == ("retrying", "GW601")
    assert {lane.state for name, lane in lanes.items() if name != "webhook:broker1"} <= {"good", "waiting"}


@pytest.mark.long
def test_a_webhook_that_fails_for_days_is_switched_off_with_a_reason(hooks: Hooks) -> None:
    made = hooks.create()
    hooks.answers = [503] * 1000
    submit_alone(hooks.story)
    hooks.story.tick()
    for _ in range(25):
        hooks.story.tick(hours=3)
    told = hooks.client().get(f"webhooks/{made['id']}").json
    assert told["state"] == "OFF"
    assert "HTTP status 503" in told["reason"]
    calls = len(hooks.calls)
    hooks.story.tick(hours=5)
    assert len(hooks.calls) == calls
    hooks.answers = [503]
    answer = hooks.client().post(f"webhooks/{made['id']}/replay", json={})
    assert answer.status_code == 202
    hooks.story.tick(minutes=1)
    assert hooks.broker.get(f"webhooks/{made['id']}").json["state"] == "ACTIVE", "its failures count anew"
    hooks.story.tick(minutes=5)
    assert len(hooks.calls) == calls + answer.json["queued"] + 1
    assert hooks.broker.get(f"webhooks/{made['id']}").json["state"] == "ACTIVE"


def test_a_webhook_that_is_gone_is_switched_off_at_once(hooks: Hooks) -> None:
    made = hooks.create()
    hooks.answers = [410]
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick(minutes=5)
    told = hooks.broker.get(f"webhooks/{made['id']}").json
    assert (told["state"], told["reason"]) == ("OFF", "it answered 410: gone")
    assert len(hooks.calls) == 1


@BOTH
def test_a_worker_with_another_key_makes_no_call_and_uses_up_no_try(hooks: Hooks, tmp_path: Path) -> None:
    made = hooks.create()
    key = tmp_path / "webhook.key"
    octets = key.read_bytes()
    key.write_bytes(bytes(32))
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick(minutes=5)
    assert hooks.calls == []
    with read_transaction(hooks.story.hub.engine) as conn:
        waiting = deliveries.find_by_dedupe_key(conn, f"webhook:{made['id']}:1")
    assert waiting is not None
    assert (waiting.state, waiting.tries, waiting.problem) == ("QUEUED", 0, "GW803")
    shown = hooks.client().get(f"webhooks/{made['id']}").json
    assert (shown["state"], "failing_since" in shown) == ("ACTIVE", False)
    answer = hooks.broker.post("webhooks", json={"url": URL})
    assert hooks.broker.problem(answer) == (503, "GW803")
    assert len(hooks.broker.get("webhooks").json["webhooks"]) == 1
    key.write_bytes(octets)
    hooks.story.tick(minutes=5)
    assert hooks.calls


def test_a_key_that_cannot_be_made_is_told_as_unavailable(story: Story, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    hooks = Hooks(story, tmp_path, webhook_key=tmp_path / "file" / "webhook.key")
    answer = hooks.broker.post("webhooks", json={"url": URL})
    assert hooks.broker.problem(answer) == (503, "GW803")
    assert hooks.broker.get("webhooks").json == {"webhooks": []}


@pytest.mark.long
def test_a_missing_key_of_the_hub_switches_no_webhook_off(hooks: Hooks, tmp_path: Path) -> None:
    made = hooks.create()
    key = tmp_path / "webhook.key"
    octets = key.read_bytes()
    key.unlink()
    key.mkdir()
    submit_alone(hooks.story)
    for _ in range(25):
        hooks.story.tick(hours=3)
    assert hooks.calls == []
    shown = hooks.client().get(f"webhooks/{made['id']}").json
    assert (shown["state"], "failing_since" in shown) == ("ACTIVE", False)
    key.rmdir()
    key.write_bytes(octets)
    hooks.story.tick(hours=3)
    assert hooks.calls


def test_a_gone_that_does_not_arrive_whole_switches_nothing_off(hooks: Hooks) -> None:
    made = hooks.create()
    hooks.answers = [GatewayError(PARTNER_FAULT, "it did not arrive whole", theirs="HTTP status 410")]
    submit_alone(hooks.story)
    for _ in range(3):
        hooks.story.tick(minutes=5)
    assert hooks.client().get(f"webhooks/{made['id']}").json["state"] == "ACTIVE"
    assert len({headers["webhook-id"] for _, headers, _ in hooks.calls}) == len(hooks.calls) - 1


@pytest.mark.long
@pytest.mark.parametrize("status", [410, 404, 413])
def test_a_page_of_a_proxy_does_not_switch_a_webhook_off(hooks: Hooks, status: int) -> None:
    made = hooks.create()
    hooks.answers = [HttpAnswer(status, {"content-type": "text/html"}, b"<html>gone</html>")]
    submit_alone(hooks.story)
    for _ in range(3):
        hooks.story.tick(minutes=5)
    assert hooks.client().get(f"webhooks/{made['id']}").json["state"] == "ACTIVE"
    assert len({headers["webhook-id"] for _, headers, _ in hooks.calls}) == len(hooks.calls) - 1


@BOTH
def test_events_are_sent_again_on_demand(hooks: Hooks) -> None:
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick()
    first = hooks.broker.get("events?limit=1").json
    made = hooks.create()
    answer = hooks.broker.post(f"webhooks/{made['id']}/replay", json={"after": first["next"]})
    hooks.story.tick()
    told = [json.loads(body)["type"] for _, _, body in hooks.calls]
    assert told == kinds(hooks.broker)[1:]
    assert answer.json["queued"] == len(told)


def test_a_deleted_webhook_is_called_no_more(hooks: Hooks) -> None:
    made = hooks.create()
    hooks.answers = [503]
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick(minutes=0)
    calls = len(hooks.calls)
    assert calls
    assert hooks.broker.ask("DELETE", f"webhooks/{made['id']}").status_code == 204
    hooks.story.tick(minutes=5)
    assert len(hooks.calls) == calls
    assert hooks.broker.refusal(f"webhooks/{made['id']}") == (404, "GW112")
    assert hooks.broker.get("webhooks").json == {"webhooks": []}


@pytest.mark.long
def test_a_webhook_of_a_suspended_party_is_called_no_more(hooks: Hooks) -> None:
    """Neither are calls that wait from before the suspension; its party may ask for them later."""
    made = hooks.create()
    hooks.answers = [503]
    submit_alone(hooks.story)
    hooks.story.tick()
    hooks.story.tick(minutes=0)
    calls = len(hooks.calls)
    assert calls
    hooks.set_party_status("SUSPENDED")
    hooks.story.tick(minutes=5)
    assert len(hooks.calls) == calls
    hooks.set_party_status("ACTIVE")
    assert hooks.client().get(f"webhooks/{made['id']}").json["state"] == "ACTIVE"
    hooks.broker.post(f"webhooks/{made['id']}/replay", json={})
    hooks.story.tick(minutes=5)
    assert len(hooks.calls) > calls


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://hooks.broker.example/", (400, "GW110")),
        ("https://other.example/", (403, "GW212")),
        ("https://hooks.broker.example.attacker.example/", (403, "GW212")),
        ("https://hooks.broker.example@attacker.example/", (400, "GW110")),
        ("https://user:word@hooks.broker.example/", (400, "GW110")),
        ("https://hooks.broker.example:0/", (400, "GW110")),
        ("https://hooks.broker.example:99999/", (400, "GW110")),
        ("https://[::1/", (400, "GW110")),
        ("https://127.0.0.1/", (403, "GW212")),
        ("https://hooks.broker.example/#a", (400, "GW110")),
        ("https://hooks.broker.example/ a", (400, "GW110")),
        ("javascript:alert(1)", (400, "GW110")),
    ],
)
def test_a_webhook_is_only_at_a_registered_host(hooks: Hooks, url: str, problem: Any) -> None:
    assert hooks.broker.problem(hooks.broker.post("webhooks", json={"url": url})) == problem


@pytest.mark.long
def test_a_host_that_is_no_longer_registered_is_not_called(story: Story, tmp_path: Path) -> None:
    Hooks(story, tmp_path).create()
    later = Hooks(story, tmp_path, webhook_hosts={})
    submit_alone(story)
    story.tick()
    story.tick()
    assert later.calls == []


def test_who_changes_a_webhook_stands_in_the_audit(hooks: Hooks) -> None:
    made = hooks.create()
    place = f"webhooks/{made['id']}"
    hooks.broker.post(f"{place}/replay", json={})
    hooks.broker.ask("DELETE", place)
    with read_transaction(hooks.story.house.engine) as conn:
        rows = [row for row in list_actions(conn) if row.action.startswith("webhook")]
    assert [row.action for row in rows] == ["webhook delete", "webhook replay", "webhook create"]
    assert {(row.actor, row.role, row.object) for row in rows} == {
        ("broker1", "party", f"webhook {made['id']}")
    }
    assert rows[-1].after == {"url": URL}
    assert made["secret"] not in repr(rows)


@BOTH
def test_webhooks_are_bounded_and_each_party_has_its_own(hooks: Hooks) -> None:
    for _ in range(5):
        made = hooks.create()
    answer = hooks.broker.post("webhooks", json={"url": URL})
    assert hooks.broker.problem(answer) == (429, "GW807")
    hooks.story.register("broker2", "6N002")
    other = hooks.api.client("broker2")
    place = f"webhooks/{made['id']}"
    assert other.refusal(place) == (404, "GW112")
    assert other.problem(other.ask("DELETE", place)) == (404, "GW112")
    assert other.problem(other.post(f"{place}/replay", json={})) == (404, "GW112")
    assert other.get("webhooks").json == {"webhooks": []}
    assert len(hooks.broker.get("webhooks").json["webhooks"]) == 5


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", (400, "GW110")),
        (b"[]", (400, "GW110")),
        (b'{"url": 1}', (400, "GW110")),
        (b'{"url": "https://a.example/", "more": 1}', (400, "GW110")),
        (b"[" * 5000, (400, "GW110")),
        (b'{"url": "' + b"a" * 70_000 + b'"}', (413, "GW102")),
    ],
)
def test_a_wrong_body_is_refused(broker: Client, body: bytes, problem: Any) -> None:
    answer = broker.post("webhooks", data=body, content_type="application/json")
    assert broker.problem(answer) == problem


def test_the_secret_is_told_once_and_is_not_in_the_database(hooks: Hooks) -> None:
    made = hooks.create()
    assert "secret" not in hooks.broker.get(f"webhooks/{made['id']}").json
    with read_transaction(hooks.story.house.engine) as conn:
        row = event_readers.find_webhook(conn, made["id"])
    assert made["secret"] not in str(row)
    key: Path = hooks.api.services.settings.api.webhook_key
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)
    assert hooks.create()["secret"] != made["secret"]


@BOTH
def test_statistics_are_those_of_the_caller(story: Story, api: Api, broker: Client) -> None:
    story.register("broker2", "6N002")
    submit_alone(story)
    for _ in range(12):
        story.tick()
    # Statistics are counted every five seconds, up to the steps that were known to be whole before.
    for _ in range(3):
        story.tick(seconds=5)
    day = START.date().isoformat()
    told = broker.get("statistics?measure=case_outcome&by=day,outcome").json
    assert told["rows"] == [{"day": day, "outcome": "APPROVED", "number": 1, "seconds": 0}]
    assert told["since"] == (START.date() - timedelta(days=30)).isoformat()
    assert api.client("broker2").get("statistics?measure=case_outcome").json["rows"] == []
    long_ago = broker.get("statistics?measure=case_outcome&since=2020-01-01&until=2026-12-31").json
    assert (long_ago["since"], long_ago["until"]) == ("2025-12-31", "2026-12-31")
    assert broker.refusal("statistics") == (400, "GW110")
    for query in ("measure=x", "measure=case_outcome&by=party", "measure=case_outcome&since=2030-01-01"):
        assert broker.refusal(f"statistics?{query}") == (400, "GW110")


@pytest.mark.long
def test_a_replay_waits_for_the_calls_of_the_one_before(hooks: Hooks) -> None:
    made = hooks.create()
    submit_alone(hooks.story)
    place = f"webhooks/{made['id']}/replay"
    now = hooks.story.clock()
    with write_transaction(hooks.story.house.engine) as conn:
        for number in range(1000):
            queue_webhook_calls(conn, made["id"], "broker1", [1], now, replay_id=str(number))
    assert hooks.broker.problem(hooks.broker.post(place, json={})) == (429, "GW807")
