"""Lists: what they leave out, how they go on, and what each row waits for."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, update

from gateway.cli import main
from gateway.hub import CUSTOMS
from gateway.message_model import PartyId
from gateway.state_machines import CASE, DELIVERY, MESSAGE
from gateway.store import (
    NewDeadline,
    NewNotice,
    StateEvent,
    agency_requests,
    cases,
    deadlines,
    deliveries,
    delivery_leases,
    messages,
    notices,
    parties,
    write_transaction,
)
from tests.kit import tables
from tests.kit.claims import claim_deliveries
from tests.kit.databases import BOTH
from tests.kit.rows import NOW, delivery, later, open_case, request, stored

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def home(tmp_path: Path, engine: Engine) -> Path:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "Asia/Seoul"\n[database]\nurl = "{url}"\n'
        '[agency.KR-A]\nendpoint = "https://a.example/soap"\nparty = "food"\n'
        '[customs]\nendpoint = "https://customs.example/soap"\n',
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, list[dict[str, Any]], str]:
        status = main([*words, "--json", "--home", str(home)])
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


def step(conn: Connection, case: int, event: str) -> None:
    cases.apply_event(conn, case, StateEvent(event, NOW, "test"))


def list_numbers(found: tuple[int, list[dict[str, Any]], str], name: str = "number") -> list[Any]:
    assert found[0] == 0, found[2]
    return [row[name] for row in found[1]]


@pytest.fixture
def three(engine: Engine) -> dict[str, int]:
    """Three cases: opened, in progress with two agencies, decided."""
    with write_transaction(engine) as conn:
        parties.register_party(conn, "food", "식품의약품안전처", "agency", NOW, [PartyId("F1", "urn:t")])
        parties.register_party(conn, "broker", "관세법인 하나", "applicant", NOW)
        found = {
            "C1": open_case(conn, number="C1", functional_reference="REF-Á", applicant="broker"),
            "C2": open_case(
                conn,
                number="C2",
                functional_reference="REF-B",
                applicant="other",
                agent="broker",
                message=stored(conn, message_id="c2@b"),
            ),
            "C3": open_case(conn, number="C3", functional_reference="ref_c", declarant="한글상사"),
        }
        step(conn, found["C2"], "dispatch")
        step(conn, found["C3"], "none_concerned")
        asking = request(conn, found["C2"], agency="KR-A")
        request(conn, found["C2"], agency="KR-B")
        for event in ("send", "ask"):
            agency_requests.apply_event(conn, asking, StateEvent(event, NOW, "test"))
        notice = NewNotice(asking, "KR-A", "N1", NOW, "11", "Which   factory?\nName it", deadline=later(3600))
        notices.insert_notice(conn, notice, NOW)
        own_deadline = NewDeadline(found["C2"], asking, "answer", "N1", "OPEN", NOW, due_at=later(3600))
        deadlines.insert_deadlines(conn, [own_deadline])
        old = NOW - timedelta(days=3)
        conn.execute(update(tables.cases).where(tables.cases.c.number == "C1").values(opened_at=old))
        new = delivery(
            destination=CUSTOMS, case_id=found["C3"], subject_type="case", parameters={"operation": "Tell"}
        )
        deliveries.enqueue_delivery(conn, new, NOW)
    return found


@pytest.mark.night
@BOTH
@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), ["C3", "C2", "C1"]),
        (("--state", "in_progress"), ["C2"]),
        (("--state", "OPENED", "--state", "DECIDED"), ["C3", "C1"]),
        (("--party", "broker"), ["C3", "C2", "C1"]),
        (("--party", "한글상사"), ["C3"]),
        (("--agency", "KR-B"), ["C2"]),
        (("--agency", "KR-A", "--state", "DECIDED"), []),
        (("--reference", "REF-Á"), ["C1"]),
        (("--reference", "C3"), ["C3"]),
        (("--text", "ref"), ["C3", "C2", "C1"]),
        (("--text", "f_c"), ["C3"]),
        (("--text", "글상"), ["C3"]),
        (("--text", unicodedata.normalize("NFD", "글상")), ["C3"]),
        (("--reference", unicodedata.normalize("NFD", "REF-Á")), ["C1"]),
        (("--text", "%"), []),
        (("--text", "kr-a"), ["C2"]),
        (("--text", "which"), ["C2"]),
        (("--since", "2026-11-19"), ["C3", "C2"]),
        (("--since", "2026-11-20T17:30:16"), []),
        (("--since", "2026-11-20T08:30:15Z"), ["C3", "C2"]),
        (("--limit", "1"), ["C3"]),
        (("--after", "C3"), ["C2", "C1"]),
        (("--after", "C3", "--limit", "1"), ["C2"]),
    ],
)
@pytest.mark.usefixtures("three")
def test_cases_are_filtered(run: Run, words: tuple[str, ...], numbers: list[str]) -> None:
    assert list_numbers(run("case", "list", *words)) == numbers


@pytest.mark.usefixtures("three")
def test_cases_are_filtered_by_their_age(engine: Engine, run: Run) -> None:
    now = datetime.now(UTC)
    with write_transaction(engine) as conn:
        for number, hours in (("C1", 3), ("C2", 1), ("C3", 0)):
            of = update(tables.cases).where(tables.cases.c.number == number)
            conn.execute(of.values(opened_at=now - timedelta(hours=hours)))
    assert list_numbers(run("case", "list", "--older", "2h")) == ["C1"]
    assert list_numbers(run("case", "list", "--older", "30m")) == ["C2", "C1"]
    assert list_numbers(run("case", "list", "--since", "90m")) == ["C3", "C2"]
    assert list_numbers(run("case", "list", "--since", "2h", "--older", "1800s")) == ["C2"]


@pytest.mark.usefixtures("three")
def test_a_case_tells_what_it_waits_for(engine: Engine, run: Run) -> None:
    with write_transaction(engine) as conn:
        deliveries.ensure_lanes(conn, CUSTOMS)
    told = {row["number"]: row["waits_for"] for row in run("case", "list")[1]}
    assert told["C1"] == ""
    assert told["C2"] == (
        "KR-A: an answer to its question by 2026-11-20T18:30:15+09:00 (Which factory? Name it); "
        "KR-B: decision"
    )
    assert told["C3"] == "Tell to customs: a free worker" or told["C3"].startswith("Tell to customs: next")


def test_a_long_list_tells_how_to_go_on(engine: Engine, run: Run) -> None:
    with write_transaction(engine) as conn:
        for number in range(7):
            open_case(conn, number=f"L{number}")
    status, rows, told = run("case", "list", "--limit", "3")
    assert (status, told) == (0, "… 4 more: --after L4\n")
    assert list_numbers((0, rows, "")) == ["L6", "L5", "L4"]
    status, rows, told = run("case", "list", "--limit", "4", "--after", "L4")
    assert (list_numbers((status, rows, told)), told) == (["L3", "L2", "L1", "L0"], "")


@pytest.mark.parametrize(
    ("noun", "known"),
    [
        ("case", CASE.states),
        ("message", MESSAGE.states),
        ("queue", DELIVERY.states),
        ("party", ("ACTIVE", "RETIRED")),
    ],
)
def test_a_state_that_there_is_not_is_refused_with_those_that_exist(
    run: Run, noun: str, known: tuple[str, ...]
) -> None:
    status, rows, told = run(noun, "list", "--state", "OPEN")
    assert (status, rows) == (2, [])
    assert all(state in told for state in known)


@pytest.mark.night
@pytest.mark.parametrize(
    "words",
    [
        ("case", "list", "--party", "brok"),
        ("case", "list", "--agency", "KR-C"),
        ("message", "list", "--party", "nobody"),
        ("message", "list", "--agency", "nobody"),
        ("queue", "list", "--party", "nobody"),
        ("queue", "list", "--agency", "nobody"),
        ("agreement", "list", "--party", "nobody"),
        ("party", "mandate", "list", "--party", "nobody"),
    ],
)
@pytest.mark.usefixtures("three")
def test_a_partner_whom_nobody_knows_is_misuse_and_no_empty_list(run: Run, words: tuple[str, ...]) -> None:
    status, rows, told = run(*words)
    assert (status, rows) == (2, [])
    detail = json.loads(told)["detail"]
    assert words[-1] in detail
    assert ("is registered" if words[-2] == "--party" else "is known") in detail


@pytest.mark.parametrize(
    "words",
    [
        ("case", "list", "--limit", "0"),
        ("case", "list", "--older", "soon"),
        ("case", "list", "--since", "2026-13-01"),
        ("case", "list", "--after", "C9"),
        ("message", "list", "--after", "x"),
        ("queue", "list", "--after", "-1"),
    ],
)
def test_an_option_that_cannot_be_read_is_misuse(run: Run, words: tuple[str, ...]) -> None:
    status, rows, told = run(*words)
    assert (status, rows) == (2, [])
    assert words[2] in told


@pytest.fixture
def mail(engine: Engine, three: dict[str, int]) -> dict[str, int]:
    """Messages in and out, some of a case."""
    with write_transaction(engine) as conn:
        found = {
            "filed": stored(conn, message_id="m1@b", from_party="b1", case_id=three["C2"]),
            "idle": stored(conn, message_id="m2@b", from_party="b2", conversation_id="talk"),
            "sent": _store_sent(conn, "m3@hub", three["C2"]),
        }
        messages.apply_event(conn, found["idle"], StateEvent("fail", NOW, "test"), "GW501")
        new = delivery(agent="msh", destination="b1", lane="msh:b1", wire_id="m3@hub", due_at=later(10**9))
        deliveries.enqueue_delivery(conn, new, NOW)
    return found


def _store_sent(conn: Connection, message_id: str, case: int) -> int:
    return messages.insert_own_message(conn, _make_sent(message_id, case), later(60), "test").id


def _make_sent(message_id: str, case: int) -> messages.NewMessage:
    from tests.kit.rows import message

    return message(
        message_id=message_id, direction="out", from_party="hub", to_party="b1", action="Result", case_id=case
    )


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("--party", "b1"), ["m3@hub", "m1@b"]),
        (("--party", "b2"), ["m2@b"]),
        (("--party", "food"), []),
        (("--party", "b1", "--direction", "in"), ["m1@b"]),
        (("--state", "FAILED"), ["m2@b"]),
        (("--agency", "KR-B"), ["m3@hub", "m1@b", "c2@b"]),
        (("--reference", "REF-B"), ["m3@hub", "m1@b", "c2@b"]),
        (("--reference", "m2@b"), ["m2@b"]),
        (("--reference", "talk"), ["m2@b"]),
        (("--text", "gw501"), ["m2@b"]),
        (("--text", "ref-b"), ["m3@hub", "m1@b", "c2@b"]),
        (("--since", "2026-11-20T08:31:00Z"), ["m3@hub"]),
        (("--party", "b1", "--limit", "1"), ["m3@hub"]),
    ],
)
@pytest.mark.usefixtures("mail")
def test_messages_are_filtered(run: Run, words: tuple[str, ...], ids: list[str]) -> None:
    assert list_numbers(run("message", "list", *words), "message_id") == ids


def test_a_message_tells_what_it_waits_for(engine: Engine, run: Run, mail: dict[str, int]) -> None:
    told = {row["message_id"]: row["waits_for"] for row in run("message", "list")[1]}
    assert told["m1@b"] == "the result of case C2"
    assert told["m2@b"] == ""
    assert told["m3@hub"].startswith("next attempt at 2058-")
    with write_transaction(engine) as conn:
        task = delivery(agent="local", destination="local", dedupe_key=f"admit:{mail['idle']}")
        deliveries.enqueue_delivery(conn, task, NOW)
        (lease,) = _claim(conn, "local")
        delivery_leases.fail_delivery(conn, lease, NOW)
    (row,) = run("message", "list", "--reference", "m2@b")[1]
    assert row["waits_for"] == "processing: an operator: requeue or cancel"


def _claim(conn: Connection, lane: str) -> Any:
    return claim_deliveries(conn, lane, "w1", later(10**8), later(10**8 + 9))


@pytest.fixture
def queue(engine: Engine, three: dict[str, int]) -> dict[str, int]:
    """Deliveries in every state that is not the end."""
    with write_transaction(engine) as conn:

        def put(name: str, **words: Any) -> int:
            number = deliveries.enqueue_delivery(conn, delivery(dedupe_key=name, **words), NOW)
            assert number is not None
            return number

        found = {"active": put("active", case_id=three["C2"])}
        _claim(conn, "KR-A")
        found["failed"] = put("failed", destination="KR-B")
        (lease,) = _claim(conn, "KR-B")
        delivery_leases.fail_delivery(conn, lease, NOW, delivery_leases.AttemptOutcome("GW602"))
        post = {"endpoint": "https://b1.example/msh", "action": "Result"}
        found["awaiting"] = put(
            "awaiting", agent="msh", destination="broker", lane="msh:broker", parameters=post
        )
        (lease,) = _claim(conn, "msh:broker")
        delivery_leases.mark_sent(conn, lease, NOW, later(10**9))
        found["held"] = put("held", destination="KR-C")
        deliveries.hold_delivery(conn, found["held"], NOW, "kim", "wrong octets")
        found["behind"] = put("behind", destination="KR-B", follows=found["failed"])
        found["later"] = put("later", destination="KR-C", due_at=later(10**9))
    return found


def test_a_delivery_tells_its_case_its_partner_and_what_it_waits_for(run: Run, queue: dict[str, int]) -> None:
    rows = {row["dedupe_key"]: row for row in run("queue", "list")[1]}
    told = {name: rows[name]["waits_for"] for name in queue}
    assert told["active"].startswith("the answer, by 2030-")
    assert told["failed"] == "an operator: requeue or cancel"
    assert told["awaiting"].startswith("the acknowledgement, by 2058-")
    assert told["held"] == "release; held by kim since 2026-11-20T17:30:15+09:00: wrong octets"
    assert told["behind"] == f"delivery {queue['failed']} before it, FAILED"
    assert told["later"].startswith("next attempt at 2058-")
    shown = rows["active"]
    assert (shown["case_number"], shown["partner"]) == ("C2", "식품의약품안전처 (KR-A)")
    assert shown["address"] == "https://a.example/soap"
    shown = rows["awaiting"]
    assert (shown["partner"], shown["address"]) == ("관세법인 하나 (broker)", "https://b1.example/msh")


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--state", "HELD"), ["held"]),
        (("--state", "HELD", "--state", "failed"), ["failed", "held"]),
        (("--agency", "KR-B"), ["failed", "behind"]),
        (("--party", "broker"), ["awaiting"]),
        (("--party", "food"), ["active"]),
        (("--lane", "msh:broker"), ["awaiting"]),
        (("--reference", "REF-B"), ["active"]),
        (("--text", "식품"), ["active"]),
        (("--text", "a.example"), ["active"]),
        (("--text", "B1.example"), ["awaiting"]),
        (("--text", "gw602"), ["failed"]),
        (("--agency", "KR-B", "--limit", "1"), ["failed"]),
    ],
)
@pytest.mark.usefixtures("queue")
def test_deliveries_are_filtered(run: Run, words: tuple[str, ...], names: list[str]) -> None:
    assert list_numbers(run("queue", "list", *words), "dedupe_key") == names


def test_the_queue_goes_on_over_all_states(run: Run, queue: dict[str, int]) -> None:
    first = run("queue", "list", "--limit", "3")
    last = first[1][-1]["id"]
    assert first[2] == f"… 4 more: --after {last}\n"
    rest = run("queue", "list", "--after", str(last))
    ids = [row["id"] for row in first[1] + rest[1]]
    assert ids == sorted(ids)
    assert {*queue.values()} < {*ids}


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("--state", "SUSPENDED"), ["broker"]),
        (("--role", "agency"), ["food"]),
        (("--text", "안전처"), ["food"]),
        (("--text", "f1"), ["food"]),
        (("--limit", "1"), ["broker"]),
        (("--after", "broker"), ["food"]),
    ],
)
@pytest.mark.usefixtures("three")
def test_parties_are_filtered(engine: Engine, run: Run, words: tuple[str, ...], ids: list[str]) -> None:
    with write_transaction(engine) as conn:
        parties.set_party_status(conn, "broker", "SUSPENDED")
    assert list_numbers(run("party", "list", *words), "id") == ids
