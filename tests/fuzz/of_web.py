"""Targets: the two doors as WSGI applications: no traceback, no mistake of ours, an answer in good form."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from http import HTTPStatus
from typing import Any

from lxml import etree

from gateway.cases import AgencyCallback
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub import receive_parcel
from gateway.pki import Certificate
from gateway.protocols import PROTOCOLS
from gateway.store import NewSeenCall
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.web.soap_security import Caller, SoapSecurityPolicy
from gateway.web.wsgi_application import build_wsgi_application
from gateway.wire import SERVICE_AGENCY, AddressingHeaders, parse_xml, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.fuzz import samples
from tests.fuzz.hubs import whole
from tests.fuzz.identities import NOW, signer
from tests.fuzz.of_messages import parcel_of
from tests.fuzz.posts import mutate_post, read_post, write_post
from tests.fuzz.resigning import message_signer, request_signer
from tests.fuzz.target import BrokenPromiseError, Target, promise
from tests.kit.house import Clock, Neighbour
from tests.kit.soap import envelope, wrapper

__all__ = [
    "TARGETS",
    "Forgetful",
    "application",
    "call_soap",
    "check_shows_nothing",
    "posts_of_a_broker",
    "send_post",
]

_LEAKS = (b"Traceback", b'File "/', b".py:", b"site-packages", b"sqlite3", b"sqlalchemy")
_LIMIT = 1 << 20
_CALLS = {
    "Acknowledge": "<ApplicationNumber>A-1</ApplicationNumber><ReceiptNumber>R  1</ReceiptNumber>",
    "RequestInformation": """<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>N-1</NoticeNumber>
<IssuedAt>2026-11-20T18:00:00+09:00</IssuedAt><Pointer>42A/67A[1]</Pointer>
<Text> 성분표를 내십시오 </Text><Deadline>2026-12-01T00:00:00.5Z</Deadline>""",
    "SubmitDecision": """<ApplicationNumber>A-1</ApplicationNumber><NoticeNumber>N-2</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>R01</StatusCode><Decision><item>1</item><law>01</law>
<decision>APPROVED</decision><number>P  1</number><date>2026-11-20</date><quantity>10.500</quantity>
<unit>KGM</unit><condition>keep  dry</condition></Decision>""",
    "DeliverNotice": """<Document><Response xmlns="urn:single-window:document:govcbrasd:1">
<TypeCode>GOVCBRASD</TypeCode><Declaration><TypeCode>GOVCBRFR2</TypeCode><ID>A26000001001N</ID></Declaration><ID>N-3</ID>
<IssueDateTime>20261120180000</IssueDateTime><AdditionalInformation><StatementTypeCode>G04</StatementTypeCode>
</AdditionalInformation></Response></Document>""",
}


class _Mistakes(logging.Handler):
    """Keeps what the guard writes to the log when a mistake of ours was caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []
        logging.getLogger("gateway.web.soap_security").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@cache
def _mistakes() -> _Mistakes:
    return _Mistakes()


def check_shows_nothing(answer: bytes) -> None:
    """An answer shows nothing of the inside, and owns no mistake of ours."""
    promise(not any(leak in answer for leak in _LEAKS), "an answer shows the inside")
    promise(b"GW901" not in answer, "an answer owns a mistake of ours")


def send_post(application: Any, path: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """POST what `data` says; the answer must be one that HTTP allows and that shows nothing of the inside."""
    headers, body = read_post(data)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "hub.example",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": headers.pop("Content-Length", str(len(body))),
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    started: list[Any] = []
    answer = b"".join(application(environ, lambda *line: started.append(line)))
    [(status, fields)] = started
    number, told = int(status[:3]), dict(fields)
    promise(status == f"{number} {HTTPStatus(number).phrase}", "an odd status line")
    promise(told["Content-Length"] == str(len(answer)), "a wrong Content-Length")
    check_shows_nothing(answer)
    return number, told, answer


@cache
def _agency_application() -> Any:
    hub = whole().hub
    return build_agency_service(
        partial(apply_agency_call, hub, {}), replace(build_soap_security(hub), memory=Forgetful())
    )


def _decided(data: bytes) -> object:
    """Call the hub about an application that it has; what it then knows is undone before the next call."""
    with whole().undone():
        return call_soap(_agency_application(), data), whole().known()


class Forgetful:
    """A memory without memory, so that the same octets are taken twice."""

    def admit_call(self, call: NewSeenCall, now: datetime) -> AbstractContextManager[None]:
        del call, now
        return nullcontext()


def _write_call(call: AgencyCallback | etree._Element, _caller: Caller) -> None:
    """Write down what an agency says: there must be a text of it."""
    if isinstance(call, AgencyCallback):
        repr(call).encode()
    else:
        serialize_element(call)


def _admit(certificate: Certificate, _now: datetime) -> str:
    if certificate.sha256 != signer("agency").certificate.sha256:
        raise GatewayError(SIGNER_MISMATCH, "not the agency")
    return "agency"


@cache
def _soap_application() -> Any:
    security = SoapSecurityPolicy(
        signer=lambda: signer("hub"),
        admit=_admit,
        clock=lambda: NOW,
        new_id=lambda: "urn:uuid:answer",
        memory=Forgetful(),
        addresses=("https://hub.example/soap/agency",),
    )
    return build_agency_service(_write_call, security)


def _soap(data: bytes) -> object:
    return call_soap(_soap_application(), data)


def call_soap(application: Any, data: bytes, path: str = "/soap/agency") -> object:
    """Call a SOAP service; its answer must be XML, and nothing in its log a mistake of ours."""
    log = _mistakes().said
    log.clear()
    try:
        status, _, body = send_post(application, path, data)
    except BrokenPromiseError as broken:
        raise BrokenPromiseError(f"{broken} {' '.join(log)}") from broken
    promise(not log, f"caught: {' '.join(log)}")
    root = parse_xml(body)
    faults = [one.text for one in root.iter("faultcode", "faultstring")]
    return status, faults


def _calls() -> Iterable[bytes]:
    for operation, content in _CALLS.items():
        values = AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", "urn:uuid:call-1")
        root = envelope(wrapper(SERVICE_AGENCY, operation, content), values)
        sign_soap_envelope(root, signer("agency"), now=NOW)
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{SERVICE_AGENCY}:{operation}"'}
        yield write_post(headers, serialize_element(root))


@cache
def application() -> Any:
    return build_wsgi_application(whole().hub, _LIMIT)


def _msh(data: bytes) -> object:
    try:
        status, headers, body = send_post(application(), "/msh/ebms2", data)
    except BrokenPromiseError:
        receive_parcel(
            whole().hub, PROTOCOLS["ebms2"], parcel_of(data)
        )  # tells what the application has caught
        raise
    if status != 204 and "xml" in headers.get("Content-Type", ""):
        root = parse_xml(body)
        codes = sorted(
            {value for one in root.iter() for name, value in one.attrib.items() if "errorCode" in name}
        )
        return status, codes
    return "silence"


def posts_of_a_broker() -> dict[str, list[bytes]]:
    """Return honest posts by the path that takes them."""
    return {"/msh/ebms2": list(_filed()), "/soap/agency": list(_calls())}


def _filed() -> Iterable[bytes]:
    """Return what broker1 may send to this hub by its agreement."""
    broker = Neighbour("broker1", Clock(NOW))
    made = replace(broker.context(), signers={"broker1": signer("broker1")})
    for action in ("Store", "Submit"):
        unit = broker.message(action, b"<a/>")
        modes = [one for one in made.agreements.pmodes if one.action == action]
        yield samples.post_of(PROTOCOLS["ebms2"].seal((unit,), modes[0], made))


TARGETS = (
    Target(
        "soap-door",
        "/soap/agency: guard, Spyne and back; calls changed and signed again",
        _calls,
        _soap,
        mutate_post(request_signer(signer("agency"), NOW)),
    ),
    Target(
        "agency-door",
        "the same in front of a hub with a case: what an agency says is weighed, stored and concluded",
        _calls,
        _decided,
        mutate_post(request_signer(signer("agency"), NOW)),
    ),
    Target(
        "msh-door",
        "/msh/ebms2: a hub with its database; messages changed and signed again",
        _filed,
        _msh,
        mutate_post(message_signer(signer("broker1"))),
    ),
)
