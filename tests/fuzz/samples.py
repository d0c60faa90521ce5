"""The honest octets that fuzzing begins with; made of fixed keys, so the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from lxml import etree

from gateway.harmonize import MappingBundle, draw_notice, load_bundle
from gateway.message_model import DigestReference, ErrorEntry, ErrorSignal, Ping, Receipt, StatusRequest, Unit
from gateway.pki import Keyring
from gateway.protocols import Parcel, ProtocolContext, ebms2
from gateway.share import get_data_folder
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document, sign_soap_envelope
from gateway_conformance import DATA_FOLDER
from tests.fuzz.identities import NOW, judge, signer
from tests.fuzz.posts import write_post
from tests.protocols import sample_parties
from tests.xmlsec import sample_messages as unsigned

__all__ = [
    "bundle",
    "context",
    "documents",
    "envelopes",
    "messages",
    "notices",
    "pointed",
    "post_of",
    "posts",
    "requests",
    "signed_documents",
    "stored",
    "submissions",
    "units",
]

PARTIES = ("broker1", "hub", "broker2")
_SAMPLE = "import-three-items.xml"


@cache
def _keyring() -> Keyring:
    return Keyring({name: signer(name) for name in PARTIES})


@cache
def _judge() -> object:
    return judge()


def context(**changes: object) -> ProtocolContext:
    """Return what a core may ask of a world of fixed keys; every new id is the same."""
    names = {signer(name).certificate.sha256: name for name in PARTIES}
    base = sample_parties.context(
        signers=_keyring(),
        validate_certificate=_judge(),
        find_certificate_party=names.get,
        make_message_id=lambda: "m@gateway.example",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def units() -> tuple[Unit, ...]:
    """Return a unit of each kind that a broker may send, and business messages of several P-Modes."""
    good = sample_parties.message()
    common = {
        "conversation_id": "c-1",
        "sender": sample_parties.FROM_BROKER,
        "receiver": sample_parties.FROM_HUB,
        "agreement": "agreement-1",
        "timestamp": NOW,
    }
    reference = DigestReference("", "http://www.w3.org/2001/04/xmlenc#sha256", hashlib.sha256(b"").digest())
    error = ErrorEntry("Inconsistent", "Error", "/soap:Envelope", "words")
    return (
        good,
        replace(good, action="Loose", sync_reply=False, ack_requested=None, payloads=good.payloads[:1]),
        replace(good, action="Exact", sync_reply=False, payloads=()),
        Ping(message_id="p-1@broker.example", **common),  # type: ignore[arg-type]
        StatusRequest(message_id="s-1@broker.example", queried_message_id="m-1@x", **common),  # type: ignore[arg-type]
        Receipt(
            message_id="r-1@broker.example",
            ref_to_message_id="m-2@gateway.example",
            received_at=NOW,
            references=(reference,),
            **common,  # type: ignore[arg-type]
        ),
        ErrorSignal(message_id="e-1@broker.example", ref_to_message_id="m-2@x", errors=(error,), **common),  # type: ignore[arg-type]
    )


def post_of(parcel: Parcel) -> bytes:
    headers = {name: value for name, value in parcel.headers.items() if name.lower() != "content-length"}
    return write_post({"SOAPAction": '"ebXML"', **headers}, sample_parties.octets(parcel))


@cache
def messages() -> tuple[bytes, ...]:
    """Return signed ebMS 2.0 messages as posts."""
    modes = {"Submit": sample_parties.SUBMIT, "Loose": sample_parties.LOOSE, "Exact": sample_parties.EXACT}
    made = context()
    return tuple(
        post_of(ebms2.seal((unit,), modes.get(getattr(unit, "action", ""), sample_parties.SUBMIT), made))
        for unit in units()
    )


@cache
def requests() -> tuple[bytes, ...]:
    """Return SOAP requests, signed by an agency."""
    found = []
    for top in ("", ' xmlns="urn:unused" xml:lang="en"'):
        root = unsigned.request(top)
        sign_soap_envelope(root, signer("agency"), now=NOW)
        found.append(serialize_element(root))
    return tuple(found)


@cache
def signed_documents() -> tuple[bytes, ...]:
    """Return documents with a XAdES signature of broker1."""
    trees = [unsigned.document(), unsigned.document("root")]
    return tuple(serialize_element(sign_document(root, signer("broker1"), now=NOW)) for root in trees)


@cache
def submissions() -> tuple[bytes, ...]:
    """Return submissions signed by broker1: the shipped one, and smaller ones for one application each."""
    sample = DATA_FOLDER.joinpath("samples", _SAMPLE).read_bytes()
    found = []
    for kept in (None, 0, 1, 2):
        root = etree.fromstring(sample, etree.XMLParser(remove_blank_text=kept is not None))
        applications = root.findall("{*}Application")
        for place, one in enumerate(applications):
            if kept is not None and place != kept:
                root.remove(one)
        found.append(
            serialize_element(sign_document(parse_xml(serialize_element(root)), signer("broker1"), now=NOW))
        )
    return tuple(found)


@cache
def bundle() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@cache
def notices() -> tuple[bytes, ...]:
    """Return a notice of each kind, about each document that it may answer, drawn from the mappings."""
    found, known = [], bundle()
    for notice in known.notices.notices.values():
        answered = [one for one in known.documents.values() if one.accepted_notices.allows_notice(notice)]
        for document in (None, *answered[:2]):
            for seed in ("1", "2"):
                root, _ = draw_notice(notice, known.notices, seed, document)
                found.append(f"{document.id if document else ''}\n".encode() + serialize_element(root))
    return tuple(found)


def posts() -> Iterable[bytes]:
    """Return messages, and bare XML, as HTTP brings them."""
    yield from messages()
    yield write_post({"Content-Type": "text/xml; charset=UTF-8"}, b"<a/>")
    coded = b"--b\r\nContent-Type: text/xml\r\n\r\n<a/>\r\n--b\r\nContent-ID: <x@y>\r\n"
    coded += b"Content-Transfer-Encoding: "
    for name, content in (
        (b"base64", b"QUJD\r\nREU="),
        (b"quoted-printable", b"a=3Db=\r\nc"),
        (b"7bit", b"abc"),
    ):
        kind = 'multipart/related; boundary="b"; type="text/xml"'
        yield write_post({"Content-Type": kind}, coded + name + b"\r\n\r\n" + content + b"\r\n--b--\r\n")


def stored() -> Iterable[bytes]:
    """Return HTTP messages as they are kept in files."""
    yield b"POST /msh HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: 4\r\n\r\n<a/>"
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<a/>\r\n0\r\nX: y\r\n\r\n"
    yield b"Content-Type: text/xml\n\n<a/>"
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n<a\r\n2\r\n/>\r\n0\r\n\r\n"


def envelopes() -> Iterable[bytes]:
    yield from requests()
    for post in messages():
        body = post.partition(b"\r\n\r\n")[2]
        start = body.find(b"<soap:Envelope")
        end = body.find(b"</soap:Envelope>")
        if start >= 0 <= end:
            yield body[start : end + len(b"</soap:Envelope>")]
    fault = b"<faultcode>soap:Client</faultcode><faultstring>no</faultstring><detail><x/></detail>"
    space = b"http://schemas.xmlsoap.org/soap/envelope/"
    yield (
        b'<soap:Envelope xmlns:soap="%s"><soap:Body><soap:Fault>%s</soap:Fault></soap:Body></soap:Envelope>'
        % (
            space,
            fault,
        )
    )


def documents() -> Iterable[bytes]:
    yield from signed_documents()
    yield from submissions()[1:2]
    odd = b"<b xmlns='' c='d'>e<!-- f --></b><g xmlns:h='urn:h' h:i='j'>&lt;&#xD;</g>"
    yield b"<a xmlns='urn:x' xml:lang='en'>" + odd + b"</a>"


def pointed() -> Iterable[bytes]:
    """Return documents with a pointer into each."""
    for document in submissions():
        yield b"42A/67A[1]/68A[2]/006\n" + document
        yield b"SUP/Declaration/GoodsShipment/ID[1][2]\n" + document
    yield b"APP[1]/@id\n" + submissions()[1]
