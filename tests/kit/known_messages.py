"""What the tests open as a message or answer like one before is opened as an unknown one: both must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import ModuleType
from typing import Any

from gateway.conformance.partners import hub_documents, soap_endpoint
from gateway.delivery import soap_client
from gateway.delivery.http_client import HttpAnswer
from gateway.delivery.soap_client import AnswerPolicy, SignedAnswer, SignedCall, _find_known_answer
from gateway.errors import GatewayError
from gateway.message_model import Receipt, UserMessage, read_octets
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit
from gateway.protocols.as4 import known_messages as known_as4
from gateway.protocols.as4 import message_opening as as4_opening
from gateway.protocols.ebms2 import known_messages as known_ebms2
from gateway.protocols.ebms2 import message_opening as ebms2_opening
from gateway.protocols.known_soap import KnownSoap, SoapTerms, open_known_soap
from gateway.web import soap_security
from gateway.wire.addressing import AddressingHeaders, read_addressing
from gateway.wire.mime import RelatedParts
from gateway.wire.soap import read_envelope
from gateway.wire.xml import canonicalize_element, parse_xml
from gateway.xmlsec.wss import verify_soap_envelope
from gateway.xmlsec.xml_signature import VerifiedSignature

#: The last argument is what we sent on the connection, for a protocol whose receipts are opened so.
OpenKnown = Callable[..., OpenedMessage | None]


def describe(opened: OpenedMessage) -> dict[str, object]:
    """Return what a message says, what of it was signed by whom, and how its payloads came."""
    unit, signed = opened.unit, opened.signed
    assert isinstance(unit, UserMessage | Receipt)
    assert signed is not None
    payloads = unit.payloads if isinstance(unit, UserMessage) else ()
    return {
        "unit": replace(unit, payloads=()) if isinstance(unit, UserMessage) else unit,
        "payloads": [replace(one, octets=read_octets(one.octets)) for one in payloads],
        "beside": opened.units[1:],
        "signed": (signed.certificate, signed.references, signed.covered, signed.signature_algorithm),
        "excluded": (signed.excluded, signed.signing_time),
        "rest": (opened.pmode, opened.identity, opened.unwrapped, opened.onward, opened.fragment),
        "parcel": opened.parcel,
    }


def compare_with_whole(open_known: OpenKnown, opening: ModuleType) -> OpenKnown:
    """Return a function that opens as `open_known` does, and fails where a whole reading says otherwise."""

    def open_both_ways(
        related: RelatedParts, parcel: Parcel, context: ProtocolContext, *expecting: SentUnit | None
    ) -> OpenedMessage | None:
        opened = open_known(related, parcel, context, *expecting)
        if opened is not None:
            whole = (parcel, replace(context, envelopes=None), *expecting)
            assert describe(opened) == _describe_whole(opening, *whole)
        return opened

    return open_both_ways


def _describe_whole(opening: ModuleType, *words: Any) -> dict[str, object]:
    opened: OpenedMessage = _read_whole(opening.open, *words)
    return describe(opened)


def _read_whole(read: Callable[..., Any], *words: Any, **more: Any) -> Any:
    """Return what a whole reading finds; a refusal is a mistake of the other way, and is told as one."""
    try:
        return read(*words, **more)
    except GatewayError as refused:
        raise AssertionError(f"opened by its envelope, and refused as a whole: {refused}") from refused


def compare_answer_with_whole(
    answer: HttpAnswer, call: SignedCall, rules: AnswerPolicy, *more: Any
) -> SignedAnswer | None:
    """Return an answer as `_find_known_answer` does; fail where a whole reading says otherwise."""
    found = _find_known_answer(answer, call, rules, *more)
    if found is not None:
        whole = (answer, call, replace(rules, judge=lambda *_: None), more[0])
        assert _describe_answer(found) == _describe_answer(
            _read_whole(soap_client._open_whole_answer, *whole)
        )
    return found


def _describe_answer(answer: SignedAnswer) -> list[object]:
    content = [canonicalize_element(one, exclusive=True) for one in answer.content]
    return [answer.certificate, answer.action, answer.relates_to, content]


#: Reads the envelope of a call as a whole; raises GatewayError for one that is refused.
ReadCall = Callable[[bytes, SoapTerms], tuple[Any, AddressingHeaders]]


def compare_call_with_whole(read_call: ReadCall) -> Callable[..., KnownSoap | None]:
    """Return a function that opens as `open_known_soap` does, and fails where `read_call` says otherwise."""

    def open_both_ways(
        kind: Any, document: bytes, terms: SoapTerms, now: datetime, memory: Any
    ) -> KnownSoap | None:
        known = open_known_soap(kind, document, terms, now, memory)
        if known is not None:
            root, addressing = _read_whole(read_call, document, terms)
            how = {"now": now, "window": terms.window, "limits": terms.limits}
            signed = _read_whole(verify_soap_envelope, root, terms.policy, **how)
            assert known.addressing == addressing
            assert _describe_signed(known.signature, known.root) == _describe_signed(signed, root)
        return known

    return open_both_ways


def _read_answer(document: bytes, terms: SoapTerms) -> tuple[Any, AddressingHeaders]:
    envelope = read_envelope(parse_xml(document, terms.limits))
    assert envelope.header is not None
    return envelope.root, read_addressing(envelope.header)


def _describe_signed(signed: VerifiedSignature, root: Any) -> list[object]:
    content = [canonicalize_element(one, exclusive=True) for one in root[-1]]
    return [signed.certificate, signed.references, signed.signature_algorithm, root.nsmap, content]


def install_comparison() -> None:
    """Compare from now on in this process."""
    as4_opening.open_known_message = compare_with_whole(known_as4.open_known_message, as4_opening)
    ebms2_opening.open_known_message = compare_with_whole(known_ebms2.open_known_message, ebms2_opening)
    soap_client._find_known_answer = compare_answer_with_whole
    soap_security.open_known_soap = compare_call_with_whole(
        lambda document, terms: soap_security._read_call(document, terms.limits)
    )
    soap_endpoint.open_known_soap = compare_call_with_whole(
        lambda document, _: soap_endpoint._read_call(document)
    )
    hub_documents.open_known_soap = compare_call_with_whole(_read_answer)
