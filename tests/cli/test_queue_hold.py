"""Lanes are held and released by lane, agency or party, and waiting deliveries are tried now."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select

from gateway.cli import main
from gateway.cli.result_output import _write_plain_columns
from gateway.errors import NO_ADDRESS, UNREACHABLE, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub.completion import operator_actions
from gateway.store import (
    deliveries,
    delivery_leases,
    lane_faults,
    lanes,
    make_attempt_outcome,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.store.transitions import transitions
from tests.kit import tables
from tests.kit.audited import list_actions
from tests.kit.claims import claim_deliveries
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, delivery, later, open_case

Run = Callable[..., tuple[int, str, str]]
FAR = later(10**9)
REASON = "planned maintenance until 18:00"


@pytest.fixture
def home(tmp_path: Path, engine: Engine) -> Path:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "Asia/Seoul"\n[database]\nurl = "{url}"\n'
        '[agency.KR-A]\nendpoint = "https://a.example/soap"\nparty = "food"\n'
        '[agency.KR-B]\nendpoint = "https://b.example/soap"\n',
        encoding="utf-8",
    )
    with write_transaction(engine) as conn:
        parties.register_party(conn, "food", "식품의약품안전처", "agency", NOW)
        parties.register_party(conn, "broker", "Broker One", "applicant", NOW)
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--home", str(home)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def queue(engine: Engine, **changes: Any) -> int:
    with write_transaction(engine) as conn:
        number = deliveries.enqueue_delivery(conn, delivery(**changes), NOW)
    assert number is not None
    return number


def claim(engine: Engine, lane: str = "KR-A") -> list[int]:
    with write_transaction(engine) as conn:
        found = claim_deliveries(conn, lane, "w1", later(10**8), later(10**8 + 60), limit=9)
    return [one.id for one in found]


def list_rows(run: Run, *words: str) -> list[dict[str, Any]]:
    status, out, _ = run(*words, "--json")
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


@BOTH
def test_an_agency_is_held_with_what_comes_later_and_everybody_sees_why(engine: Engine, run: Run) -> None:
    with write_transaction(engine) as conn:
        case = open_case(conn, number="C1")
    first = queue(engine, case_id=case)
    status, out, _ = run("queue", "hold", "--agency", "KR-A", "--reason", REASON, "--by", "kim")
    assert (status, out) == (
        0,
        f"Held lane KR-A: {REASON}. 1 delivery waits, the oldest since 2026-11-20T17:30:15+09:00; "
        "what comes later waits too.\n",
    )
    second = queue(engine)
    assert claim(engine) == []
    told = {row["id"]: row["waits_for"] for row in list_rows(run, "queue", "list")}
    assert set(told) == {first, second}
    for words in told.values():
        assert words.startswith("release of lane KR-A; held by kim since 20")
        assert words.endswith(f"+09:00: {REASON}")
    _, out, err = run("queue", "list", "--state", "FAILED")
    assert err.startswith("lane KR-A is held by kim since 20")
    assert err.endswith(f": {REASON} (2 waiting)\n")
    assert REASON in run("case", "show", "C1")[1]
    assert REASON in run("check")[1]
    assert REASON in list_rows(run, "queue", "lanes")[0]["hold_reason"]
    assert REASON in list_rows(run, "case", "list")[0]["waits_for"]
    status, out, _ = run("queue", "release", "--agency", "KR-A")
    assert (status, "held by kim since" in out, REASON in out) == (0, True, True)
    assert "2 deliveries waited, the oldest since 2026-11-20T17:30:15+09:00" in out
    assert claim(engine) == [first, second]


def test_the_list_of_lanes_says_why_attempts_fail(engine: Engine, run: Run) -> None:
    queue(engine)
    queue(engine, lane="KR-B")
    with write_transaction(engine) as conn:
        lane_faults.record_failed_attempt(conn, "KR-A", GatewayError(UNREACHABLE, "no route"), later(1))
    rows = {row["name"]: row for row in list_rows(run, "queue", "lanes")}
    assert rows["KR-A"]["last_problem"] == "GW601"
    assert rows["KR-A"]["failing_since"]
    assert (rows["KR-B"]["last_problem"], rows["KR-B"]["failing_since"]) == (None, None)
    header, line = run("queue", "lanes")[1].splitlines()[:2]
    assert header.split()[6:8] == ["FAILING_SINCE", "LAST_PROBLEM"]
    assert "GW601" in line


def test_acts_on_lanes_are_in_the_audit_and_in_the_evidence(engine: Engine, run: Run) -> None:
    assert run("queue", "hold", "--lane", "KR-B", "--reason", REASON, "--by", "kim")[0] == 0
    assert run("queue", "try", "--lane", "local", "--by", "lee")[0] == 0
    assert run("queue", "release", "--lane", "KR-B", "--by", "lee")[0] == 0
    with read_transaction(engine) as conn:
        found = [(row.action, row.actor, row.object) for row in list_actions(conn)]
        before = list_actions(conn)[0].before
        acts = [json.loads(one.data)["act"] for one in list_subject_leaves(conn, "lane", "KR-B")]
    assert found == [
        ("queue release", "lee", "lane KR-B"),
        ("queue try", "lee", "lane local"),
        ("queue hold", "kim", "lane KR-B"),
    ]
    assert (before["KR-B"]["held_by"], before["KR-B"]["hold_reason"]) == ("kim", REASON)
    assert acts == ["hold", "release"]


def test_a_party_is_held_as_receiver_and_as_agency(engine: Engine, run: Run) -> None:
    status, out, _ = run("queue", "hold", "--party", "food", "--reason", "move", "--json")
    assert (status, [one["lane"] for one in json.loads(out)["lanes"]]) == (0, ["KR-A", "msh:food"])
    with read_transaction(engine) as conn:
        assert [row.name for row in lanes.list_held_lanes(conn)] == ["KR-A", "msh:food"]
    assert run("queue", "hold", "--party", "broker", "--reason", "move")[0] == 0
    queue(engine, agent="msh", destination="broker", lane="msh:broker")
    assert claim(engine, "msh:broker") == []
    assert run("queue", "release", "--lane", "KR-A")[0] == 0
    assert run("queue", "release", "--party", "food")[0] == 0
    status, _, err = run("queue", "release", "--party", "food")
    assert (status, "is not held" in err) == (1, True)


def test_a_single_delivery_is_held_with_its_reason(engine: Engine, run: Run) -> None:
    number = queue(engine)
    assert run("queue", "hold", str(number), "--reason", "wrong  octets", "--by", "kim")[0] == 0
    (row,) = list_rows(run, "queue", "list")
    assert row["waits_for"].startswith("release; held by kim since 20")
    assert row["waits_for"].endswith(": wrong octets")
    assert run("queue", "release", str(number))[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("hold",), "--agency"),
        (("hold", "7", "--lane", "KR-A", "--reason", "x"), "either"),
        (("hold", "--lane", "KR-A"), "--reason"),
        (("hold", "--lane", "KR-A", "--reason", "  "), "--reason"),
        (("hold", "--lane", "KR-A", "--reason", "x" * 501), "--reason"),
        (("hold", "--agency", "KR-C", "--reason", "x"), "there are KR-A, KR-B, customs, local"),
        (("hold", "--party", "KR-A", "--reason", "x"), "there are broker, food"),
        (("try",), "--agency"),
        (("try", "--lane", "nowhere"), "there is no lane nowhere"),
        (("release",), "--agency"),
    ],
)
def test_what_cannot_be_meant_is_misuse(engine: Engine, run: Run, words: tuple[str, ...], told: str) -> None:
    status, out, err = run("queue", *words)
    assert (status, out) == (2, "")
    assert told in err
    with read_transaction(engine) as conn:
        assert list_actions(conn) == []


def test_what_is_held_already_is_said(run: Run) -> None:
    assert run("queue", "hold", "--lane", "KR-A", "--reason", REASON, "--by", "kim")[0] == 0
    status, _, err = run("queue", "hold", "--lane", "KR-A", "--reason", "other")
    assert (status, "is held by kim since 20" in err, REASON in err) == (1, True, True)
    assert "+09:00" in err


def test_a_delivery_or_a_whole_lane_is_tried_now(engine: Engine, run: Run) -> None:
    one, two, other = (
        queue(engine, due_at=FAR),
        queue(engine, due_at=FAR),
        queue(engine, destination="KR-B"),
    )
    assert claim(engine) == []
    assert run("queue", "try", str(one)) == (0, f"Due now: 1 delivery of lane KR-A: {one}.\n", "")
    assert claim(engine) == [one]
    assert run("queue", "try", "--agency", "KR-A")[1] == f"Due now: 1 delivery of lane KR-A: {two}.\n"
    assert claim(engine) == [two]
    told = run("queue", "try", "--agency", "KR-B")[1]
    assert told == "In lane KR-B nothing waits for a later attempt.\n"
    assert claim(engine, "KR-B") == [other]
    status, _, err = run("queue", "try", str(one))
    assert (status, "ACTIVE" in err) == (1, True)


def test_a_held_lane_is_not_tried(engine: Engine, run: Run) -> None:
    number = queue(engine, due_at=FAR)
    assert run("queue", "hold", "--lane", "KR-A", "--reason", REASON)[0] == 0
    for words in (("--lane", "KR-A"), (str(number),)):
        status, _, err = run("queue", "try", *words)
        assert (status, "release it first" in err) == (1, True)
    with read_transaction(engine) as conn:
        row = deliveries.find_by_id(conn, number)
    assert row is not None
    assert row.due_at == FAR


def test_a_refused_act_names_the_verbs_that_the_state_allows(engine: Engine, run: Run) -> None:
    number = queue(engine)
    claim(engine)
    told = run("queue", "hold", str(number))[2]
    assert told.startswith(f"gateway: GW705 delivery {number} is ACTIVE: wait until its attempt ends")
    for state, words in (
        ("FAILED", f"run `gateway queue requeue {number}` or `gateway queue cancel {number}`"),
        ("HELD", f"run `gateway queue release {number}` or `gateway queue cancel {number}`"),
        ("DELIVERED", "nothing is left to do"),
    ):
        with write_transaction(engine) as conn:
            conn.execute(tables.deliveries.update().values(state=state))
        told = run("queue", "hold", str(number))[2]
        assert told.startswith(f"gateway: GW705 delivery {number} is {state}: {words}")
        assert "accepts" not in told


def test_a_terminal_shows_the_beginning_of_both_sentences_and_a_pipe_all(
    engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(engine)
    with write_transaction(engine) as conn:
        (lease,) = claim_deliveries(conn, "KR-A", "w1", NOW, later(60))
        said = "Connection refused by a.example while the call was sent, " * 3
        outcome = delivery_leases.AttemptOutcome("GW608", sentence=said, theirs=f"fault Client: {said}")
        delivery_leases.defer_delivery(conn, lease, NOW, FAR, outcome)
    assert f"{said.strip()}; they said: fault Client: {said.strip()}" in run("queue", "list")[1]
    assert list_rows(run, "queue", "list")[0]["theirs"] == f"fault Client: {said}"
    monkeypatch.setattr("gateway.cli.commands.queue.sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("gateway.cli.result_output._draw_rich_table", _write_plain_columns)
    out = run("queue", "list")[1]
    assert "…; they said: fault Client: Connection refused by a.example" in out
    assert said.strip() not in out
    monkeypatch.undo()
    assert list_rows(run, "queue", "list", "--text", "connection REFUSED")[0]["last_sentence"] == said
    assert list_rows(run, "queue", "list", "--text", "time-out") == []


def act_at_once(engine: Engine, *acts: Callable[[Connection], Any]) -> None:
    """Run each act in a transaction and a thread of its own; the first one commits last."""
    begun, failed = threading.Event(), []

    def run_act(number: int, act: Callable[[Connection], Any]) -> None:
        try:
            if number:
                assert begun.wait(30)
            with write_transaction(engine) as conn:
                act(conn)
        except BaseException as error:
            failed.append(error)

    def act_first(conn: Connection) -> None:
        watched = {"deliveries", "lanes"}

        def after_lock(*told: Any) -> None:
            words = told[2]
            if any(f"UPDATE {name}" in words or "FOR NO KEY UPDATE" in words for name in watched):
                begun.set()
                time.sleep(0.4)  # the other act takes what it locks first

        event.listen(conn, "after_cursor_execute", after_lock)
        acts[0](conn)
        begun.set()

    threads = [
        threading.Thread(target=run_act, args=(number, act))
        for number, act in enumerate((act_first, *acts[1:]))
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failed == []


@pytest.mark.parametrize("of_lane", ["try", "release"])
def test_acts_on_a_delivery_and_on_its_lane_do_not_wait_for_each_other(engine: Engine, of_lane: str) -> None:
    """Each locks the lane first; on PostgreSQL another order is a deadlock."""
    one = queue(engine, due_at=FAR, expires_at=FAR)

    def act_on_delivery(conn: Connection) -> None:
        refused = pytest.raises(GatewayError, match="release it first") if of_lane == "release" else None
        with refused or nullcontext():
            operator_actions.try_delivery(conn, one, later(1), "kim")

    def act_on_lane(conn: Connection) -> None:
        if of_lane == "try":
            operator_actions.try_lane(conn, "KR-A", later(2), "lee")
        else:
            operator_actions.release_lane(conn, "KR-A", later(2), "lee")

    if of_lane == "release":
        with write_transaction(engine) as conn:
            lanes.hold_lane(conn, "KR-A", NOW, "lee", REASON)
    act_at_once(engine, act_on_delivery, act_on_lane)
    with read_transaction(engine) as conn:
        assert lanes.list_held_lanes(conn) == []


def test_named_deliveries_are_changed_lane_by_lane(engine: Engine, run: Run) -> None:
    """In the order of lane and number, however they are named: so that no two verbs wait for each other."""
    one, two, three = queue(engine, destination="KR-B"), queue(engine), queue(engine)
    status, out, _ = run("queue", "hold", str(three), str(one), str(two))
    assert (status, out) == (0, f"Held 3 deliveries of several lanes: {three}, {one}, {two}.\n")
    with read_transaction(engine) as conn:
        done = conn.execute(select(transitions.c.object_id).order_by(transitions.c.id)).scalars().all()
    assert list(done) == [two, three, one]


def test_an_agency_without_an_address_has_what_waits_for_it(engine: Engine, run: Run) -> None:
    found = {}
    for agency in ("KR-A", "KR_A", "R-A"):
        found[agency] = queue(engine, agent="local", destination="local", dedupe_key=f"admit:{agency}")
        with write_transaction(engine) as conn:
            (lease,) = claim_deliveries(conn, "local", "w1", NOW, later(60))
            problem = GatewayError(
                NO_ADDRESS, f"there is no address for {agency}", f"agency.{agency}.endpoint"
            )
            delivery_leases.defer_delivery(conn, lease, NOW, FAR, make_attempt_outcome(problem))
    called = queue(engine)
    assert [row["id"] for row in list_rows(run, "queue", "list", "--agency", "KR-A")] == [
        found["KR-A"],
        called,
    ]
    assert [row["id"] for row in list_rows(run, "queue", "list", "--agency", "KR_A")] == [found["KR_A"]]
