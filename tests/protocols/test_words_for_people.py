"""What a partner says to people, in an error or beside a payload, never decides whether it is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from lxml import etree

from gateway.agreements import PModeIndex
from gateway.errors import GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, MemoryBody, Party, Unit
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, as4, ebms2, make_refusal_error
from gateway.protocols.as4.message_sealing import write_as4_envelope
from gateway.wire import EB, EB3, SOAP11, SOAP12, XML
from gateway.xmlsec import SigningToken, write_swa_security
from tests.protocols import as4_samples, sample_parties

LANG = f"{{{XML}}}lang"
FAULT12 = (
    f'<soap12:Fault xmlns:soap12="{SOAP12}"><soap12:Code><soap12:Value>soap12:Receiver</soap12:Value>'
    '</soap12:Code><soap12:Reason><soap12:Text xml:lang="en">See the header.</soap12:Text></soap12:Reason>'
    "</soap12:Fault>"
)
FAULT11 = (
    f'<s:Fault xmlns:s="{SOAP11}"><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>'
)
AGREED = sample_parties.pmode(**as4_samples.TERMS)
ENTRY = ErrorEntry(
    "EBMS:0003", "Error", "No matching party", "Some words.",
    category="Content", origin="ebMS", title="ValueInconsistent",
)  # fmt: skip


def make_context() -> ProtocolContext:
    return replace(sample_parties.context(), agreements=PModeIndex((AGREED,)))


def make_error(**changes: str) -> ErrorSignal:
    return ErrorSignal(
        **as4_samples.SIGNAL,  # type: ignore[arg-type]
        message_id="e-1@hub.example",
        ref_to_message_id="m-1@broker.example",
        errors=(replace(ENTRY, **changes),),  # type: ignore[arg-type]
    )


def open_error(parcel: Parcel) -> OpenedMessage:
    return as4.open_units(parcel, make_context(), SentUnit(as4_samples.message()))


def tell_refusal(opened: OpenedMessage) -> GatewayError:
    assert isinstance(opened.unit, ErrorSignal)
    problem = make_refusal_error(opened.unit)
    assert problem is not None
    return problem


def write_error(change: Callable[[etree._Element], object]) -> Parcel:
    """Return an error of AS4 about the sample message, which nobody signed, with a changed envelope."""
    nobody = replace(make_error(), sender=Party(()))
    parcel = as4_samples.seal(nobody)
    root = as4_samples.read_root(parcel)
    change(root)
    return Parcel(dict(parcel.headers), MemoryBody(etree.tostring(root)))


def put_fault(root: etree._Element) -> None:
    as4_samples.find(root, "soap12:Body").append(etree.fromstring(FAULT12))


def change_description(**attributes: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = as4_samples.find(root, ".//eb3:Description")
        found.attrib.clear()
        found.attrib.update({LANG if name == "lang" else name: text for name, text in attributes.items()})

    return change


def write_words(name: str, text: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        as4_samples.find(root, f".//eb3:{name}").text = text

    return change


def write_title(text: str) -> Callable[[etree._Element], None]:
    return lambda root: as4_samples.find(root, ".//eb3:Error").set("shortDescription", text)


def repeat_description(root: etree._Element) -> None:
    found = as4_samples.find(root, ".//eb3:Description")
    found.addnext(etree.fromstring(f'<e:Description xmlns:e="{EB3}" xml:lang="ko">말</e:Description>'))


def put_markup(root: etree._Element) -> None:
    as4_samples.find(root, ".//eb3:ErrorDetail").append(etree.fromstring("<b>bold</b>"))


CHANGES: dict[str, Callable[[etree._Element], object]] = {
    "a Fault in the Body": put_fault,
    "an empty language": change_description(lang=""),
    "no language": change_description(),
    "another attribute": change_description(lang="en", other="x"),
    "an empty description": write_words("Description", ""),
    "an empty detail": write_words("ErrorDetail", ""),
    "a detail of lines": write_words("ErrorDetail", "at a.b.C\n\tat a.b.D\n"),
    "a long detail": write_words("ErrorDetail", "x" * 100_000),
    "a long description": write_words("Description", "x" * 100_000),
    "an empty title": write_title(""),
    "a long title": write_title("x" * 5000),
    "a padded title": write_title(" words "),
    "two languages": repeat_description,
    "elements in the detail": put_markup,
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_error_of_as4_is_read_whatever_its_words(name: str) -> None:
    opened = open_error(write_error(CHANGES[name]))
    assert isinstance(opened.unit, ErrorSignal)
    assert [(one.code, one.severity) for one in opened.unit.errors] == [("EBMS:0003", "Error")]
    problem = tell_refusal(opened)
    assert problem.problem.id == "GW602"
    assert problem.theirs.startswith("EBMS:0003: ")
    assert len(problem.theirs) < 500
    assert len(str(problem)) < 800
    assert problem.theirs.isprintable()


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({}, "EBMS:0003: Some words.: No matching party"),
        ({"location": "at a.b.C\n\tat a.b.D\n"}, "EBMS:0003: Some words.: at a.b.C  at a.b.D"),
        ({"description": "", "location": ""}, "EBMS:0003: ValueInconsistent"),
        ({"location": "x" * 5000}, "EBMS:0003: Some words.: " + "x" * 200),
    ],
)
def test_a_signed_error_is_read_and_told_whatever_its_words(changes: dict[str, str], theirs: str) -> None:
    parcel = as4.seal((make_error(**changes),), AGREED, make_context())
    opened = open_error(parcel)
    assert opened.verified_signature is not None
    assert tell_refusal(opened).theirs == theirs


def test_a_signed_error_beside_a_signed_fault_is_read() -> None:
    written = write_as4_envelope(make_error(), is_compressed=False, bundled_units=())
    inside = FAULT12.replace(f' xmlns:soap12="{SOAP12}"', "")
    envelope = replace(written, body=written.body.replace("></soap12:Body>", f">{inside}</soap12:Body>"))
    assert inside in envelope.body
    security = write_swa_security(
        {envelope.messaging_id: envelope.messaging.encode(), envelope.body_id: envelope.body.encode()},
        {},
        sample_parties.context().signers["hub"],
        SigningToken("token-1"),
        "",
    )
    headers = as4_samples.seal(make_error()).headers
    opened = open_error(Parcel(headers, MemoryBody(envelope.with_security(security.text))))
    assert opened.verified_signature is not None
    assert tell_refusal(opened).theirs == "EBMS:0003: Some words.: No matching party"


def test_a_fault_beside_a_receipt_is_a_fault() -> None:
    parcel = as4_samples.change_tree(as4_samples.seal(as4_samples.RECEIPT), put_fault)
    with pytest.raises(GatewayError, match="GW603 SOAP Fault Server"):
        open_error(parcel)


def test_content_beside_what_is_no_error_is_refused() -> None:
    parcel = as4_samples.change_tree(
        as4_samples.seal(as4_samples.RECEIPT),
        lambda root: as4_samples.find(root, "soap12:Body").append(etree.fromstring("<a/>")),
    )
    with pytest.raises(GatewayError, match="GW311 a payload in the SOAP Body"):
        open_error(parcel)


def write_error_list(description: str, *, fault: bool = False, header: str = "") -> Parcel:
    """Return a MessageError of ebMS 2.0 about the sample message, which nobody signed."""
    unit: Unit = ErrorSignal(
        "e-1@hub.example",
        "c-1",
        sample_parties.FROM_HUB,
        sample_parties.FROM_BROKER,
        sample_parties.message().agreement,
        sample_parties.NOW,
        ref_to_message_id=sample_parties.message().message_id,
        errors=(ErrorEntry("Inconsistent", "Error", "", "words"),),
    )
    parcel = ebms2.seal((unit,), None, sample_parties.context())
    text = re.sub(r"<eb:Description.*?</eb:Description>", description, parcel.read_octets().decode())
    text = text.replace("</eb:MessageHeader>", f"{header}</eb:MessageHeader>")
    if fault:
        text = re.sub(r"<soap:Body\s*/>|<soap:Body></soap:Body>", f"<soap:Body>{FAULT11}</soap:Body>", text)
        assert FAULT11 in text
    return Parcel(dict(parcel.headers), MemoryBody(text.encode()))


@pytest.mark.parametrize(
    "description",
    [
        "",
        "<eb:Description/>",
        '<eb:Description xml:lang="">words</eb:Description>',
        '<eb:Description lang="en">a\n\tb\n</eb:Description>',
        f'<eb:Description xml:lang="en">{"x" * 100_000}</eb:Description>',
        '<eb:Description xml:lang="en"><b xmlns="">words</b></eb:Description>',
        '<eb:Description xml:lang="en">a</eb:Description><eb:Description xml:lang="ko">b</eb:Description>',
    ],
)
@pytest.mark.parametrize("fault", [False, True])
def test_an_error_of_ebms_2_is_read_whatever_its_words(description: str, fault: bool) -> None:
    parcel = write_error_list(description, fault=fault, header=description)
    problem = tell_refusal(
        ebms2.open_units(parcel, sample_parties.context(), SentUnit(sample_parties.message()))
    )
    assert (problem.problem.id, problem.theirs[:12]) == ("GW602", "Inconsistent")
    assert len(problem.theirs) < 500


@pytest.mark.parametrize("place", ["eb:Error", "eb:ErrorList"])
def test_an_error_of_ebms_2_is_read_beside_elements_of_others(place: str) -> None:
    """The schema lets a product add its own, such as a trace; none of ebMS 2.0 may stand there."""

    def add(element: str) -> Parcel:
        parcel = write_error_list('<eb:Description xml:lang="en">words</eb:Description>')
        text = parcel.read_octets().decode().replace(f"</{place}>", f"{element}</{place}>")
        return Parcel(dict(parcel.headers), MemoryBody(text.encode()))

    sent = SentUnit(sample_parties.message())
    trace = '<v:Trace xmlns:v="urn:vendor">at a.b.C</v:Trace>'
    opened = ebms2.open_units(add(trace + trace), sample_parties.context(), sent)
    assert tell_refusal(opened).theirs == "Inconsistent: words"
    for wrong in ("<eb:Service>x</eb:Service>", '<a xmlns="">x</a>', trace + "<eb:Service>x</eb:Service>"):
        with pytest.raises(GatewayError, match="GW107"):
            ebms2.open_units(add(wrong), sample_parties.context(), sent)


def test_words_that_no_signature_covers_are_not_told() -> None:
    """The signature of ebMS 2.0 leaves out what is for the next handler, and all inside it."""
    hidden = f'soap:actor="urn:oasis:names:tc:ebxml-msg:actor:nextMSH" xmlns:eb="{EB}"'
    parcel = write_error_list(
        f'<eb:Description {hidden} xml:lang="en">forged</eb:Description>'
        f'<eb:Description xml:lang="en">a<b xmlns="" {hidden}>forged</b>b</eb:Description>'
    )
    unit = ebms2.open_units(parcel, sample_parties.context(), SentUnit(sample_parties.message())).unit
    assert isinstance(unit, ErrorSignal)
    assert unit.errors[0].description == "a b"
