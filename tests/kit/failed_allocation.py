"""Runs a piece of work again and again, and lets one allocation of libxml2 fail each time, at another point.

``python -m tests.kit.failed_allocation WORK STEP`` must run with the library of ``failed_allocation.c``
preloaded. It writes a line of JSON: how often each outcome came. Each turn is a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from gateway.delivery import ServiceCall, load_contract
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import AnswerPolicy, SignedCall, open_signed_answer, sign_call
from gateway.errors import GatewayError, find_resource_problem
from gateway.protocols import PROTOCOLS, Parcel, ProtocolContext
from gateway.protocols.known_envelopes.message_opener import KnownEnvelopes
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import STRICT, sign_document, verify_document, verify_soap_envelope
from gateway_conformance import DATA_FOLDER
from tests.kit import soap
from tests.kit.known_messages import describe
from tests.protocols import as4_samples, sample_parties

SOURCE = Path(__file__).with_suffix(".c")
_CONTRACT = load_contract("agency-template.wsdl")
_SAMPLE = DATA_FOLDER.joinpath("samples", "import-three-items.xml")


@dataclass(frozen=True)
class Work:
    """A piece of work, and what raises for a wrong outcome, when memory is there again."""

    perform: Callable[[], object]
    check: Callable[[object, object], None]


def _be_equal(made: object, right: object) -> None:
    assert made == right


def _receive(protocol: str, parcel: Parcel, context: ProtocolContext) -> Work:
    core = PROTOCOLS[protocol]

    def perform() -> tuple[object, Parcel | None]:
        opened = KnownEnvelopes().open_units(core, parcel, context)
        return describe(opened), core.seal((core.make_receipt(opened, context),), opened.pmode, context)

    def check(made: object, right: object) -> None:
        assert isinstance(made, tuple)
        assert isinstance(right, tuple)
        assert repr(made[0]) == repr(right[0])
        core.verify_parcel(made[1], "strict", sample_parties.context())

    return Work(perform, check)


def _receive_ebms2() -> Work:
    context = sample_parties.context()
    parcel = PROTOCOLS["ebms2"].seal((sample_parties.message(),), sample_parties.SUBMIT, context)
    assert parcel is not None
    return _receive("ebms2", parcel, context)


def _receive_as4() -> Work:
    agreed = sample_parties.PModeIndex((sample_parties.pmode("as4", **as4_samples.TERMS),), epoch=1)
    return _receive("as4", as4_samples.seal(), sample_parties.context(agreements=agreed))


def _compose_call() -> bytes:
    said = {"ApplicationNumber": "A-1", "CaseNumber": "C-1"}
    document = etree.fromstring(f'<D xmlns="{soap.DOCUMENT}"/>')
    return _CONTRACT.compose_envelope(
        ServiceCall("SubmitApplication", "urn:uuid:call", soap.ENDPOINT, said, document)
    )


def _sign(stored: bytes) -> SignedCall:
    return sign_call(stored, _CONTRACT, soap.signer("hub"), soap.NOW)


def _sign_call() -> Work:
    def check(made: object, right: object) -> None:
        assert isinstance(made, bytes)
        verify_soap_envelope(parse_xml(made), STRICT, now=soap.NOW)

    stored = _compose_call()
    return Work(lambda: _sign(stored).body, check)


def _read_answer() -> Work:
    call = _sign(_compose_call())
    body = soap.agency_answer(call.message_id)
    answer = HttpAnswer(200, {"content-type": "text/xml; charset=utf-8"}, body)
    rules = AnswerPolicy(soap.judge_agency)
    return Work(lambda: open_signed_answer(answer, call, _CONTRACT, rules, soap.NOW)[0], _be_equal)


def _sign_document() -> Work:
    octets = _SAMPLE.read_bytes()

    def perform() -> bytes:
        return serialize_element(sign_document(etree.fromstring(octets), soap.signer("hub"), now=soap.NOW))

    def check(made: object, right: object) -> None:
        assert isinstance(made, bytes)
        verify_document(parse_xml(made))

    return Work(perform, check)


WORKS = {
    "receive-ebms2": _receive_ebms2,
    "receive-as4": _receive_as4,
    "read-answer": _read_answer,
    "sign-call": _sign_call,
    "sign-document": _sign_document,
}


def main() -> None:
    """Print the outcomes of the work that the command names."""
    work = WORKS[sys.argv[1]]()
    preloaded = ctypes.CDLL(None)
    preloaded.fail_once.argtypes = (ctypes.c_ulong, ctypes.c_ulong, ctypes.c_long)
    preloaded.count_calls.restype = ctypes.c_long
    places = [
        line.split("-", 1)
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "lxml/etree" in line
    ]
    start = min(int(first, 16) for first, _ in places)
    end = max(int(rest.split()[0], 16) for _, rest in places)
    right = work.perform()
    work.check(work.perform(), right)
    preloaded.fail_once(start, end, -1)
    work.perform()
    points = preloaded.count_calls()
    outcomes: Counter[str] = Counter()
    for number in range(0, points, int(sys.argv[2])):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            preloaded.fail_once(start, end, number)
            outcome = _try_work(work, right, lambda: preloaded.fail_once(0, 0, -1))
            os.write(theirs, outcome.encode()[:4000])
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as told:
            outcomes[told.read().decode() or "the process died"] += 1
        os.waitpid(child, 0)
    print(json.dumps({"points": points, "outcomes": outcomes}))


def _try_work(work: Work, right: object, restore: Callable[[], None]) -> str:
    try:
        made = work.perform()
    except Exception as error:
        restore()
        if find_resource_problem(error) is not None:
            return "GW806"
        ours = not isinstance(error, GatewayError) or error.problem.ours
        return f"{'ours' if ours else 'refused'}: {error}"
    restore()
    try:
        work.check(made, right)
    except (AssertionError, GatewayError) as wrong:
        return f"wrong: {wrong}"
    return "right"


if __name__ == "__main__":
    main()
