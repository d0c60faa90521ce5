"""AS4: a signature names its certificate as the P-Mode says, and each of these ways is read."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from lxml import etree

from gateway.agreements import PMode, PModeIndex
from gateway.agreements.pmode_values import TOKEN_REFERENCES
from gateway.errors import GatewayError
from gateway.pki import Certificate, split_der_sequence
from gateway.protocols import as4
from gateway.wire import DS, WSSE, WSSE11, X509_PKCS7_TOKEN, X509_PKI_PATH_TOKEN
from gateway.xmlsec.key_info import is_name_written_as
from gateway.xmlsec.token_references import REFERENCE_WRITERS, write_name, write_token
from tests.protocols import as4_samples, sample_parties

TERMS = sample_parties.pmode("as4", **as4_samples.TERMS)


def agreed(reference: str | None) -> PMode:
    return replace(TERMS, security=replace(TERMS.security, token_reference=reference))


def context(pmode: PMode, **changes: Any) -> Any:
    known = sample_parties.context(agreements=PModeIndex((pmode,)))
    return replace(known, issuers=(sample_parties.authority().certificate,), **changes)


def test_every_reference_of_an_agreement_is_written() -> None:
    assert set(REFERENCE_WRITERS) == set(TOKEN_REFERENCES)


@pytest.mark.parametrize("reference", [None, *TOKEN_REFERENCES])
def test_what_is_written_is_read(reference: str | None) -> None:
    pmode = agreed(reference)
    assert as4.list_unsupported_terms(pmode) == ()
    parcel = as4.seal((as4_samples.message(),), pmode, context(pmode))
    text = as4_samples.find_envelope(sample_parties.octets(parcel)).decode()
    words = {
        "X509v3": "#X509v3", "X509PKIPathv1": "#X509PKIPathv1", "PKCS7": "#PKCS7",
        "Thumbprint": "#ThumbprintSHA1",
        "SubjectKeyIdentifier": "#X509SubjectKeyIdentifier", "IssuerSerial": "X509IssuerSerial",
    }  # fmt: skip
    assert {name for name, word in words.items() if word in text} == {reference or "X509v3"}
    assert ("BinarySecurityToken" in text) == (reference in (None, "X509v3", "X509PKIPathv1", "PKCS7"))
    sender = context(pmode).signers[context(pmode).get_party_name(as4_samples.message().sender)].certificate
    opened = as4.open_units(parcel, context(pmode, candidate_certificates=(sender,)))
    assert opened.verified_signature is not None
    assert opened.verified_signature.certificate == sender
    if "BinarySecurityToken" not in text:
        with pytest.raises(GatewayError, match="GW205 no known certificate"):
            as4.open_units(parcel, context(pmode, list_party_certificates=lambda _: ()))


@pytest.mark.parametrize("reference", [None, *TOKEN_REFERENCES])
def test_a_token_that_is_no_single_certificate_has_its_type_in_the_reference(reference: str | None) -> None:
    """Basic Security Profile 1.1: R5212 for PKCS #7, R5215 for a path."""
    anchor = sample_parties.authority().certificate
    _, key_info = write_token(own_certificate(), reference, "t", (anchor,))
    root = etree.fromstring(f'<a xmlns:ds="{DS}" xmlns:wsse="{WSSE}">{key_info}</a>')
    token_reference = as4_samples.find(root, ".//wsse:SecurityTokenReference")
    types = {"X509PKIPathv1": X509_PKI_PATH_TOKEN, "PKCS7": X509_PKCS7_TOKEN}
    assert token_reference.get(f"{{{WSSE11}}}TokenType") == types.get(reference or "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CN=Test CA,C=KR", "CN=Test CA,C=KR"),
        (r"CN=\#1 \<CA\>\;,O=A\, B,DC=x", r"CN=\#1 \<CA\>\;,O=A\, B,DC=x"),
        # Attributes without a short name, by their DER: UTF8String, PrintableString, IA5String.
        ("CN=신고,2.5.4.97=NTRKR-1,C=KR", "CN=신고,2.5.4.97=#0c074e54524b522d31,C=KR"),
        ("2.5.4.5=7-1,CN=a+OU=b", "2.5.4.5=#1303372d31,CN=a+OU=b"),
        ("CN=a,1.2.840.113549.1.9.1=a@b", "CN=a,1.2.840.113549.1.9.1=#1603614062"),
        ("CN=a\\0Ab", "CN=#0c03610a62"),
    ],
)
def test_a_name_is_written_by_rfc_4514(name: str, text: str) -> None:
    parsed_name = x509.Name.from_rfc4514_string(name)
    assert write_name(parsed_name) == text
    assert is_name_written_as(parsed_name, text)


def make_name(oid: x509.ObjectIdentifier, value: str | bytes, string_type: _ASN1Type) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value, string_type)])


#: Names whose values are of types that text does not show, or have characters that XML cannot contain.
TYPED_NAMES = [
    (make_name(NameOID.COMMON_NAME, "신고", _ASN1Type.BMPString), "CN=#1e04c2e0ace0"),
    (make_name(NameOID.COMMON_NAME, "abc", _ASN1Type.T61String), "CN=#1403616263"),
    (make_name(NameOID.ORGANIZATION_NAME, "신", _ASN1Type.UniversalString), "O=#1c040000c2e0"),
    (make_name(NameOID.SERIAL_NUMBER, "123", _ASN1Type.NumericString), "2.5.4.5=#1203313233"),
    (make_name(NameOID.COMMON_NAME, "abc", _ASN1Type.PrintableString), "CN=abc"),
    (make_name(NameOID.COMMON_NAME, "abc", _ASN1Type.IA5String), "CN=#1603616263"),
    (make_name(NameOID.DOMAIN_COMPONENT, "abc", _ASN1Type.IA5String), "DC=abc"),
    (make_name(NameOID.DOMAIN_COMPONENT, "abc", _ASN1Type.UTF8String), "DC=#0c03616263"),
    (make_name(NameOID.COMMON_NAME, "a\0b", _ASN1Type.UTF8String), "CN=#0c03610062"),
    (make_name(NameOID.COMMON_NAME, "a\ufffeb", _ASN1Type.UTF8String), "CN=#0c0561efbfbe62"),
]


@pytest.mark.parametrize(("name", "text"), TYPED_NAMES)
def test_a_value_of_another_type_is_written_by_its_octets(name: x509.Name, text: str) -> None:
    assert write_name(name) == text
    assert is_name_written_as(name, text)


def own_certificate() -> Certificate:
    return next(iter(context(TERMS).signers.values())).certificate


def test_a_path_has_the_issuers_before_the_signer() -> None:
    leaf, anchor = own_certificate(), sample_parties.authority().certificate
    token, _ = write_token(leaf, "X509PKIPathv1", "t", (anchor, leaf))
    octets = base64.b64decode(token.partition(">")[2].partition("<")[0])
    found = [x509.load_der_x509_certificate(one).subject for one in split_der_sequence(octets) or ()]
    assert [one.rfc4514_string() for one in found] == [anchor.subject, leaf.subject]


def test_a_certificate_without_key_identifier_is_sent_whole() -> None:
    leaf = replace(own_certificate(), subject_key_identifier=None)
    token, named = write_token(leaf, "SubjectKeyIdentifier", "t")
    assert "#X509v3" in token
    assert 'URI="#t"' in named


@pytest.mark.parametrize(
    "said",
    ["cn=Test CA", " CN = test  CA ", 'CN="Test CA"', "OID.2.5.4.3=Test CA", "2.5.4.3=#0c0754657374204341"],
)
def test_an_issuer_is_compared_as_a_name(said: str) -> None:
    written = agreed("IssuerSerial")
    parcel = as4.seal((as4_samples.message(),), written, context(written))
    sender = (
        context(written).signers[context(written).get_party_name(as4_samples.message().sender)].certificate
    )

    def rename(root: etree._Element) -> None:
        as4_samples.find(root, ".//ds:X509IssuerName").text = said

    known = context(written, candidate_certificates=(sender,))
    # What names the certificate is not signed.
    opened = as4.open_units(as4_samples.change_tree(parcel, rename), known)
    assert opened.verified_signature is not None
    assert opened.verified_signature.certificate == sender


@pytest.mark.parametrize("name", ["CN=Another CA", "nothing"])
def test_another_issuer_is_refused(name: str) -> None:
    written = agreed("IssuerSerial")
    parcel = as4.seal((as4_samples.message(),), written, context(written))

    def rename(root: etree._Element) -> None:
        as4_samples.find(root, ".//ds:X509IssuerName").text = name

    with pytest.raises(GatewayError, match="GW205 no known certificate"):
        as4.open_units(as4_samples.change_tree(parcel, rename), context(written))
