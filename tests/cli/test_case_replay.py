"""``gateway case replay``: an operator tells an agency why its notice does not count."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select, update

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice, SignedReply, make_application_number
from gateway.cli import main
from gateway.cli.commands import case_replay
from gateway.harmonize import draw_notice, load_bundle
from gateway.hub import apply_agency_document, apply_call_back
from gateway.share import get_data_folder
from gateway.store import read_transaction, write_transaction
from gateway.wire import SERVICE_AGENCY
from tests.flows.craft import at, text, withdrawal
from tests.flows.officers.test_kills import perform
from tests.flows.test_amendments import NAME, amend
from tests.flows.test_requirement_ledger import declare
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.officers import ConsoleStory
from tests.kit.soap import envelope
from tests.kit.story import ITEMS, LAWS, Story, asked
from tests.web.test_delivered_notices import write_call

A, R = DecisionCode.APPROVED, DecisionCode.REJECTED
AGENCY = "KFDA"
#: A number of an application that this database does not have.
OTHER = make_application_number(999, 2026, 1)


@dataclass
class Operator:
    """An operator at the database of a story whose agencies have their applications."""

    story: Story
    home: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[int, str, str]:
        status = main(["case", "replay", *words, "--home", str(self.home)])
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def replay(self, *files: Path) -> dict[str, Any]:
        """Return the replay of the newest case; nothing is written by it."""
        before = self.list_rows()
        status, printed, error = self.run(self.story.case().number, *map(str, files), "--json")
        assert (status, error) == (0, "")
        assert self.list_rows() == before
        return dict(json.loads(printed))

    def list_rows(self) -> list[list[Any]]:
        names = ("notices", "decisions", "agency_requests", "deliveries", "transitions")
        with read_transaction(self.story.house.engine) as conn:
            return [list(conn.execute(select(getattr(tables, name)))) for name in names]

    def replay_agency(self, *files: Path, agency: str = AGENCY) -> dict[str, Any]:
        """Return the replayed application of an agency."""
        (found,) = [one for one in self.replay(*files)["applications"] if one["agency"] == agency]
        return dict(found)

    def write(self, name: str, content: str | bytes | etree._Element) -> Path:
        """Write a file, and return its path."""
        if isinstance(content, etree._Element):
            content = etree.tostring(content)
        path = self.home / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def write_decision(self, notice: Notice) -> Path:
        """Write the call SubmitDecision that says what a notice says."""
        callback = AgencyCallback(notice, self.story.number_of(AGENCY))
        return self.write(f"{notice.number}.xml", wrap("SubmitDecision", write_call(callback)))


def wrap(name: str, content: str) -> str:
    return f'<{name} xmlns="{SERVICE_AGENCY}">{content}</{name}>'


@pytest.fixture
def operator(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    return start(Story(engine), tmp_path, capsys, monkeypatch)


def start(
    story: Story, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    """Return an operator with a home at the database of a story, after the first submission."""
    url = story.house.engine.url.render_as_string(hide_password=False)
    settings = f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n'
    (home / "gateway.toml").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(case_replay, "read_clock", story.clock)
    story.submit()
    story.tick()
    return Operator(story, home, capsys)


@pytest.fixture
def with_keys(operator: Operator) -> Operator:
    return make_keys(operator)


def make_keys(operator: Operator) -> Operator:
    copy_demo_keys(operator.home / "pki", "hub")
    operator.capsys.readouterr()
    return operator


def decide(story: Story, number: str, code: DecisionCode, at: datetime | None = None) -> Notice:
    """Return a notice of the agency that decides its item."""
    decision = Decision(ITEMS[AGENCY], LAWS[AGENCY], code)
    return Notice(number, at or story.clock(), "R01" if code is A else "R04", (decision,))


def list_effects(application: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [
        (notice["number"], notice["decisions"][0]["effect"], notice["decisions"][0]["replaced_by"])
        for notice in application["notices"]
    ]


@BOTH
@pytest.mark.parametrize("order", [*permutations((("9", A), ("10", R)))])
def test_of_the_same_second_notice_ten_counts_in_either_arrival(
    operator: Operator, order: tuple[tuple[str, DecisionCode], ...]
) -> None:
    story = operator.story
    for number, code in order:
        story.hear(AGENCY, decide(story, number, code))
    application = operator.replay_agency()
    assert list_effects(application) == [("9", "lower_number", "10"), ("10", "counts", None)]
    assert application["items"] == [{"item": 2, "outcome": "REJECTED", "notices": ["10"]}]
    assert application["differences"] == []
    printed = operator.run(story.case().number)[1]
    assert (
        "item 2 law 05 APPROVED does not count: notice 10 of the same time has the higher number" in printed
    )
    assert "item 2: REJECTED by notice 10" in printed
    assert printed.endswith("  by these notices: undecided\n")


@BOTH
def test_a_database_that_compared_numbers_as_text_is_told(operator: Operator) -> None:
    story = operator.story
    for number, code in (("9", A), ("10", R)):
        story.hear(AGENCY, decide(story, number, code))
    table = tables.decisions
    with write_transaction(story.house.engine) as conn:
        rows = {row.notice_no: row.id for row in conn.execute(select(table).where(table.c.agency == AGENCY))}
        for number, successor in (("9", None), ("10", rows["9"])):
            conn.execute(update(table).where(table.c.id == rows[number]).values(superseded_by=successor))
    application = operator.replay_agency()
    assert list_effects(application)[-1] == ("10", "counts", None)
    assert application["differences"] == [{"item": 2, "law": "05", "stored": ["9"], "by_notices": ["10"]}]
    told = (
        "item 2 law 05, stored: 9 counts; by its notices 10 counts: the next decision of the agency changes"
    )
    assert told in operator.run(story.case().number)[1]
    # The next decision of the agency brings the database in order.
    story.hear(AGENCY, decide(story, "8", A))
    assert operator.replay_agency()["differences"] == []


@functools.cache
def draw_certificate() -> str:
    bundle = load_bundle(get_data_folder("mappings"))
    notice = bundle.notices.notices["GOVCBRFS7"]
    root, _ = draw_notice(notice, bundle.notices, "1", bundle.documents["KPTA-PHARM-IMP"])
    for other in at(root, "Declaration").findall("{*}LPCO")[1:]:
        at(root, "Declaration").remove(other)
    return etree.tostring(root, encoding="unicode")


def make_certificate(story: Story, certificate: str, status: str, issued: str = "20261120") -> etree._Element:
    """Return a certificate of KPTA in its own form, which states a day alone."""
    root = etree.fromstring(draw_certificate())
    values = {
        "Status/NameCode": status,
        "Declaration/TypeCode": "GOVCBRFR2",
        "Declaration/ID": story.number_of("KPTA"),
        ".//ConsignmentItem/Commodity/ID": "FR2001",
        "ID": certificate,
        "IssueDateTime": issued,
    }
    for path, value in values.items():
        text(path, value)(root)
    return root


@BOTH
def test_a_cancellation_of_the_day_alone_shows_its_day_and_counts(operator: Operator) -> None:
    story = operator.story
    cancellation = make_certificate(story, "P-1", "R03")
    apply_agency_document(story.hub, "KPTA", cancellation, SignedReply())
    decision = Decision(1, "01", A, "P-1")
    story.hear("KPTA", Notice("9", story.clock(), "R01", (decision,)))
    application = operator.replay_agency(agency="KPTA")
    approved, cancelled = application["notices"]
    assert (approved["issued_on"], cancelled["issued_at"]) == (None, None)
    assert cancelled["issued_on"] == "2026-11-20"
    assert list_effects(application) == [
        ("9", "replaced", cancelled["number"]),
        (cancelled["number"], "counts", None),
    ]
    assert application["differences"] == []
    assert "issued 2026-11-20  " in operator.run(story.case().number)[1]


@BOTH
def test_a_decision_before_the_amendment_does_not_count(operator: Operator) -> None:
    story = operator.story
    story.hear(AGENCY, decide(story, "9", A))
    amend(story, NAME)
    story.tick()
    assert list_effects(operator.replay_agency()) == [("9", "outdated", None)]
    assert "an amendment has changed" in operator.run(story.case().number)[1]


@BOTH
def test_no_decision_of_a_cancelled_application_counts(operator: Operator) -> None:
    story = operator.story
    story.hear(AGENCY, decide(story, "9", A))
    story.clock.forward(minutes=1)
    story.hear(AGENCY, Notice("10", story.clock(), "G01"))
    application = operator.replay_agency()
    assert application["notices"][0]["decisions"][0]["effect"] == "cancelled"
    assert (application["cancelled"], application["items"][0]["outcome"]) == (True, None)
    assert "item 2: not approved, the application is cancelled" in operator.run(story.case().number)[1]


@BOTH
def test_no_approval_of_a_withdrawn_declaration_counts(operator: Operator) -> None:
    story = operator.story
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    for agency in ("KPTA", "KFDA", "NPQS"):
        story.hear(agency, Notice(f"{agency}-G", story.clock(), "G01" if agency != AGENCY else "G02"))
    assert story.case().state == "WITHDRAWN"
    story.clock.forward(minutes=1)
    story.hear(AGENCY, decide(story, "9", A))
    replay = operator.replay()
    assert replay["outcome_by_notices"] == "WITHDRAWN"
    (application,) = [one for one in replay["applications"] if one["agency"] == AGENCY]
    assert application["notices"][-1]["decisions"][0]["effect"] == "withdrawn"


@BOTH
def test_questions_are_told_and_a_case_without_notices(operator: Operator) -> None:
    story = operator.story
    assert operator.replay_agency()["notices"] == []
    printed = operator.run(story.case().number)[1]
    assert (printed.count("no notice yet"), printed.count("undecided")) == (3, 5)
    for number in ("10", "9"):
        story.hear(AGENCY, replace(asked(story, AGENCY, number), number=number))
    notices = operator.replay_agency()["notices"]
    assert [(one["number"], one["event"], one["demand"], one["demand_replaced_by"]) for one in notices] == [
        ("9", "ask", "replaced", "10"),
        ("10", "ask", "latest", None),
    ]
    assert "asks the applicant: notice 10 has replaced or ended it" in operator.run(story.case().number)[1]


def test_a_case_that_does_not_exist_is_told(operator: Operator) -> None:
    number = operator.story.case().number
    assert operator.run("broker-reference")[0] == 1
    status, printed, error = operator.run(number[:-1] + ("A" if number[-1] != "A" else "B"))
    assert (status, printed, "GW513" in error) == (1, "", True)


@BOTH
def test_files_are_shown_as_if_they_came_now(with_keys: Operator) -> None:
    operator, story = with_keys, with_keys.story
    story.decide_all(AGENCY)
    story.hear(AGENCY, decide(story, "9", A))
    assert operator.replay()["outcome_by_notices"] == "APPROVED"
    rejection = operator.write_decision(decide(story, "10", R))
    question = operator.write("Q.xml", wrap("RequestInformation", (
        f"<ApplicationNumber>{story.number_of(AGENCY)}</ApplicationNumber><NoticeNumber>11</NoticeNumber>"
        f"<IssuedAt>{story.clock().isoformat()}</IssuedAt><Text>The certificate of origin</Text>"
    )))  # fmt: skip
    replay = operator.replay(rejection, question)
    assert (replay["outcome"], replay["outcome_by_notices"]) == ("APPROVED", "PARTIAL")
    (application,) = [one for one in replay["applications"] if one["agency"] == AGENCY]
    assert [(one["number"], one["received_at"] is None, one["file"]) for one in application["notices"]] == [
        ("9", False, None),
        ("10", True, str(rejection)),
        ("11", True, str(question)),
    ]
    assert list_effects(application | {"notices": application["notices"][:2]}) == [
        ("9", "lower_number", "10"),
        ("10", "counts", None),
    ]
    printed = operator.run(story.case().number, str(rejection))[1]
    assert f"not received ({rejection})" in printed
    assert printed.endswith("  by these notices: PARTIAL\n")


def test_a_document_of_its_own_form_and_an_envelope_are_read(with_keys: Operator) -> None:
    operator, story = with_keys, with_keys.story
    own = operator.write("own.xml", make_certificate(story, "P-1", "R01"))
    call = etree.fromstring(wrap("DeliverNotice", ""))
    wrapper = etree.SubElement(call, f"{{{SERVICE_AGENCY}}}Document")
    wrapper.append(make_certificate(story, "P-1", "R03"))
    delivered = operator.write("delivered.xml", envelope(call, None))
    notices = operator.replay_agency(own, delivered, agency="KPTA")["notices"]
    assert [(one["status_code"], one["file"]) for one in notices] == [
        ("R01", str(own)),
        ("R03", str(delivered)),
    ]
    assert [one["decisions"][0]["counts"] for one in notices] == [False, True]


def test_a_cancellation_in_a_file_ends_what_counts(with_keys: Operator) -> None:
    operator, story = with_keys, with_keys.story
    story.decide_all()
    cancellation = operator.write_decision(Notice("G", story.clock(), "G01"))
    replay = operator.replay(cancellation)
    assert (replay["outcome"], replay["outcome_by_notices"]) == ("APPROVED", "PARTIAL")
    again = operator.write_decision(decide(story, "after", R))
    status, printed, error = operator.run(story.case().number, str(cancellation), str(again))
    assert (status, printed, "GW703" in error, str(again) in error) == (1, "", True, True)


def test_a_notice_that_was_received_changes_nothing(with_keys: Operator) -> None:
    operator, story = with_keys, with_keys.story
    notice = decide(story, "9", A)
    story.hear(AGENCY, notice)
    repeated = operator.write_decision(notice)
    replay = operator.replay(repeated)
    assert replay["repeated_files"] == [str(repeated)]
    assert replay | {"repeated_files": []} == operator.replay()
    assert (
        "this notice was received, or is in an earlier file"
        in operator.run(story.case().number, str(repeated))[1]
    )
    new = operator.write_decision(decide(story, "10", R))
    assert operator.replay(new, new)["repeated_files"] == [str(new)]


REFUSED: dict[str, tuple[str, Callable[[Operator], str | bytes | etree._Element]]] = {
    "octets": ("GW104", lambda _: b"\x00\x01garbage"),
    "a document type": ("GW104", lambda _: '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    "an unknown document": ("GW716", lambda _: "<Unknown><ID>1</ID></Unknown>"),
    "an acknowledgment": ("GW311", lambda _: wrap("Acknowledge", "")),
    "a call against the WSDL": (
        "GW402",
        lambda one: write(one, decide(one.story, "9", A)).replace("</Submit", "<Extra/></Submit"),
    ),
    "a call without values": ("GW402", lambda _: wrap("SubmitDecision", "<NoticeNumber>1</NoticeNumber>")),
    "an envelope without a call": (
        "GW107",
        lambda _: '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>',
    ),
    "another application": ("GW701", lambda one: write(one, decide(one.story, "9", A), OTHER)),
    "an unknown number of its own": ("GW701", lambda one: write(one, decide(one.story, "9", A), None)),
    "a status code of the hub": (
        "GW403",
        lambda one: write(one, replace(decide(one.story, "9", A), status_code="Y17", decisions=())),
    ),
    "an item of another agency": (
        "GW404",
        lambda one: write(one, replace(decide(one.story, "9", A), decisions=(Decision(1, "01", A),))),
    ),
    "another content under its number": ("GW702", lambda one: write(one, decide(one.story, "1", A))),
    "a time ahead": (
        "GW719",
        lambda one: write(one, decide(one.story, "9", A, one.story.clock() + timedelta(days=2))),
    ),
    "a time before the case": (
        "GW719",
        lambda one: write(one, decide(one.story, "9", A, one.story.clock() - timedelta(days=2))),
    ),
    "a day without a place": ("GW719", lambda one: make_certificate(one.story, "P-1", "R01")),
    "a day that is none": ("GW717", lambda one: make_certificate(one.story, "P-1", "R01", "20261140")),
}  # fmt: skip


def write(operator: Operator, notice: Notice, number: str | None = "") -> str:
    """Return the call of a notice about an application, or about a number of the agency's own (None)."""
    application = operator.story.number_of(AGENCY) if number == "" else number
    content = write_call(AgencyCallback(notice, application))
    if number is None:
        content = f"<RequirementNumber>KFDA-1</RequirementNumber>{content}"
    return wrap("SubmitDecision", content)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hub_would_refuse_is_told_with_its_file(with_keys: Operator, name: str) -> None:
    operator, story = with_keys, with_keys.story
    story.hear(AGENCY, decide(story, "1", R))
    story.hear("KPTA", Notice("2", story.clock(), "R04", (Decision(1, "01", R),)))
    problem, make = REFUSED[name]
    path = operator.write("refused.xml", make(operator))
    before = operator.list_rows()
    status, printed, error = operator.run(story.case().number, str(path))
    assert (status, printed, error[:14]) == (1, "", f"gateway: {problem}")
    assert str(path) in error
    assert ("/Response/IssueDateTime" in error) is name.startswith("a day")
    assert operator.list_rows() == before


def test_a_decision_of_officers_is_not_overruled_by_a_file(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = ConsoleStory(engine)
    operator = make_keys(start(console, tmp_path, capsys, monkeypatch))
    perform(console.officer("kim"), console.decision(), console.look(), console.desk)
    notice = Notice("9", console.clock(), "R04", (Decision(1, "01", R),))
    content = write_call(AgencyCallback(notice, console.request("KPTA").number))
    path = operator.write("overruling.xml", wrap("SubmitDecision", content))
    status, _, error = operator.run(console.case().number, str(path))
    assert (status, "GW703" in error, "was decided at the console" in error) == (1, True, True)
    (application,) = [one for one in operator.replay()["applications"] if one["agency"] == "KPTA"]
    assert application["items"][0]["outcome"] == "APPROVED"


def test_results_beside_the_applications_are_in_the_outcome(operator: Operator) -> None:
    story = operator.story
    declare(story, "D-2", (1, "N-1", "10", "KGM"), (2, "N-1", "10", "KGM"))
    decisions = tuple(Decision(item, LAWS[AGENCY], R, "N-1") for item in (1, 2))
    notice = Notice("N-1/1", story.clock(), "R04", decisions)
    apply_call_back(story.hub, AGENCY, AgencyCallback(notice, requirement_number="N-1"))
    story.tick()
    replay = operator.replay()
    assert replay["outcome"] == replay["outcome_by_notices"] != "APPROVED"


def test_a_call_about_a_number_of_the_agency_is_read(with_keys: Operator) -> None:
    operator, story = with_keys, with_keys.story
    story.decide(AGENCY)
    story.clock.forward(minutes=1)
    revocation = Notice("10", story.clock(), "R03")
    content = write_call(AgencyCallback(revocation))
    number = "<RequirementNumber>KFDA-P-N1</RequirementNumber>"
    path = operator.write("revocation.xml", wrap("SubmitDecision", number + content))
    application = operator.replay_agency(path)
    assert list_effects(application) == [("KFDA-N1", "replaced", "10"), ("10", "counts", None)]
    assert application["items"] == [{"item": 2, "outcome": "REJECTED", "notices": ["10"]}]


def test_a_file_that_is_missing_is_misuse(with_keys: Operator) -> None:
    status, _, error = with_keys.run(with_keys.story.case().number, str(with_keys.home / "none.xml"))
    assert (status, "GW808" in error) == (2, True)
