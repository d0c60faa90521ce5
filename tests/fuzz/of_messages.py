"""Targets: ebMS 2.0 messages and the three kinds of signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

from lxml import etree

from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Unit, UserMessage
from gateway.protocols import OpenedMessage, Parcel, ebms2
from gateway.wire import DS, SOAP11, WSA, canonicalize_document, canonicalize_element, parse_xml
from gateway.xmlsec import POLICIES, STRICT, verify_any_signature, verify_document, verify_soap_envelope
from tests.fuzz import samples
from tests.fuzz.identities import NOW, signer
from tests.fuzz.octets import either
from tests.fuzz.posts import UNSIGNABLE, mutate_post, read_post
from tests.fuzz.resigning import document_signer, message_signer, request_signer
from tests.fuzz.target import Target, promise
from tests.fuzz.trees import mutate_xml, parsed, written

__all__ = ["TARGETS"]

_LEAKS = (b"Traceback", b'File "/', b".py:")


def parcel_of(data: bytes) -> Parcel:
    headers, body = read_post(data)
    return Parcel(headers, MemoryBody(body))


def _open(data: bytes) -> object:
    """Open a message as the hub does, and answer it: by a receipt, or by the refusal."""
    parcel, context = parcel_of(data), samples.context()
    try:
        opened = ebms2.open_units(parcel, context)
    except GatewayError as refused:
        answer = ebms2.reject_parcel(refused, parcel, context)
        body = b"" if answer.parcel is None else _octets(answer.parcel)
        promise(not any(leak in body for leak in _LEAKS), "a refusal shows the inside")
        promise(answer.parcel is None or parse_xml(body) is not None, "a refusal is no XML")
        raise
    if isinstance(opened.unit, UserMessage) and opened.unit.ack_requested is not None:
        ebms2.seal((ebms2.make_receipt(opened, context),), opened.pmode, context)
    return [_said(unit) for unit in opened.units]


def _octets(parcel: Parcel) -> bytes:
    with parcel.body.open_stream() as stream:
        return stream.read()


def _said(unit: Unit) -> object:
    """Return what a unit says and its signature covers.

    ebMS 2.0 §4.1.3 leaves out who wants the answer at once, and of a payload its media type:
    the digest is of its content.
    """
    if isinstance(unit, UserMessage):
        payloads = tuple(replace(one, media_type="") for one in unit.payloads)
        return replace(unit, sync_reply=False, payloads=payloads)
    return replace(unit, sync_reply=False) if hasattr(unit, "sync_reply") else unit


@cache
def _honest() -> tuple[object, ...]:
    opened = [ebms2.open_units(parcel_of(post), samples.context()) for post in samples.messages()]
    return tuple(_said(one.unit) for one in opened if one.verified_signature is not None)


def _forge(data: bytes) -> object:
    """Nothing is believed under broker1's signature that broker1 did not sign, by any policy."""
    parcel, context = parcel_of(data), samples.context()
    found = [_believed(lambda: ebms2.open_units(parcel, context))]
    found += [_believed(lambda name=name: ebms2.verify_parcel(parcel, name, context)) for name in POLICIES]
    return found


def _believed(read: Callable[[], OpenedMessage]) -> str:
    try:
        opened = read()
    except GatewayError as refused:
        return refused.problem.id
    honest = opened.verified_signature is not None and opened.verified_signature.certificate.sha256 == _sha(
        "broker1"
    )
    if honest:
        promise(_said(opened.unit) in _honest(), "something is believed that nobody signed")
    return "believed" if honest else "not signed by broker1"


@cache
def _sha(name: str) -> str:
    return signer(name).certificate.sha256


def _request(data: bytes) -> object:
    root = parse_xml(data)
    signed = verify_soap_envelope(root, STRICT, now=NOW)
    said = _covered_request(root)
    if signed.certificate.sha256 == _sha("agency"):
        promise(said in _honest_requests(), "a request is believed that nobody signed")
    return said


def _covered_request(root: etree._Element) -> tuple[bytes, ...]:
    """Return what is read of a request: its Body and its addressing."""
    header, body = root.find(f"{{{SOAP11}}}Header"), root.find(f"{{{SOAP11}}}Body")
    assert header is not None
    assert body is not None
    blocks = [one for one in header if isinstance(one.tag, str) and one.tag.startswith(f"{{{WSA}}}")]
    return tuple(sorted(canonicalize_element(one, exclusive=True) for one in (body, *blocks)))


@cache
def _honest_requests() -> tuple[tuple[bytes, ...], ...]:
    return tuple(_covered_request(parse_xml(data)) for data in samples.requests())


def _document(data: bytes) -> object:
    root = parse_xml(data)
    signed = verify_document(root)
    said = _covered_document(root)
    if signed.certificate.sha256 == _sha("broker1"):
        promise(said in _honest_documents(), "a document is believed that nobody signed")
    return said


def _covered_document(root: etree._Element) -> bytes:
    return canonicalize_document(root, (root[-1],))


@cache
def _honest_documents() -> tuple[bytes, ...]:
    found = []
    for data in samples.signed_documents():
        root = parse_xml(data)
        etree.strip_tags(root, etree.Comment)
        found.append(_covered_document(root))
    return tuple(found)


def _judge(data: bytes) -> object:
    """Judge any signature: each policy says valid, invalid or refused, and never more than a laxer one."""
    root = parse_xml(data)
    said = {}
    for name, policy in POLICIES.items():
        judgement = verify_any_signature(root, {}, policy)
        promise(judgement.verdict != "valid" or bool(judgement.covered), "valid, and over nothing")
        said[name] = judgement.verdict, judgement.reason
    strict, lax = said["strict"][0], said["legacy-norway"][0]
    promise(strict != "valid" or lax == "valid", "strict takes what the lax policy does not")
    return sorted(said.items())


def _any_signed() -> list[bytes]:
    bare = [one for one in samples.envelopes() if DS.encode() in one]
    return [*samples.signed_documents(), *samples.requests(), *bare]


def _by_another(data: bytes, rng: Random) -> bytes:
    root = parsed(data)
    if root is None:
        return mutate_xml(data, rng)
    try:
        return written(request_signer(signer("other"), NOW)(root, {}, rng))
    except UNSIGNABLE:
        return mutate_xml(data, rng)


TARGETS = (
    Target(
        "ebms2",
        "messages from HTTP to receipt or refusal; changed and signed again",
        samples.messages,
        _open,
        mutate_post(message_signer(signer("broker1"))),
    ),
    Target(
        "ebms2-forged",
        "nothing is believed that broker1 did not sign; changed by who has another member's key",
        samples.messages,
        _forge,
        either((1, mutate_post()), (1, mutate_post(message_signer(signer("broker2"))))),
    ),
    Target(
        "wss-forged",
        "the same of SOAP requests of an agency",
        samples.requests,
        _request,
        either((1, mutate_xml), (1, _by_another)),
    ),
    Target(
        "xades-forged",
        "the same of signed documents",
        samples.signed_documents,
        _document,
        either((1, mutate_xml), (1, document_signer(signer("broker2"), NOW))),
    ),
    Target(
        "signature",
        "any XML signature, judged by every policy",
        _any_signed,
        _judge,
        either((1, mutate_xml), (1, _by_another)),
    ),
)
