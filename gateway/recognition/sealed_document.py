"""Opens another party's signed document only if one of the expected certificates signed all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from lxml import etree

from gateway.errors import CERTIFICATE_UNTRUSTED, NOT_COVERED, SIGNATURE_INVALID, GatewayError
from gateway.pki import Certificate
from gateway.wire import DEFAULT_LIMITS, DS, WireLimits, parse_xml
from gateway.xmlsec import STRICT, SignaturePolicy, verify_any_signature

__all__ = ["SealedDocument", "check_pinned_signer", "open_sealed_document"]


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A verified document; comments, which no signature covers, are removed."""

    root: etree._Element
    signer: Certificate
    sha256: str


def open_sealed_document(
    data: bytes,
    signers: Collection[Certificate],
    *,
    policy: SignaturePolicy = STRICT,
    limits: WireLimits = DEFAULT_LIMITS,
) -> SealedDocument:
    """Verify the one enveloped signature of a document in any form that the policy permits.

    The signature must be the last child of the root and cover everything else. Raises GW201
    to GW204 for the signature, GW205 for an unexpected signer.
    """
    root = parse_xml(data, limits)
    judgement = verify_any_signature(root, {}, policy)
    if judgement.verdict != "valid":
        raise GatewayError(judgement.problem or SIGNATURE_INVALID, judgement.reason, "ds:Signature")
    if len(root) == 0 or root[-1].tag != f"{{{DS}}}Signature":
        raise GatewayError(NOT_COVERED, "ds:Signature is not the last child of the root", "ds:Signature")
    if "/" not in judgement.covered or judgement.excluded:
        raise GatewayError(NOT_COVERED, "the signature does not cover the whole document", "ds:Signature")
    if judgement.certificate is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, judgement.reason, "ds:KeyInfo")
    check_pinned_signer(judgement.certificate, signers)
    etree.strip_tags(root, etree.Comment)
    return SealedDocument(root, judgement.certificate, hashlib.sha256(data).hexdigest())


def check_pinned_signer(signer: Certificate, signers: Collection[Certificate]) -> None:
    """Raise GW205 unless exactly this certificate is among the expected ones."""
    if signer not in signers:
        detail = f"signed by {signer.subject[:120]} ({signer.sha256[:16]}…), who is not expected to sign this"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "ds:KeyInfo")
