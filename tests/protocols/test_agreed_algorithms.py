"""What ebMS 2.0 signs by: weaker than agreed is refused; as strong is taken, and told by `gateway check`."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from gateway.agreements import PMode, PModeIndex, Security
from gateway.errors import GatewayError
from gateway.protocols import Parcel, ebms2, read_unagreed_algorithms
from gateway.wire import (
    DEFAULT_LIMITS,
    DS,
    SOAP11,
    canonicalize_document,
    canonicalize_element,
    parse_xml,
    serialize_element,
)
from gateway.xmlsec import SHA256, compute_digest
from gateway.xmlsec.algorithms import (
    ECDSA_SHA256,
    ECDSA_SHA384,
    ED25519,
    RSA_SHA1,
    RSA_SHA256,
    RSA_SHA384,
    RSA_SHA512,
    SHA1,
    SHA384,
    SHA512,
)
from tests.protocols import sample_parties
from tests.xmlsec.sample_messages import NEXT, NEXT_MSH


def find_envelope(octets: bytes) -> bytes:
    return octets[octets.index(b"<soap:Envelope") : octets.index(b"</soap:Envelope>") + 16]


#: What may be agreed where RSA-SHA256 or ECDSA-SHA256 with SHA-256 is used, and whether that is taken.
TERMS: dict[str, tuple[Security, bool]] = {
    "nothing": (Security(), True),
    "the same kind of key": (Security(signature_algorithms=(RSA_SHA256,), hash_function=SHA256), True),
    "another kind of key": (Security(signature_algorithms=(ECDSA_SHA256,), hash_function=SHA256), True),
    "Ed25519": (Security(signature_algorithms=(ED25519,)), True),
    "a weaker signature": (Security(signature_algorithms=(RSA_SHA1,)), True),
    "a weaker hash": (Security(hash_function=SHA1), True),
    "names that are not known": (Security(signature_algorithms=("RSA",), hash_function="sha-2"), True),
    "a stronger and an equal one": (Security(signature_algorithms=(RSA_SHA512, RSA_SHA256)), True),
    "a stronger one": (Security(signature_algorithms=(RSA_SHA512,)), False),
    "a stronger one of another kind": (Security(signature_algorithms=(ECDSA_SHA384,)), False),
    "two stronger ones": (Security(signature_algorithms=(RSA_SHA512, RSA_SHA384)), False),
    "a stronger one and a name": (Security(signature_algorithms=("RSA", RSA_SHA384)), False),
    "a stronger hash": (Security(hash_function=SHA384), False),
    "the strongest hash": (Security(signature_algorithms=(RSA_SHA256,), hash_function=SHA512), False),
}


def open_under(parcel: Parcel, pmode: PMode, **changes: object) -> str:
    """Return the id of the problem of a parcel; empty where it is taken."""
    context = sample_parties.context(agreements=PModeIndex((pmode,)), **changes)
    try:
        ebms2.open_units(parcel, context)
    except GatewayError as refused:
        return refused.problem.id
    return ""


def make_receipt() -> Parcel:
    message = sample_parties.message(
        sender=sample_parties.FROM_HUB, receiver=sample_parties.FROM_BROKER, action="Result"
    )
    sent = ebms2.seal((message,), sample_parties.RESULT, sample_parties.context())
    there = sample_parties.context(now=sample_parties.NOW + timedelta(seconds=1))
    receipt = ebms2.make_receipt(ebms2.open_units(sent, there), there)
    return ebms2.seal((receipt,), sample_parties.RESULT, sample_parties.context())


def test_a_message_weaker_than_agreed_is_refused() -> None:
    parcel = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    found = {
        name: open_under(parcel, replace(sample_parties.SUBMIT, security=security))
        for name, (security, _) in TERMS.items()
    }
    assert found == {name: "" if taken else "GW204" for name, (_, taken) in TERMS.items()}


def test_a_receipt_weaker_than_agreed_is_refused() -> None:
    parcel = make_receipt()
    found = {
        name: open_under(parcel, replace(sample_parties.RESULT, security=security))
        for name, (security, _) in TERMS.items()
    }
    assert found == {name: "" if taken else "GW204" for name, (_, taken) in TERMS.items()}


def sign_legacy(parcel: Parcel, digest: str, signature: str) -> Parcel:
    """Return a message that its sender signed by these algorithms."""
    old = find_envelope(parcel.read_octets())
    root = parse_xml(old)
    (signed_info,) = root.iter(f"{{{DS}}}SignedInfo")
    element = signed_info.getparent()
    assert element is not None
    beside = [each for each in root.iter("*") if each.get(f"{{{SOAP11}}}actor") in (NEXT, NEXT_MSH)]
    contents = {f"cid:{one.content_id}": one.content for one in sample_parties.message().payloads}
    for reference in signed_info.iterchildren(f"{{{DS}}}Reference"):
        uri = reference.get("URI", "")
        octets = contents[uri] if uri else canonicalize_document(root, (element, *beside))
        method, value = reference[-2:]
        method.set("Algorithm", digest)
        value.text = base64.b64encode(compute_digest(digest, octets)).decode()
    signed_info[1].set("Algorithm", signature)
    value = element.find(f"{{{DS}}}SignatureValue")
    assert value is not None
    key: Any = sample_parties.issued("broker1").key
    hash_function = hashes.SHA1() if signature == RSA_SHA1 else hashes.SHA256()
    data = canonicalize_element(signed_info)
    value.text = base64.b64encode(key.sign(data, padding.PKCS1v15(), hash_function)).decode()
    return sample_parties.replaced(parcel, old, serialize_element(root))


def permit_weak(*signatures: str, digest: str | None = None) -> Security:
    """Return terms by a policy that permits SHA-1."""
    return Security(policy="legacy-norway", signature_algorithms=signatures, hash_function=digest)


#: What is agreed, the digest and signature that are used, and whether that is taken.
ONE_NAMED: dict[str, tuple[Security, tuple[str, str], bool]] = {
    "nothing": (permit_weak(), (SHA1, RSA_SHA1), True),
    "both weak": (permit_weak(RSA_SHA1, digest=SHA1), (SHA1, RSA_SHA1), True),
    "a signature, and a digest as strong": (permit_weak(RSA_SHA256), (SHA256, RSA_SHA256), True),
    "a signature, and a weak digest": (permit_weak(RSA_SHA256), (SHA1, RSA_SHA256), False),
    "a weak signature, and a weak digest": (permit_weak(RSA_SHA1), (SHA1, RSA_SHA1), False),
    "a hash, and a weak signature": (permit_weak(digest=SHA256), (SHA256, RSA_SHA1), False),
    "a weak hash, and a weak signature": (permit_weak(digest=SHA1), (SHA1, RSA_SHA1), False),
    "a weak hash, and a signature": (permit_weak(digest=SHA1), (SHA1, RSA_SHA256), True),
}


@pytest.mark.parametrize("name", ONE_NAMED)
def test_what_is_not_named_beside_what_is_named_is_not_weak(name: str) -> None:
    security, (digest, signature), taken = ONE_NAMED[name]
    sealed = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    parcel, pmode = sign_legacy(sealed, digest, signature), under(security)
    assert open_under(parcel, pmode) == ("" if taken else "GW204")
    weak = () if taken else tuple(one for one in (signature, digest) if one in (SHA1, RSA_SHA1))
    named = (*security.signature_algorithms, security.hash_function)
    assert read_unagreed_algorithms(parcel, pmode, DEFAULT_LIMITS) == tuple(
        one for one in weak if one not in named
    )


def test_the_refusal_names_both_algorithms() -> None:
    parcel = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    for security, agreed in (
        (Security(signature_algorithms=(RSA_SHA512,)), RSA_SHA512),
        (Security(hash_function=SHA512), SHA512),
    ):
        pmode = replace(sample_parties.SUBMIT, security=security)
        with pytest.raises(GatewayError, match=f"{agreed}, this is http") as refused:
            ebms2.open_units(parcel, sample_parties.context(agreements=PModeIndex((pmode,))))
        assert refused.value.problem.codes.ebms2 == "SecurityFailure"


def test_what_is_taken_and_not_agreed_can_be_told() -> None:
    parcel = ebms2.seal((sample_parties.message(),), sample_parties.SUBMIT, sample_parties.context())
    (used,) = read_unagreed_algorithms(parcel, under(Security(signature_algorithms=("x",))), DEFAULT_LIMITS)
    assert used in (RSA_SHA256, ECDSA_SHA256)
    same = Security(signature_algorithms=("x", used), hash_function=SHA256)
    assert read_unagreed_algorithms(parcel, under(same), DEFAULT_LIMITS) == ()
    other = Security(signature_algorithms=(used,), hash_function=SHA1)
    assert read_unagreed_algorithms(parcel, under(other), DEFAULT_LIMITS) == (SHA256,)
    assert read_unagreed_algorithms(parcel, under(Security()), DEFAULT_LIMITS) == ()


def under(security: Security) -> PMode:
    return replace(sample_parties.SUBMIT, security=security)
