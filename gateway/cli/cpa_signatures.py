"""Verifies the signatures of a CPA: each is good, and made by a party of the agreement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import CpaDocument, CpaFinding
from gateway.cli.registration import demand_usable_certificate
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.wire import DS, parse_xml, serialize_element
from gateway.xmlsec import STRICT, VerificationReport, verify_any_document

__all__ = ["find_signature_findings"]

_SIGNATURE: Final = f"{{{DS}}}Signature"


def find_signature_findings(
    conn: Connection, document: CpaDocument, data: bytes, settings: Settings, at: datetime
) -> Iterator[CpaFinding]:
    """Yield what is wrong with the signatures of a CPA, and that one is missing which the settings want."""
    if not document.signatures and settings.hub.signed_agreements:
        text = "hub.signed_agreements is set, and nobody has signed the document"
        yield CpaFinding("signature-missing", document.place, text)
    for number, place in enumerate(document.signatures):
        report = verify_any_document(_keep_one_signature(data, number), {}, STRICT)
        fault = _find_signature_fault(report, document) or _find_signer_fault(conn, report, settings, at)
        if fault is not None:
            yield CpaFinding("signature-wrong", place, fault)


def _find_signature_fault(report: VerificationReport, document: CpaDocument) -> str | None:
    """Return why a signature is not one of a party over the whole document; None when it is."""
    if report.verdict != "valid":
        return f"the signature is {report.verdict}: {report.reason}"
    if "/" not in report.covered or report.excluded:
        return "the signature does not cover the whole document"
    if report.certificate is None or report.certificate.sha256 not in _list_pins(document):
        return "the signature was made by no party of the agreement"
    return None


def _find_signer_fault(
    conn: Connection, report: VerificationReport, settings: Settings, at: datetime
) -> str | None:
    """Return why the certificate of a signature is not valid at this hub; None when it is."""
    assert report.certificate is not None, "it is that of a party"
    try:
        demand_usable_certificate(settings, conn, (report.certificate, "signing"), (at, at), "signature")
    except GatewayError as refused:
        return f"the signer is not trusted: {refused.detail}"
    return None


def _keep_one_signature(data: bytes, number: int) -> bytes:
    """Return the document with one of its signatures: each was made before or without the others."""
    root = deepcopy(parse_xml(data))
    found: list[Any] = list(root.iter(_SIGNATURE))
    if len(found) <= 1:
        return data
    for at, one in enumerate(found):
        if at != number:
            one.getparent().remove(one)
    return serialize_element(root)


def _list_pins(document: CpaDocument) -> set[str]:
    return {
        hashlib.sha256(one).hexdigest()
        for party in document.parties
        for holder in party.certificates.values()
        for one in holder.chain
    }
