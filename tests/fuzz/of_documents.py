"""Targets: submissions on their way to the split, notices of agencies, answers of their services, results."""

from __future__ import annotations

import atexit
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from lxml import etree
from sqlalchemy import Engine

from gateway.cases import (
    CaseHeader,
    CaseOutcome,
    FilingRegister,
    Notice,
    RequestState,
    make_notice_document,
    make_result_document,
    read_submission,
)
from gateway.client import PartnerIdentity
from gateway.client.hub_documents import read_hub_document
from gateway.config import NeedSettings
from gateway.delivery import ServiceCall, load_contract
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import AnswerPolicy, open_signed_answer, sign_call
from gateway.errors import DOCUMENT_INVALID, SIGNER_MISMATCH, GatewayError
from gateway.harmonize import (
    find_document_mapping,
    list_error_places,
    make_placeholder_numbers,
    read_notice,
    split_submission,
)
from gateway.hub.register.decision_rules import DecisionRules, load_shipped_rules
from gateway.hub.submissions.processed_submission import StoredSubmission
from gateway.hub.submissions.split import SubmissionRejectedError, process_submission
from gateway.hub.trust.verdict_recorder import VerdictRecorder
from gateway.message_model import Party, PartyId, Payload, UserMessage
from gateway.pki import Certificate
from gateway.store import Generation, make_engine, migrate_schema
from gateway.wire import (
    AGENCY,
    DEFAULT_LIMITS,
    RESULT,
    SUBMISSION,
    AddressingHeaders,
    SoapFault,
    load_shipped_schemas,
    parse_xml,
    serialize_element,
    write_fault_envelope,
)
from gateway.xmlsec import sign_document, sign_soap_envelope
from tests.fuzz import samples
from tests.fuzz.identities import NOW, judge, signer
from tests.fuzz.posts import mutate_post, read_post, write_post
from tests.fuzz.resigning import document_signer, request_signer
from tests.fuzz.target import Target, promise
from tests.fuzz.trees import mutate_xml
from tests.kit.soap import envelope, wrapper

__all__ = ["TARGETS"]

_DOCUMENT = "urn:single-window:document:test-doc:1"
_NOTICE = """<Answer><Notice><NoticeNumber> N-1 </NoticeNumber>
<IssuedAt>2026-11-20T18:00:00.1234567+09:00</IssuedAt><StatusCode>R01</StatusCode>
<Decision><item>1</item><law>01</law><decision>APPROVED_WITH_CONDITIONS</decision><number>P 1</number>
<date>2026-11-20</date><quantity>10.500</quantity><unit>KGM</unit><condition>keep  dry</condition></Decision>
<Text> 확인 </Text><Pointer>42A/67A[1]/68A[2]</Pointer>
<Deadline>2026-12-01T00:00:00Z</Deadline></Notice></Answer>"""
_ACKNOWLEDGED = "<Answer><Acknowledged><ReceiptNumber>R-1</ReceiptNumber></Acknowledged></Answer>"


@dataclass(frozen=True)
class _Row:
    """What the intake reads of a stored message."""

    id: int = 7
    action: str = "Submit"
    from_party: str = "broker1"
    message_id: str = "m-1@broker.example"
    case_id: int | None = None
    received_at: datetime = NOW


class _Knowledge:
    """A register in which everything may be filed by broker1 for everybody."""

    generations: tuple[Generation, ...] = ()

    def find_certificate_party(self, sha256: str, _at: datetime) -> str | None:
        return "broker1" if sha256 == signer("broker1").certificate.sha256 else None

    def make_filing_register(self, _at: datetime) -> FilingRegister:
        return FilingRegister(
            find_owners=lambda _value: frozenset({"broker1"}), has_mandate=lambda _holder, _principal: True
        )


class _Register:
    """The same rules at every time."""

    def __init__(self, rules: DecisionRules) -> None:
        self.rules = rules

    def find_rules(self, _at: datetime) -> DecisionRules:
        return self.rules


class _Hub:
    """What the intake asks of a hub, on an empty database: supplements are not for this target."""

    def __init__(self) -> None:
        self.engine = _empty_database()
        self.judge = judge()
        self.limits = DEFAULT_LIMITS
        self.zone = UTC
        self.need_policy = NeedSettings()
        self.verdicts = VerdictRecorder(None)  # type: ignore[arg-type]
        self.rules = load_shipped_rules()
        self.register = _Register(self.rules)


def _empty_database() -> Engine:
    """Make a database with every table and no row: no requirement and no case is known to it."""
    folder = mkdtemp(prefix="gateway-fuzz-")
    atexit.register(rmtree, folder, ignore_errors=True)
    engine = make_engine(f"sqlite:///{folder}/gateway.sqlite3")
    migrate_schema(engine)
    return engine


@cache
def _hub() -> Any:
    return _Hub()


def _submission(data: bytes) -> object:
    """Take a submission in as the hub does, signature and all."""
    arrived = StoredSubmission(_Row(), (Payload("p1@x", "application/xml", data),), _Knowledge())  # type: ignore[arg-type]
    try:
        intake = process_submission(_hub(), arrived, NOW)
    except SubmissionRejectedError as refused:
        promise(bool(refused.problems), "refused without a reason")
        header = CaseHeader("2026-0000001", refused.reference, NOW)
        _tellable(make_result_document(header, CaseOutcome.REFUSED, (), refused.problems))
        return [(one.id, one.text, one.pointer) for one in refused.problems]
    return [
        (one.application_number, serialize_element(one.request.xml)) for one in intake.prepared_applications
    ]


def _tellable(told: etree._Element) -> None:
    """What we tell an applicant is by its schema, whatever it is made of."""
    root = parse_xml(serialize_element(told))
    promise(load_shipped_schemas(RESULT).is_valid(root), "what is told to the applicant is not by its schema")


def _split(data: bytes) -> object:
    """Read and split a submission whatever its signature says."""
    root = parse_xml(data)
    if not load_shipped_schemas(SUBMISSION).is_valid(root):
        raise GatewayError(DOCUMENT_INVALID, "not by its schema", "/")
    found = read_submission(root)
    done = split_submission(root, samples.bundle(), make_placeholder_numbers(root))
    promise(
        bool(done.problems) or len(done.requests) == len(found.applications), "an application got no request"
    )
    return [(one.problem.id, one.pointer) for one in done.problems], [
        serialize_element(one.xml) for one in done.requests
    ]


def _unsigned() -> Iterable[bytes]:
    for data in samples.submissions()[1:]:
        root = parse_xml(data)
        root.remove(root[-1])
        yield serialize_element(root)


def _only_originals(data: bytes, rng: Random) -> bytes:
    return _SIGNED(data, rng).replace(b"<Function>35<", b"<Function>9<")


_SIGNED = document_signer(signer("broker1"), NOW, 0.1)


def _notice(data: bytes) -> object:
    name, _, document = data.partition(b"\n")
    root, known = parse_xml(document), samples.bundle()
    about = known.documents.get(name.decode("utf-8", "replace"))
    facts = read_notice(root, known.notices, about)
    if about is None:
        about = find_document_mapping(facts.find_value("document_type"), known.documents.values())
        facts = read_notice(root, known.notices, about)
    places = [place for _, place in list_error_places(facts)]
    return [(one.name, one.value, one.xpath) for one in facts.facts], places


def _mutate_notice(data: bytes, rng: Random) -> bytes:
    name, _, document = data.partition(b"\n")
    if rng.random() < 0.05:
        name = rng.choice([b"", *(one.encode() for one in samples.bundle().documents)])
    return name + b"\n" + mutate_xml(document, rng)


@cache
def _called() -> Any:
    agreed = load_contract("agency-template.wsdl")
    body = etree.fromstring(f'<D xmlns="{_DOCUMENT}"/>')
    arguments = {"ApplicationNumber": "A-1", "CaseNumber": "C-1"}
    stored = agreed.compose_envelope(
        ServiceCall("SubmitApplication", "urn:uuid:call", "https://agency.example/soap", arguments, body)
    )
    return agreed, sign_call(stored, agreed, signer("hub"), NOW)


def _judge_agency(certificate: Certificate, _now: datetime) -> None:
    if certificate.sha256 != signer("agency").certificate.sha256:
        raise GatewayError(SIGNER_MISMATCH, "not the agency")


def _answer(data: bytes) -> object:
    headers, body = read_post(data)
    status = headers.pop("Status", "200")
    number = int(status) if status.isascii() and status.isdigit() and len(status) < 4 else 200
    agreed, call = _called()
    answer = HttpAnswer(number, {name.lower(): value for name, value in headers.items()}, body)
    said = open_signed_answer(answer, call, agreed, AnswerPolicy(_judge_agency), NOW)[0]
    if isinstance(said, Notice):
        header = CaseHeader("2026-0000001", "R-1", NOW)
        _tellable(make_notice_document(header, RequestState("A1", "TINY", "ORG", "DECIDED"), said))
    return said


def _answers() -> Iterable[bytes]:
    kind = "text/xml; charset=utf-8"
    for content in (_ACKNOWLEDGED, _NOTICE):
        name = "SubmitApplicationResponse"
        values = AddressingHeaders(f"{AGENCY}:{name}", "urn:uuid:answer", None, "urn:uuid:call")
        root = envelope(wrapper(AGENCY, name, content), values)
        yield write_post({"Status": "200", "Content-Type": kind}, _signed_by_agency(root))
    fault = write_fault_envelope(SoapFault("Client", "no"))
    yield write_post({"Status": "500", "Content-Type": kind}, fault)
    values = AddressingHeaders(f"{AGENCY}:Fault", "urn:uuid:answer", None, "urn:uuid:call")
    content = etree.fromstring(fault)[0][0]
    yield write_post({"Status": "500", "Content-Type": kind}, _signed_by_agency(envelope(content, values)))


def _signed_by_agency(root: etree._Element) -> bytes:
    sign_soap_envelope(root, signer("agency"), now=NOW)
    return serialize_element(root)


def _result(data: bytes) -> object:
    """Read what the hub tells an applicant, as the applicant's program does."""
    party = Party((PartyId("hub", "t"),), "Hub")
    message = UserMessage(
        message_id="m",
        conversation_id="c",
        sender=party,
        receiver=party,
        agreement="a",
        timestamp=NOW,
        service="s",
        action="Result",
        payloads=(Payload("p@x", "application/xml", data),),
    )
    identity = PartnerIdentity(
        "broker1", signer("broker1"), judge(), frozenset({signer("hub").certificate.sha256})
    )
    return sorted(read_hub_document(message, identity).items(), key=str)


def _results() -> Iterable[bytes]:
    header = CaseHeader("2026-0000001", "R-1", NOW)
    for state in ("ACKNOWLEDGED", "DECIDED"):
        root = make_notice_document(header, RequestState("A1", "TINY", "ORG", state), None)
        yield serialize_element(sign_document(root, signer("hub"), now=NOW))


TARGETS = (
    Target(
        "submission",
        "signed submissions from octets to prepared requests, by the hub's own intake",
        samples.submissions,
        _submission,
        _only_originals,
    ),
    Target(
        "split", "submissions read and split, whatever signature they bear", _unsigned, _split, mutate_xml
    ),
    Target("notice", "agencies' notices read by the mappings", samples.notices, _notice, _mutate_notice),
    Target(
        "answer",
        "what an agency's service answers; changed and signed again",
        _answers,
        _answer,
        mutate_post(request_signer(signer("agency"), NOW)),
    ),
    Target(
        "result",
        "the hub's results and notices, read by an applicant's program",
        _results,
        _result,
        document_signer(signer("hub"), NOW),
    ),
)
