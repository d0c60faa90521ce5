"""Who signed a submission, and by which way he was admitted: an own document, or one vouched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import CERTIFICATE_UNTRUSTED, DECLARANT_NOT_ALLOWED, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.register import RegisterSnapshot
from gateway.pki import Certificate, CertificateUse, Verdict
from gateway.recognition import VouchedDocument, is_vouched_document, open_vouched_document
from gateway.wire import WireLimits, parse_xml
from gateway.xmlsec import verify_document

__all__ = ["OpenedDocument", "SignerAdmission", "SubmissionTimes", "admit_signer", "open_document"]

_INNER: Final = "/Submission/ds:Signature"
_OUTER: Final = "/Vouched/ds:Signature"


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """The tree of a party's document, and the word of the gateway that carried it, where one did.

    The two signatures of what was vouched for are verified; of any other none is yet.
    """

    root: etree._Element
    vouched: VouchedDocument | None = None


@dataclass(frozen=True, slots=True)
class SubmissionTimes:
    """When a document came, and when it is judged."""

    received_at: datetime
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class SignerAdmission:
    """The party whose signature a document bears, the one that vouches for it, and the evidence of both."""

    party: str
    voucher: str | None
    way: Mapping[str, Any]


def open_document(content: bytes, limits: WireLimits) -> OpenedDocument:
    """Read the tree of a submission: the party's own, from inside what a gateway vouches for."""
    root = parse_xml(content, limits)
    if not is_vouched_document(root):
        return OpenedDocument(root)
    vouched = open_vouched_document(content, limits=limits)
    return OpenedDocument(parse_xml(vouched.document, limits), vouched)


def admit_signer(
    hub: Hub, opened: OpenedDocument, knowledge: RegisterSnapshot, when: SubmissionTimes
) -> SignerAdmission:
    """Return whose signature a document bears; raises where it is bad, or its signer not to be admitted."""
    if opened.vouched is not None:
        return _admit_vouched_signer(hub, opened, opened.vouched, (knowledge, when))
    certificate = verify_document(opened.root).certificate
    # What came before the cut of a certificate counts, however long it waited here.
    party = _require_registered_party(
        knowledge.find_certificate_party(certificate.sha256, when.received_at), _INNER
    )
    # After the look at the register: strangers' certificates are not worth a judgement.
    verdict = hub.judge(certificate.der, CertificateUse.SIGNING, when.checked_at)
    verdict.raise_unless_accepted(_INNER)
    return SignerAdmission(
        party, None, _make_signer_evidence(certificate, _describe_admission(hub, certificate, verdict))
    )


def _admit_vouched_signer(
    hub: Hub,
    opened: OpenedDocument,
    vouched: VouchedDocument,
    known: tuple[RegisterSnapshot, SubmissionTimes],
) -> SignerAdmission:
    """Judge the gateway as any signer, and by our list as a voucher; it holds the party's mandate.

    Whether a path leads to the party's certificate is the gateway's affair, unless we judge it ourselves.
    """
    knowledge, when = known
    # Takes out of this tree what the party's signature does not cover, as it did for the gateway.
    verify_document(opened.root)
    party = _require_registered_party(
        knowledge.find_certificate_party(vouched.signer.sha256, when.received_at), _INNER
    )
    voucher = _require_registered_party(
        knowledge.find_certificate_party(vouched.voucher.sha256, when.received_at), _OUTER
    )
    if voucher not in knowledge.vouchers:
        detail = f"party {voucher[:40]} is not registered as a voucher"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, _OUTER)
    _check_vouched_certificate(hub, vouched, when.checked_at)
    _check_voucher_mandate(knowledge, voucher, party, when.received_at)
    verdict = hub.judge(vouched.voucher.der, CertificateUse.SIGNING, when.checked_at)
    verdict.raise_unless_accepted(_OUTER)
    try:
        levels = hub.recognizer.check_vouched_levels(vouched, when.checked_at, when.received_at)
    except GatewayError as refused:
        raise GatewayError(refused.problem, refused.detail, _OUTER) from refused
    way = {
        "mode": "vouched",
        "source": hub.recognizer.describe_vouching(vouched, voucher),
        "levels": sorted(levels),
        "judged": vouched.judged.isoformat(),
        "voucher": _make_signer_evidence(vouched.voucher, _describe_admission(hub, vouched.voucher, verdict)),
    }
    return SignerAdmission(party, voucher, _make_signer_evidence(vouched.signer, way))


def _check_vouched_certificate(hub: Hub, vouched: VouchedDocument, at: datetime) -> None:
    """Refuse a party's certificate that we refuse ourselves: who vouches for it knows it no better.

    Where we have never heard of its issuer there is nothing of ours to go by.
    """
    verdict = hub.judge(vouched.signer.der, CertificateUse.SIGNING, at)
    if verdict.passing or hub.recognizer.is_known_issuer(vouched.signer, hub.judge.trust, at):
        verdict.raise_unless_accepted(_INNER)


def _check_voucher_mandate(knowledge: RegisterSnapshot, voucher: str, party: str, at: datetime) -> None:
    """Refuse a word on a party of whom the gateway has no mandate: one of another country."""
    if not knowledge.make_filing_register(at).has_mandate(voucher, party):
        detail = f"{voucher[:40]} vouches for {party[:40]} and holds no mandate of it"
        raise GatewayError(DECLARANT_NOT_ALLOWED, detail, _OUTER)


def _require_registered_party(party: str | None, where: str) -> str:
    if party is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the signer's certificate is not registered", where)
    return party


def _describe_admission(hub: Hub, certificate: Certificate, verdict: Verdict) -> dict[str, Any]:
    """Return by which way a signer was admitted, and under which digest it is kept what that rests on."""
    return {**verdict.admission_way, "verdict": hub.verdicts.find_verdict_digest(certificate.sha256)}


def _make_signer_evidence(certificate: Certificate, way: Mapping[str, Any]) -> dict[str, Any]:
    return {"certificate": certificate.sha256, **way}
