"""Determines who signed a submission, and how the signer was admitted: directly, or by a voucher."""

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
    """The tree of a party's document, and the vouching document that contained it, if any.

    The two signatures of a vouched document are verified; the signature of any other is not yet
    verified.
    """

    root: etree._Element
    vouched: VouchedDocument | None = None


@dataclass(frozen=True, slots=True)
class SubmissionTimes:
    """When a document was received, and when it is checked."""

    received_at: datetime
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class SignerAdmission:
    """The party that signed a document, the party that vouches for it, and the evidence of both."""

    party: str
    voucher: str | None
    way: Mapping[str, Any]


def open_document(content: bytes, limits: WireLimits) -> OpenedDocument:
    """Read the tree of a submission; from a vouched document, read the party's own document inside."""
    root = parse_xml(content, limits)
    if not is_vouched_document(root):
        return OpenedDocument(root)
    vouched = open_vouched_document(content, limits=limits)
    return OpenedDocument(parse_xml(vouched.document, limits), vouched)


def admit_signer(
    hub: Hub, opened: OpenedDocument, knowledge: RegisterSnapshot, when: SubmissionTimes
) -> SignerAdmission:
    """Return the party that signed a document; raises for a bad signature, or a signer not admitted."""
    if opened.vouched is not None:
        return _admit_vouched_signer(hub, opened, opened.vouched, (knowledge, when))
    certificate = verify_document(opened.root).certificate
    # A document received before the end of a certificate's use counts, however long it waited here.
    party = _require_registered_party(
        knowledge.find_certificate_party(certificate.sha256, when.received_at), _INNER
    )
    # After the register lookup: certificates that are not registered are not validated.
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
    """Validate the gateway as a signer, and by our list as a voucher; it must hold the party's mandate.

    Whether a path leads to the party's certificate is checked by that gateway, unless we can
    validate the certificate ourselves.
    """
    knowledge, when = known
    # Removes from this tree what the party's signature does not cover, as the gateway did.
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
    """Raise for a party's certificate that we reject ourselves: our own verdict prevails over a voucher.

    Where its issuer is unknown to us, our verdict says nothing.
    """
    verdict = hub.judge(vouched.signer.der, CertificateUse.SIGNING, at)
    if verdict.passing or hub.recognizer.is_known_issuer(vouched.signer, hub.judge.trust, at):
        verdict.raise_unless_accepted(_INNER)


def _check_voucher_mandate(knowledge: RegisterSnapshot, voucher: str, party: str, at: datetime) -> None:
    """Raise when the voucher has no mandate of the party, for example of a party of another country."""
    if not knowledge.make_filing_register(at).has_mandate(voucher, party):
        detail = f"{voucher[:40]} vouches for {party[:40]} and holds no mandate of it"
        raise GatewayError(DECLARANT_NOT_ALLOWED, detail, _OUTER)


def _require_registered_party(party: str | None, where: str) -> str:
    if party is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the signer's certificate is not registered", where)
    return party


def _describe_admission(hub: Hub, certificate: Certificate, verdict: Verdict) -> dict[str, Any]:
    """Return how a signer was admitted, and the digest of the stored verdict."""
    return {**verdict.admission_way, "verdict": hub.verdicts.find_verdict_digest(certificate.sha256)}


def _make_signer_evidence(certificate: Certificate, way: Mapping[str, Any]) -> dict[str, Any]:
    return {"certificate": certificate.sha256, **way}
