"""``gateway fees`` and what other verbs say of fees: lists, overdue, a statement compared, warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from gateway.cases import NamedFee, Notice
from gateway.cli import main
from gateway.cli.commands import requirement as fee_verbs
from gateway.hub import load_shipped_rules
from gateway.operations import find_tariff_warnings
from gateway.store import deadlines, write_transaction
from tests.flows.test_deadlines import rows, seoul, until
from tests.flows.test_fees import KRW, Provider, fees_of, notice, pay, provider, story
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.operations.test_partner_findings import settings_with

__all__ = ["provider", "story"]

Run = Callable[..., tuple[int, str, str]]
SEOUL = ZoneInfo("Asia/Seoul")
HEAD = "date,kind,reference,order,amount,currency\n"


@pytest.fixture
def run(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> Run:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "Asia/Seoul"\n[database]\nurl = "{url}"\n', encoding="utf-8"
    )

    def run(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def compare(run: Run, folder: Path, text: str | bytes, *words: str) -> tuple[int, dict[str, Any]]:
    """Return the status of the verb, and what it says of a statement: result or problem."""
    file = folder / "statement.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, err = run("fees", "reconcile", str(file), *words, "--json")
    return status, json.loads(out or err)


@pytest.mark.long
@BOTH
def test_a_statement_is_compared_with_what_was_paid(
    story: Story, provider: Provider, run: Run, tmp_path: Path
) -> None:
    story.submit()
    story.tick(seconds=1)
    order = fees_of(story, "KPTA")[0].number
    pay(story, order)
    pay(story, order, "P-2")
    for _ in range(2):
        story.tick(seconds=1)
    day = story.clock().date().isoformat()
    lines = [f"{day},payment,P-1,{order},30000,KRW\n", f"{day},refund,R-{order}-R01,{order},30000,KRW\n"]
    again = f"{day},payment,P-2,{order},30000,KRW\n"
    twice = ("paid twice", "P-2")
    tries: list[tuple[str, list[tuple[str, str]]]] = [
        ("".join([*lines, again]), [twice]),
        ("".join(lines), [("missing there", "P-2"), twice]),
        ("".join([*lines, again, f"{day},payment,P-9,F-9,1,KRW\n"]), [("missing here", "P-9"), twice]),
        ("".join([*lines, again.replace("30000", "29999")]), [("different amount", "P-2"), twice]),
        ("".join([*lines, again.replace(order, "F-9")]), [("different order", "P-2"), twice]),
        ("".join([*lines, again, again]), [("listed twice", "P-2"), twice]),
    ]
    for text, found in tries:
        status, told = compare(run, tmp_path, HEAD + text)
        assert status == 1
        assert [(one["what"], one["reference"]) for one in told["differences"]] == found
    assert (told["from"], told["until"], told["recorded"]) == (day, day, 3)
    status, out, _ = run("fees", "reconcile", str(tmp_path / "statement.csv"))
    assert (status, out.splitlines()[0]) == (1, f"{day} to {day}: 4 lines, 3 recorded, 2 differences")
    # Of a day on which nothing moved, nothing differs.
    status, told = compare(run, tmp_path, HEAD, "--from", "2020-01-01", "--until", "2020-01-31")
    assert (status, told["differences"]) == (0, [])


@BOTH
def test_a_statement_that_is_equal_ends_with_0(
    story: Story, provider: Provider, run: Run, tmp_path: Path
) -> None:
    story.submit()
    story.tick(seconds=1)
    order = fees_of(story, "KPTA")[0].number
    pay(story, order)
    day = story.clock().date().isoformat()
    status, told = compare(run, tmp_path, f"\ufeff{HEAD}{day},payment,P-1,{order},30000,KRW\n")
    assert (status, told["lines"], told["differences"]) == (0, 1, [])


def test_the_days_of_a_statement_are_those_of_the_hub(
    story: Story, provider: Provider, run: Run, tmp_path: Path
) -> None:
    story.submit()
    story.tick(seconds=1)
    order = fees_of(story, "KPTA")[0].number
    midnight = (story.clock().astimezone(SEOUL) + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    story.clock.forward(seconds=(midnight - story.clock()).total_seconds() + 60)
    pay(story, order)
    day = story.clock().astimezone(SEOUL).date()
    assert day != story.clock().date()
    line = f"payment,P-1,{order},30000,KRW\n"
    status, told = compare(run, tmp_path, f"{HEAD}{day},{line}")
    assert (status, told["recorded"], told["differences"]) == (0, 1, [])
    status, told = compare(run, tmp_path, f"{HEAD}{day - timedelta(days=1)},{line}")
    assert (status, [one["what"] for one in told["differences"]]) == (1, ["missing here"])


@pytest.mark.parametrize(
    ("text", "words", "where"),
    [
        (b"", (), "line 1"),
        (b"\xff\xfe\x00", (), "statement.csv"),
        (b"\x00" * 50, (), "line 1"),
        (HEAD.encode(), (), "statement.csv"),
        (HEAD.encode() + b'2026-11-20,payment,"P', (), "line 2"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,1e5,KRW\n", (), "line 2"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,-1,KRW\n", (), "line 2"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,1.5,KRW\n", (), "line 2"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,1,KRX\n", (), "line 2"),
        (HEAD.replace("order", "order,order").encode(), (), "line 1"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,1,KRW,more\n", (), "line 2"),
        (HEAD.encode() + b"2026-11-20,payment,P-1,F-1,1,KRW\n", ("--until", "2026-11-19"), "line 2"),
        (HEAD.encode() + b"9" * 200_000, (), "line 2"),
    ],
    ids=range(13),
)
def test_garbage_is_one_problem_with_its_place(
    run: Run, story: Story, tmp_path: Path, text: bytes, words: tuple[str, ...], where: str
) -> None:
    status, told = compare(run, tmp_path, text, *words)
    assert (status, told["problem"]) == (2, "GW713")
    assert where in told["location"]


def test_days_the_wrong_way_round_compare_nothing(run: Run, story: Story, tmp_path: Path) -> None:
    words = ("--from", "2026-11-30", "--until", "2026-11-01")
    status, told = compare(run, tmp_path, HEAD, *words)
    assert (status, told["problem"], told["location"]) == (2, "GW808", "--until")


def list_overdue(run: Run, monkeypatch: pytest.MonkeyPatch, at: datetime) -> list[str]:
    """Return the numbers of the fees that are overdue at a moment, and that the page counts them."""
    monkeypatch.setattr(fee_verbs, "get_current_time", lambda: at)
    status, out, _ = run("fees", "list", "--overdue", "--json")
    assert status == 0
    found = [json.loads(line)["number"] for line in out.splitlines()]
    status, out, _ = run("fees", "list", "--overdue", "--limit", "1", "--json")
    assert (status, [json.loads(line)["number"] for line in out.splitlines()][:1]) == (0, found[:1])
    return found


@pytest.mark.parametrize("seen", [False, True], ids=["before the clockwork", "after the clockwork"])
def test_a_fee_is_overdue_from_the_second_after_its_deadline(
    story: Story, provider: Provider, run: Run, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """By the deadline of the fee, whatever day is named beside it; the last day of the hub ends at UTC."""
    story.submit()
    story.tick(seconds=1)
    day = date(2026, 11, 23)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW, due=day))
    story.hear("NPQS", notice(story, "N2", "Y05", money=KRW, due=day))
    # A time before the last day that the fee names, and one after it.
    for number, code, at in (("N3", "Y01", "2026-11-23T12:00"), ("N4", "Y09", "2026-11-25T12:00")):
        timed = notice(story, number, code, money=KRW, due=date(2026, 11, 24))
        story.hear("NPQS", replace(timed, deadline=seoul(at)))
    story.tick(seconds=1)
    last, paid, early, late = fees_of(story, "NPQS")
    pay(story, paid.number)
    known = {row.cause: row.due_at for row in rows(story, "NPQS", "pay")}
    ends = [(early, seoul("2026-11-23T12:00")), (last, datetime.fromisoformat("2026-11-23T23:59:59+00:00"))]
    assert [known[fee.number] for fee, _ in ends] == [at for _, at in ends]
    overdue: list[str] = []
    for fee, due in [*ends, (late, seoul("2026-11-25T12:00"))]:
        assert list_overdue(run, monkeypatch, due) == sorted(overdue, reverse=True)
        overdue.append(fee.number)
        if seen:
            until(story, due + timedelta(seconds=1))
            story.tick(seconds=1)
        assert list_overdue(run, monkeypatch, due + timedelta(seconds=1)) == sorted(overdue, reverse=True)
    assert len(run("fees", "list", "--json")[1].splitlines()) == 5
    assert json.loads(run("fees", "list", "--state", "paid", "--json")[1])["number"] == paid.number


def test_a_case_shows_its_fees(story: Story, provider: Provider, run: Run) -> None:
    story.submit()
    story.tick(seconds=1)
    number, order = story.case().number, fees_of(story, "KPTA")[0].number
    shown = run("case", "show", number)[1]
    (line,) = [one for one in shown.splitlines() if one.strip().startswith(f"fee {order}")]
    assert "  KPTA  ORDERED  30000 KRW, until 2026-12-01T08:59:59" in line
    assert line.endswith("(OPEN), paid at https://pay.example/" + order)
    pay(story, order)
    pay(story, order, "P-2")
    (fee,) = json.loads(run("case", "show", number, "--json")[1])["fees"]
    assert (fee["number"], fee["state"], fee["amount"], fee["currency"]) == (order, "PAID", "30000", "KRW")
    assert [(one["kind"], one["reference"]) for one in fee["movements"]] == [
        ("payment", "P-1"),
        ("payment", "P-2"),
        ("refund", f"{order}-R01"),
    ]
    shown = run("case", "show", number)[1]
    assert re.search(f"fee {order}  KPTA  PAID  30000 KRW, until 2026-12-01T08:59:59[^ ]* .MET.\n", shown)
    assert "payment P-2  30000 KRW (paid twice)" in shown


def test_check_warns_of_a_document_without_tariff_and_of_a_tariff_without_document(tmp_path: Path) -> None:
    bundle = load_shipped_rules().bundle
    (warning,) = find_tariff_warnings(settings_with(tmp_path), bundle)
    assert "KTL-ELEC-IMP" in warning
    assert warning.endswith("set fees.tariff.KTL-ELEC-IMP")
    (tmp_path / "secret").write_bytes(b"a secret of the tests, 32 octets long")
    tariff = 'amount = "1"\ncurrency = "KRW"'
    settings = settings_with(
        tmp_path,
        '[fees]\nendpoint = "https://pay.example"\nsecret = { file = "secret" }',
        f"[fees.tariff.KTL-ELEC-IMP]\n{tariff}\n[fees.tariff.KTL-ELEC-INP]\n{tariff}",
    )
    (warning,) = find_tariff_warnings(settings, bundle)
    assert warning.startswith("fees.tariff names KTL-ELEC-INP, which is no document")


def test_a_fee_without_amount_is_paid_elsewhere(story: Story, run: Run) -> None:
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y01"))
    assert "NPQS  LEVIED  paid elsewhere\n" in run("case", "show", story.case().number)[1]
    assert NamedFee().money is None


def test_a_fee_is_shown_with_the_exact_time_and_state_of_its_deadline(
    story: Story, provider: Provider, run: Run
) -> None:
    story.submit()
    story.tick(seconds=1)
    due = datetime.fromisoformat("2026-12-24T17:00:00+09:00")
    fee = NamedFee(KRW, due=date(2026, 12, 24), payment_notice="A-77")
    story.hear("NPQS", Notice("NPQS-1", story.clock(), "Y05", deadline=due, fee=fee))
    story.tick(seconds=1)
    mine = fees_of(story, "NPQS")[0].number
    other = fees_of(story, "KPTA")[0].number

    def show() -> dict[str, tuple[datetime, str]]:
        found = {one: json.loads(run("fees", "show", one, "--json")[1]) for one in (mine, other)}
        listed = {
            one["number"]: one for one in map(json.loads, run("fees", "list", "--json")[1].splitlines())
        }
        told = {name: (datetime.fromisoformat(one["due_at"]), one["deadline"]) for name, one in found.items()}
        for name, one in told.items():
            assert (datetime.fromisoformat(listed[name]["due_at"]), listed[name]["deadline"]) == one
        return told

    assert show()[mine] == (due, "OPEN")
    assert show()[other][1] == "OPEN"
    story.clock.now = due + timedelta(seconds=2)
    story.tick(seconds=1)
    assert show()[mine] == (due, "OVERDUE")
    pay(story, mine, "P-9")
    story.tick(seconds=1)
    assert show()[mine] == (due, "LATE")


def test_a_fee_whose_deadline_is_not_known_is_overdue_after_its_last_day(
    story: Story, provider: Provider, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.submit()
    story.tick(seconds=1)
    story.hear("NPQS", notice(story, "N1", "Y01", money=KRW, due=date(2026, 11, 21)))
    (fee,) = fees_of(story, "NPQS")
    with write_transaction(story.house.engine) as conn:
        unknown = {"state": "UNKNOWN", "due_at": None, "next_at": None}
        deadlines.change_deadlines(conn, [row.id for row in rows(story, "NPQS", "pay")], unknown)
    # The day has ended in Seoul, and not in UTC.
    ends = datetime.fromisoformat("2026-11-21T15:00:00+00:00")
    assert list_overdue(run, monkeypatch, ends - timedelta(seconds=1)) == []
    assert list_overdue(run, monkeypatch, ends) == [fee.number]
