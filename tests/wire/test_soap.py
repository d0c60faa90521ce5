"""Envelopes, mandatory header blocks, faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import (
    SOAP11,
    SOAP12,
    WSSE,
    SoapFault,
    check_must_understand,
    parse_xml,
    read_envelope,
    read_fault,
    write_fault_envelope,
)
from gateway.wire.header_fields import read_http_message
from gateway.wire.soap import SoapVersion, list_not_understood_blocks

NEXT11 = "http://schemas.xmlsoap.org/soap/actor/next"
NEXT12 = "http://www.w3.org/2003/05/soap-envelope/role/next"


def envelope(inner: str, namespace: str = SOAP11) -> etree._Element:
    return parse_xml(f"<s:Envelope xmlns:s='{namespace}' xmlns:x='urn:x'>{inner}</s:Envelope>".encode())


@pytest.mark.parametrize(("namespace", "version"), [(SOAP11, "1.1"), (SOAP12, "1.2")])
def test_both_versions_are_read(namespace: str, version: str) -> None:
    found = read_envelope(
        envelope("<s:Header><x:a/><!--c--><x:b/></s:Header>\n<s:Body><x:c/></s:Body>", namespace)
    )
    assert found.version == version
    assert [block.tag for block in found.header_blocks] == ["{urn:x}a", "{urn:x}b"]
    assert [element.tag for element in found.body_elements] == ["{urn:x}c"]


def test_the_header_may_be_absent() -> None:
    found = read_envelope(envelope("<s:Body/>"))
    assert found.header is None
    assert found.header_blocks == []
    assert found.body_elements == []


@pytest.mark.parametrize(
    "document",
    [
        b"<Envelope/>",
        b"<Envelope xmlns='urn:schemas-xmlsoap-org:soap.v1'/>",
        b"<s:Body xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'/>",
    ],
)
def test_other_roots_are_another_version(document: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_envelope(parse_xml(document))
    assert caught.value.problem.codes.soap == "VersionMismatch"


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<s:Header/>",
        "<s:Body/><s:Body/>",
        "<s:Body/><s:Header/>",
        "<s:Header/><s:Header/><s:Body/>",
        "<s:Header/><s:Body/><x:more/>",
        "<x:before/><s:Body/>",
        "<x:Header/><s:Body/>",
        "<s:Header/><x:Body/>",
        "<s:Header><s:Body/></s:Header><s:Body/>",
        "<s:Header><plain/></s:Header><s:Body/>",
    ],
)
def test_any_other_structure_is_refused(inner: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_envelope(envelope(inner))
    assert caught.value.problem.id == "GW107"
    assert caught.value.location.startswith("/soap:Envelope")


@pytest.mark.parametrize(
    ("attributes", "ours"),
    [
        ("s:mustUnderstand='1'", True),
        ("s:mustUnderstand='true'", True),
        ("s:mustUnderstand=' 1 '", True),
        ("s:mustUnderstand='0'", False),
        ("s:mustUnderstand='false'", False),
        ("", False),
        ("mustUnderstand='1'", False),
        (f"s:mustUnderstand='1' s:actor='{NEXT11}'", True),
        ("s:mustUnderstand='1' s:actor=''", True),
        ("s:mustUnderstand='1' s:actor=' urn:me '", True),
        ("s:mustUnderstand='1' s:actor='urn:you'", False),
    ],
)
def test_mandatory_blocks_addressed_to_us_must_be_understood(attributes: str, ours: bool) -> None:
    found = read_envelope(
        envelope(f"<s:Header><x:known s:mustUnderstand='1'/><x:new {attributes}/></s:Header><s:Body/>")
    )
    understood = {"{urn:x}known"}
    assert [block.tag for block in list_not_understood_blocks(found, understood, ["urn:me"])] == [
        "{urn:x}new"
    ] * ours
    if ours:
        with pytest.raises(GatewayError, match="the header new of 'urn:x' is not understood") as caught:
            check_must_understand(found, understood, ["urn:me"])
        assert caught.value.problem.codes.soap == "MustUnderstand"
        assert caught.value.location == "/soap:Envelope/soap:Header/x:new"
    else:
        check_must_understand(found, understood, ["urn:me"])


@pytest.mark.parametrize(
    ("role", "count"),
    [(NEXT12, 1), ("http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver", 1), ("urn:you", 0)],
)
def test_roles_of_soap12(role: str, count: int) -> None:
    found = read_envelope(
        envelope(f"<s:Header><x:new s:mustUnderstand='1' s:role='{role}'/></s:Header><s:Body/>", SOAP12)
    )
    assert len(list_not_understood_blocks(found, set())) == count


def test_a_flag_that_is_no_boolean_is_refused() -> None:
    found = read_envelope(envelope("<s:Header><x:new s:mustUnderstand='yes'/></s:Header><s:Body/>"))
    with pytest.raises(GatewayError, match="yes") as caught:
        list_not_understood_blocks(found, set())
    assert caught.value.problem.id == "GW107"


CODES = ["Client", "Server", "MustUnderstand", "VersionMismatch", "wsse:FailedCheck", "{urn:w}Own"]


@pytest.mark.long
@pytest.mark.parametrize("version", ["1.1", "1.2"])
@given(
    code=st.sampled_from(CODES),
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40),
    actor=st.sampled_from(["", "urn:me"]),
    details=st.integers(0, 2),
)
def test_a_fault_reads_back(version: SoapVersion, code: str, text: str, actor: str, details: int) -> None:
    detail = tuple(etree.Element("{urn:d}entry", n=str(index)) for index in range(details))
    octets = write_fault_envelope(SoapFault(code, text, detail, actor), version)
    found = read_envelope(parse_xml(octets))
    assert found.version == version
    again = read_fault(found)
    assert again is not None
    assert (again.code, again.text, again.actor) == (code, text.strip(), actor)
    assert [entry.get("n") for entry in again.detail] == [entry.get("n") for entry in detail]
    assert [entry.getparent() for entry in detail] == [None] * details


def test_the_reason_of_soap12_names_its_language() -> None:
    """SOAP 1.2 part 1 §5.4.2.1: each Text has xml:lang."""
    root = parse_xml(write_fault_envelope(SoapFault("Client", "x"), "1.2"))
    (text,) = root.iter(f"{{{SOAP12}}}Text")
    assert dict(text.attrib) == {"{http://www.w3.org/XML/1998/namespace}lang": "en"}


def test_the_code_is_a_name_in_the_namespace_of_its_prefix() -> None:
    octets = write_fault_envelope(SoapFault("wsse:FailedCheck", "x"))
    root = parse_xml(octets)
    element = root.find(".//faultcode")
    assert element is not None
    assert element.nsmap[str(element.text).split(":")[0]] == WSSE


def test_words_that_xml_cannot_hold_are_replaced() -> None:
    fault = read_fault(
        read_envelope(
            parse_xml(write_fault_envelope(SoapFault("Client", "a\x00b\ud800c\ufffe", actor="\x1b")))
        )
    )
    assert fault == SoapFault("Client", "a\ufffdb\ufffdc\ufffd", actor="\ufffd")


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("<faultcode>s:Server</faultcode>", "Server"),
        ("<faultcode> s:Client.Detail </faultcode>", "Client.Detail"),
        ("<faultcode xmlns:w='urn:w'>w:Own</faultcode>", "{urn:w}Own"),
        ("<faultcode>unbound:Own</faultcode>", "unbound:Own"),
        ("<faultcode>Client</faultcode>", "Client"),
        ("<faultcode>:Client</faultcode>", ":Client"),
        ("", ""),
    ],
)
def test_codes_of_others(written: str, code: str) -> None:
    fault = read_fault(read_envelope(envelope(f"<s:Body><s:Fault>{written}</s:Fault></s:Body>")))
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize(
    ("code", "of_server"),
    [
        *(("s:Server", True), ("s:Server.userException", True), (" Server.a.b ", True)),
        *(("s:Client", False), ("s:Client.Server", False), ("s:ServerAway", False)),
        *(("n:Server", False), ("unbound:Server", True), ("", False)),
    ],
)
def test_a_code_has_more_after_a_dot(code: str, of_server: bool) -> None:
    """SOAP 1.1 §4.4.1: what stands after a dot is a kind of what stands before it."""
    written = f"<s:Fault xmlns:n='urn:n'><faultcode>{code}</faultcode></s:Fault>"
    fault = read_fault(read_envelope(envelope(f"<s:Body>{written}</s:Body>")))
    assert fault is not None
    assert fault.is_server_fault is of_server


@pytest.mark.parametrize(
    ("code", "of_server"), [("Receiver", True), ("Sender", False), ("DataEncodingUnknown", False)]
)
@pytest.mark.parametrize("subcode", ["", "n:Busy", "s:Receiver", "s:Sender"])
def test_a_subcode_belongs_to_its_code(code: str, of_server: bool, subcode: str) -> None:
    """SOAP 1.2 §5.4.1: the Subcode says more, and the Value above it says whose fault it is."""
    below = f"<s:Subcode><s:Value>{subcode}</s:Value></s:Subcode>" if subcode else ""
    octets = (
        f"<s:Envelope xmlns:s='{SOAP12}' xmlns:n='urn:n'><s:Body><s:Fault><s:Code><s:Value>s:{code}</s:Value>"
        f"{below}</s:Code></s:Fault></s:Body></s:Envelope>"
    )
    fault = read_fault(read_envelope(parse_xml(octets.encode())))
    assert fault is not None
    assert fault.is_server_fault is of_server


def test_no_fault_is_none_and_long_words_are_capped() -> None:
    assert read_fault(read_envelope(envelope("<s:Body><x:a/></s:Body>"))) is None
    words = f"<faultcode>s:Client</faultcode><faultstring>{'y' * 9000}</faultstring>"
    inner = f"<s:Body><s:Fault>{words}</s:Fault></s:Body>"
    fault = read_fault(read_envelope(envelope(inner)))
    assert fault is not None
    assert len(fault.text) == 2000


@pytest.mark.vectors
def test_the_fault_of_a_partner(vectors: Path) -> None:
    raw = (vectors / "outside/ebms2/ebms-core-live/fault-unknown-cpa-response.http").read_bytes()
    fault = read_fault(read_envelope(parse_xml(read_http_message(raw).body)))
    assert fault == SoapFault("Client", "CPA none not found!")
