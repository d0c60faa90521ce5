"""AS4: a signature names its certificate as the P-Mode says, and each of these ways is read."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from lxml import etree

from gateway.agreements import PMode, PModeIndex
from gateway.agreements.pmode_values import TOKEN_REFERENCES
from gateway.errors import GatewayError
from gateway.pki import Certificate, split_der_sequence
from gateway.protocols import as4
from gateway.xmlsec.key_info import REFERENCE_WRITERS, write_token
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
