"""WS-Security on SOAP requests and answers: what must be accepted, and the clock."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest
from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.wire import DS, SOAP11, WSSE, WSU, canonicalize_element, parse_xml, serialize_element
from gateway.xmlsec import (
    SHA256,
    STRICT,
    compute_digest,
    sign_soap_envelope,
    verify_soap_envelope,
)
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N
from gateway.xmlsec.wss import TimestampWindow, find_security_header
from gateway_conformance.hostile import naive_verifier
from tests.xmlsec.sample_messages import element, one, request, reread, resign

BODY = "/soap:Envelope/soap:Body"
COVERED = (
    BODY,
    "/soap:Envelope/soap:Header/wsse:Security/wsu:Timestamp",
    "/soap:Envelope/soap:Header/wsa:Action",
    "/soap:Envelope/soap:Header/wsa:MessageID",
    "/soap:Envelope/soap:Header/wsa:To",
)


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "ed25519"])
@pytest.mark.parametrize("top", ["", ' xmlns="urn:unused"', ' xml:lang="ko" xml:id="top"'])
def test_what_we_sign_verifies(signers: dict[str, KeySigner], now: datetime, kind: str, top: str) -> None:
    root = request(top)
    sign_soap_envelope(root, signers[kind], now=now)
    signed = verify_soap_envelope(reread(root), STRICT, now=now)
    assert signed.certificate == signers[kind].certificate
    assert signed.covered == COVERED
    assert signed.excluded == ()


@pytest.mark.parametrize(
    "top",
    [
        f' xmlns:u="{WSU}" xmlns:d="{DS}" xmlns:w="{WSSE}"',
        f' xmlns="{DS}" xmlns:u="{WSU}"',
        f' xmlns="{WSU}" xmlns:wsse="urn:other" xmlns:ds="urn:another"',
    ],
)
def test_prefixes_of_the_envelope_are_kept(signer: KeySigner, now: datetime, top: str) -> None:
    root = request(top)
    sign_soap_envelope(root, signer, now=now)
    for arrived in (root, reread(root)):
        assert verify_soap_envelope(arrived, STRICT, now=now).covered == COVERED


@pytest.mark.parametrize("top", ["", ' xmlns="urn:unused"', ' xml:lang="ko"'])
def test_others_agree(signer: KeySigner, now: datetime, top: str) -> None:
    root = request(top)
    sign_soap_envelope(root, signer, now=now)
    assert naive_verifier.accepts_signature(reread(root))
    results = XMLVerifier().verify(
        serialize_element(root),
        x509_cert=signer.certificate.pem.decode(),
        validate_schema=False,
        expect_config=SignatureConfiguration(expect_references=5, verification_time=now),
    )
    assert {etree.QName(result.signed_xml).localname for result in results} == {
        "Body", "Timestamp", "Action", "MessageID", "To",
    }  # fmt: skip


def test_what_is_written(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now, prefix="id-")
    security = find_security_header(root)
    assert security is not None
    assert security.get(f"{{{SOAP11}}}mustUnderstand") == "1"
    assert [etree.QName(child).localname for child in security] == [
        "BinarySecurityToken",
        "Timestamp",
        "Signature",
    ]
    times = [child.text for child in security[1]]
    assert times == ["2026-11-20T09:00:00.250Z", "2026-11-20T09:05:00.250Z"]
    identifiers = root.xpath("//@wsu:Id", namespaces={"wsu": WSU})
    assert len(set(identifiers)) == len(identifiers) == 6
    assert all(identifier.startswith("id-") for identifier in identifiers)


def test_given_identifiers_stay_and_are_not_repeated(signer: KeySigner, now: datetime) -> None:
    root = request()
    body = one(root, BODY)
    body.set(f"{{{WSU}}}Id", "s-1")
    body[0].set("id", "s-2")
    sign_soap_envelope(root, signer, now=now)
    assert body.get(f"{{{WSU}}}Id") == "s-1"
    assert verify_soap_envelope(reread(root), STRICT, now=now).covered == COVERED


def test_a_header_is_made_where_none_is(signer: KeySigner, now: datetime) -> None:
    root = parse_xml(f'<soap:Envelope xmlns:soap="{SOAP11}"><soap:Body/></soap:Envelope>'.encode())
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(root, STRICT, now=now)
    assert refusal.value.problem.id == "GW201"
    sign_soap_envelope(root, signer, now=now)
    assert verify_soap_envelope(reread(root), STRICT, now=now).covered == COVERED[:2]
    with pytest.raises(GatewayError, match="GW901"):
        sign_soap_envelope(root, signer, now=now)


def test_the_order_in_the_security_header_is_free(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    security = find_security_header(root)
    assert security is not None
    security[:] = [security[2], security[0], security[1]]
    token = one(root, "//wsse:BinarySecurityToken")
    token.text = "\r\n".join([token.text[:64], token.text[64:]])
    assert verify_soap_envelope(reread(root), STRICT, now=now).covered == COVERED


def test_prefix_list_is_applied(signer: KeySigner, now: datetime) -> None:
    root = request(' xmlns:q="urn:in-a-value"')
    sign_soap_envelope(root, signer, now=now)
    body = one(root, BODY)
    reference = one(root, f"//ds:Reference[@URI='#{body.get(f'{{{WSU}}}Id')}']")
    transform = reference.find(f"{{{DS}}}Transforms/{{{DS}}}Transform")
    listed = etree.SubElement(transform, f"{{{EXCLUSIVE_C14N}}}InclusiveNamespaces", PrefixList="q wsu")
    octets = canonicalize_element(body, exclusive=True, prefixes=("q", "wsu"))
    assert b"urn:in-a-value" in octets
    value = base64.b64encode(compute_digest(SHA256, octets)).decode()
    reference.find(f"{{{DS}}}DigestValue").text = value
    resign(root, signer)
    verify_soap_envelope(reread(root), STRICT, now=now)
    listed.set("PrefixList", "wsu")
    resign(root, signer)
    with pytest.raises(GatewayError, match="GW202"):
        verify_soap_envelope(reread(root), STRICT, now=now)


def test_comments_in_the_body_do_not_survive(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    arrived = reread(root)
    weight = one(arrived, "//x:Weight")
    weight.text = "1"
    comment = etree.Comment("what a reader of .text would not see past")
    weight.append(comment)
    comment.tail = "00"
    verify_soap_envelope(arrived, STRICT, now=now)
    assert one(arrived, "//x:Weight").text == "100"


def test_extra_blocks_and_the_token_may_be_signed(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    one(root, "//x:Trace").set(f"{{{WSU}}}Id", "trace")
    for identifier, target in (("trace", "//x:Trace"), ("s-1", "//wsse:BinarySecurityToken")):
        octets = canonicalize_element(one(root, target), exclusive=True)
        value = base64.b64encode(compute_digest(SHA256, octets)).decode()
        text = (
            f'<ds:Reference URI="#{identifier}"><ds:Transforms><ds:Transform Algorithm="{EXCLUSIVE_C14N}"/>'
            f'</ds:Transforms><ds:DigestMethod Algorithm="{SHA256}"/>'
            f"<ds:DigestValue>{value}</ds:DigestValue></ds:Reference>"
        )
        one(root, "//ds:SignedInfo").append(element(text))
    resign(root, signer)
    signed = verify_soap_envelope(reread(root), STRICT, now=now)
    assert signed.covered[5:] == (
        "/soap:Envelope/soap:Header/x:Trace",
        "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken",
    )


SECOND = timedelta(seconds=1)
CLOCKS = {
    "at once": (timedelta(0), True),
    "300 s old": (300 * SECOND - timedelta(milliseconds=1), True),
    "expired": (300 * SECOND, False),
    "an hour old": (timedelta(hours=1), False),
    "60 s ahead": (-60 * SECOND, True),
    "61 s ahead": (-61 * SECOND, False),
    "a year ahead": (-timedelta(days=365), False),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_the_window(signer: KeySigner, now: datetime, case: str) -> None:
    later, taken = CLOCKS[case]
    root = request()
    sign_soap_envelope(root, signer, now=now)
    if taken:
        verify_soap_envelope(root, STRICT, now=now + later)
        return
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(root, STRICT, now=now + later)
    assert refusal.value.problem.id == "GW211"


def stamped(signer: KeySigner, now: datetime, created: str, expires: str | None) -> etree._Element:
    """Return a request whose Timestamp says just that, rightly signed."""
    root = request()
    sign_soap_envelope(root, signer, now=now)
    timestamp = one(root, "//wsu:Timestamp")
    timestamp[0].text = created
    if expires is None:
        timestamp.remove(timestamp[1])
    else:
        timestamp[1].text = expires
    octets = canonicalize_element(timestamp, exclusive=True)
    reference = one(root, f"//ds:Reference[@URI='#{timestamp.get(f'{{{WSU}}}Id')}']")
    value = base64.b64encode(compute_digest(SHA256, octets)).decode()
    reference.find(f"{{{DS}}}DigestValue").text = value
    resign(root, signer)
    return reread(root)


TIMES: dict[str, tuple[str, str | None, bool]] = {
    "whole seconds": ("2026-11-20T09:00:00Z", "2026-11-20T09:05:00Z", True),
    "zero offset": ("2026-11-20T09:00:00.1+00:00", "2026-11-20T09:05:00+00:00", True),
    "an hour to live": ("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z", True),
    "white space": (" 2026-11-20T09:00:00Z\n", "2026-11-20T09:05:00Z", True),
    "six decimals": ("2026-11-20T09:00:00.000000Z", "2026-11-20T09:05:00Z", False),
    "no zone": ("2026-11-20T09:00:00", "2026-11-20T09:05:00Z", False),
    "other zone": ("2026-11-20T18:00:00+09:00", "2026-11-20T18:05:00+09:00", False),
    "leap second": ("2026-11-20T08:59:60Z", "2026-11-20T09:05:00Z", False),
    "30 February": ("2026-02-30T09:00:00Z", "2026-11-20T09:05:00Z", False),
    "year 9999": ("2026-11-20T09:00:00Z", "9999-12-31T23:59:59Z", False),
    "expires before created": ("2026-11-20T09:00:30Z", "2026-11-20T09:00:10Z", False),
    "expires with created": ("2026-11-20T09:00:10Z", "2026-11-20T09:00:10Z", False),
    "no Expires": ("2026-11-20T09:00:00Z", None, False),
    "empty": ("", "2026-11-20T09:05:00Z", False),
    "words": ("now", "2026-11-20T09:05:00Z", False),
    "other digits in a fraction": ("2026-11-20T09:00:00.１Z", "2026-11-20T09:05:00Z", False),
    "other digits": ("٢٠٢٦-11-20T09:00:00Z", "2026-11-20T09:05:00Z", False),
}


@pytest.mark.parametrize("case", TIMES)
def test_spellings_of_times(signer: KeySigner, now: datetime, case: str) -> None:
    created, expires, taken = TIMES[case]
    root = stamped(signer, now, created, expires)
    if taken:
        assert verify_soap_envelope(root, STRICT, now=now).covered == COVERED
        return
    with pytest.raises(GatewayError) as refusal:
        verify_soap_envelope(root, STRICT, now=now)
    assert refusal.value.problem.id == "GW211", refusal.value


def test_the_window_is_a_parameter(signer: KeySigner, now: datetime) -> None:
    root = request()
    wide = TimestampWindow(
        max_age=timedelta(hours=2), max_ahead=timedelta(hours=1), validity=timedelta(hours=3)
    )
    sign_soap_envelope(root, signer, now=now, window=wide)
    verify_soap_envelope(root, STRICT, now=now + timedelta(hours=1), window=wide)
    verify_soap_envelope(root, STRICT, now=now - timedelta(minutes=59), window=wide)
    with pytest.raises(GatewayError, match="GW211"):
        verify_soap_envelope(root, STRICT, now=now + timedelta(hours=1))


def test_names_in_the_token(signer: KeySigner, now: datetime) -> None:
    root = request()
    sign_soap_envelope(root, signer, now=now)
    token = one(root, "//wsse:BinarySecurityToken")
    reference = one(root, "//wsse:SecurityTokenReference/wsse:Reference")
    assert reference.tag == f"{{{WSSE}}}Reference"
    assert reference.get("URI") == "#" + token.get(f"{{{WSU}}}Id")
    assert base64.b64decode(token.text) == signer.certificate.der
