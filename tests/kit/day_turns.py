"""Notices of one agency about one application: certificates of a day alone, and calls that state a time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from lxml import etree

from gateway.cases import (
    AgencyCallback,
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionCode,
    Notice,
    SignedReply,
    read_subjects,
)
from gateway.errors import GatewayError
from gateway.harmonize import draw_notice, load_bundle
from gateway.hub import apply_call_back
from gateway.hub.answers.delivered_notices import apply_agency_document
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.share import get_data_folder
from gateway.store import decisions, read_transaction
from tests.flows.craft import all_of, at, text
from tests.flows.test_late_children import list_late_reports
from tests.kit.house import START
from tests.kit.story import AGENCIES, Story

__all__ = [
    "DAY",
    "SPOKEN",
    "DayStory",
    "Turn",
    "at_hour",
    "make_certificate",
    "make_status_notice",
    "say_all",
    "say_turn",
]

#: The day in Korea on which the story begins, at 18:00 there.
DAY = "20261120"
SPOKEN = SignedReply(b"<signed call/>", "ab" * 32)
_NAMESPACE = "urn:single-window:document:{}:1"
_TOLD = frozenset({"GW719", "GW703", "GW702"})
_REFUSING = frozenset({"R03", "R04", "G02"})


@functools.cache
def _draw_certificate() -> str:
    bundle = load_bundle(get_data_folder("mappings"))
    root, _ = draw_notice(
        bundle.notices.notices["GOVCBRFS7"], bundle.notices, "1", bundle.documents["KPTA-PHARM-IMP"]
    )
    declaration = at(root, "Declaration")
    for other in declaration.findall("{*}LPCO")[1:]:
        declaration.remove(other)
    return etree.tostring(root, encoding="unicode")


def make_certificate(application: str, certificate: str, status: str, day: str = DAY) -> etree._Element:
    """Return the certificate GOVCBRFS7 of KPTA about its item: approved, cancelled or issued anew."""
    root = etree.fromstring(_draw_certificate())
    values = {
        "Status/NameCode": status,
        "Declaration/TypeCode": "GOVCBRFR2",
        "Declaration/ID": application,
        ".//ConsignmentItem/Commodity/ID": "FR2001",
        "ID": certificate,
        "IssueDateTime": day,
    }
    for path, value in values.items():
        text(path, value)(root)
    return root


def make_status_notice(application: str, number: str, status: str, day: str = DAY) -> etree._Element:
    """Return the status notice GOVCBRRBH: acknowledged (C04), asked (D01), approval cancelled (G02)."""
    return etree.fromstring(
        f'<Response xmlns="{_NAMESPACE.format("govcbrrbh")}"><TypeCode>GOVCBRRBH</TypeCode>'
        f"<Declaration><TypeCode>GOVCBRFR2</TypeCode><ID>{application}</ID>"
        "<FunctionalReferenceID>R-77</FunctionalReferenceID></Declaration>"
        f"<ID>{number}</ID><IssueDateTime>{day}</IssueDateTime>"
        f"<Status><NameCode>{status}</NameCode></Status></Response>"
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """What KPTA says once: a status, of a certificate, at an hour of the day; a day alone without an hour."""

    status: str
    certificate: str | None = None
    hour: int | None = None

    @property
    def is_refusal(self) -> bool:
        return self.status in _REFUSING

    @property
    def decides(self) -> bool:
        return self.status != "C04"


class DayStory(Story):
    """A story in which each application of KPTA has a case of its own, and the other agencies approve."""

    cases_made = 0
    #: By agency: each item and law on which it decides.
    subjects: Mapping[str, Sequence[tuple[int, str]]] = MappingProxyType({})

    def file(self) -> str:
        """File a declaration that the others approve; return the application of KPTA."""
        self.cases_made += 1
        name = f"DAY-{self.cases_made}"
        change = all_of(text("Reference", name), text(".//FunctionalReferenceID", name))
        self.submit(self.submission(change))
        self.tick()
        self.subjects = {agency: read_subjects(self.request(agency).required) for agency in AGENCIES}
        for agency in set(AGENCIES) - {"KPTA"}:
            self.tell(agency, Notice(f"{name}-{agency}", at_hour(8), "R01", self.decide_items(agency, "P-1")))
        return str(self.request("KPTA").number)

    def tell(self, agency: str, notice: Notice) -> None:
        """Let an agency call back about its application in the newest case."""
        apply_call_back(self.hub, agency, AgencyCallback(notice, self.request(agency).number))

    def decide_items(
        self, agency: str, certificate: str | None, *, refused: bool = False
    ) -> tuple[Decision, ...]:
        """Return the decisions of an agency on each item and law that it is asked about."""
        code = DecisionCode.REJECTED if refused else DecisionCode.APPROVED
        return tuple(Decision(item, law, code, certificate) for item, law in self.subjects[agency])

    def deliver(self, document: etree._Element) -> None:
        """Let KPTA deliver a document of its own form."""
        apply_agency_document(self.hub, "KPTA", document, SPOKEN)

    def list_statements(self) -> list[tuple[str, str, bool]]:
        """Return number, decision and whether it is in force of each decision of KPTA in the newest case."""
        with read_transaction(self.house.engine) as conn:
            rows = decisions.list_by_request(conn, self.request("KPTA").id)
        return [(row.notice_no, row.decision, row.superseded_by is None) for row in rows]

    def find_decision_in_force(self) -> str | None:
        """Return what KPTA has decided of its item, as the store says."""
        in_force = {decision for _, decision, counts in self.list_statements() if counts}
        assert len(in_force) <= 1, self.list_statements()
        return min(in_force, default=None)

    def list_late_decisions(self) -> list[str]:
        """Return what each code 98 about the newest case says of KPTA's item, in order."""
        reports = list_late_reports(self, str(self.case().number), "item", "decision")
        return [str(decision) for report in reports for item, decision in sorted(set(report)) if item == "1"]

    def list_customs_codes(self) -> list[str]:
        """Return what customs was told of the newest case."""
        number = self.case().number
        return [
            call.text("PendingCode") or ""
            for call in self.soap.calls
            if call.destination == "customs" and call.text("CaseNumber") == number
        ]

    def advance_to(self, hour: int) -> None:
        """Let it be this hour of the day in Korea, unless it is later already."""
        self.clock.forward(seconds=max(0.0, (at_hour(hour) - self.clock()).total_seconds()))

    def clear(self, at: datetime, name: str = "CUS-1") -> None:
        """Let customs report that the newest case is cleared."""
        call = CustomsCall(CustomsNotice(name, at, "5EC"), case_number=self.case().number)
        apply_customs_call(self.hub, call, SPOKEN)


def at_hour(hour: int, minute: int = 0) -> datetime:
    """Return a time of the day in Korea."""
    return START + timedelta(hours=hour - 18, minutes=minute)


def say_turn(story: DayStory, turn: Turn, application: str) -> str | None:
    """Let KPTA say it; return the id of the problem by which it is refused."""
    try:
        if turn.hour is not None:
            story.advance_to(turn.hour)
            decided = story.decide_items("KPTA", turn.certificate, refused=turn.is_refusal)
            number = f"{application}/{turn.status}/{turn.certificate}/{turn.hour}"
            notice = Notice(number, at_hour(turn.hour), turn.status, decided if turn.decides else ())
            apply_call_back(story.hub, "KPTA", AgencyCallback(notice, application))
        elif turn.status in ("C04", "G02"):
            story.deliver(make_status_notice(application, f"{application}/{turn.status}", turn.status))
        else:
            assert turn.certificate is not None
            story.deliver(make_certificate(application, turn.certificate, turn.status))
    except GatewayError as error:
        if error.problem.id not in _TOLD:
            raise
        return error.problem.id
    return None


def say_all(story: DayStory, turns: Iterable[Turn], application: str) -> Sequence[str | None]:
    """Let KPTA say them in this order; return the problem of each."""
    return [say_turn(story, turn, application) for turn in turns]
