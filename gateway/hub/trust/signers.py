"""Who signed a submission, and by which way he was admitted: an own document, or one vouched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import CERTIFICATE_UNTRUSTED, DECLARANT_NOT_ALLOWED, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.knowledge import Knowledge
from gateway.pki.certificates import Certificate
from gateway.pki.trust import Use, Verdict
from gateway.recognition.vouching import Vouched, is_vouched, open_vouched
from gateway.wire.prescan import Limits
from gateway.wire.xml import parse_xml
from gateway.xmlsec.xades import verify_document

__all__ = ["Moments", "Opened", "Signing", "open_document", "signing_of"]

_INNER: Final = "/Submission/ds:Signature"
_OUTER: Final = "/Vouched/ds:Signature"


@dataclass(frozen=True, slots=True)
class Opened:
    """The tree of a party's document, and the word of the gateway that carried it, where one did.

    The two signatures of what was vouched for are verified; of any other none is yet.
    """

    root: etree._Element
    vouched: Vouched | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """When a document came, and when it is judged."""

    came: datetime
    judged: datetime


@dataclass(frozen=True, slots=True)
class Signing:
    """The party whose signature a document bears, the one that vouches for it, and the evidence of both."""

    party: str
    voucher: str | None
    way: Mapping[str, Any]


def open_document(content: bytes, limits: Limits) -> Opened:
    """Read the tree of a submission: the party's own, from inside what a gateway vouches for."""
    root = parse_xml(content, limits)
    if not is_vouched(root):
        return Opened(root)
    vouched = open_vouched(content, limits=limits)
    return Opened(parse_xml(vouched.document, limits), vouched)


def signing_of(hub: Hub, opened: Opened, knowledge: Knowledge, when: Moments) -> Signing:
    """Return whose signature a document bears; raises where it is bad, or its signer not to be admitted."""
    if opened.vouched is not None:
        return _vouched(hub, opened, opened.vouched, (knowledge, when))
    certificate = verify_document(opened.root).certificate
    # What came before the cut of a certificate counts, however long it waited here.
    party = _registered(knowledge.party_of(certificate.sha256, when.came), _INNER)
    # After the look at the register: strangers' certificates are not worth a judgement.
    verdict = hub.judge(certificate.der, Use.SIGNING, when.judged)
    verdict.demand(_INNER)
    return Signing(party, None, _evidence(certificate, _judged(hub, certificate, verdict)))


def _vouched(hub: Hub, opened: Opened, vouched: Vouched, known: tuple[Knowledge, Moments]) -> Signing:
    """Judge the gateway as any signer, and by our list as a voucher; it holds the party's mandate.

    Whether a path leads to the party's certificate is the gateway's affair, unless we judge it ourselves.
    """
    knowledge, when = known
    # Takes out of this tree what the party's signature does not cover, as it did for the gateway.
    verify_document(opened.root)
    party = _registered(knowledge.party_of(vouched.signer.sha256, when.came), _INNER)
    voucher = _registered(knowledge.party_of(vouched.voucher.sha256, when.came), _OUTER)
    if voucher not in knowledge.vouchers:
        detail = f"party {voucher[:40]} is not registered as a voucher"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, _OUTER)
    _check_for_it_to_say(hub, vouched, when.judged)
    _check_mandate(knowledge, voucher, party, when.came)
    verdict = hub.judge(vouched.voucher.der, Use.SIGNING, when.judged)
    verdict.demand(_OUTER)
    try:
        levels = hub.recognizer.levels_of(vouched, when.judged, when.came)
    except GatewayError as refused:
        raise GatewayError(refused.problem, refused.detail, _OUTER) from refused
    way = {
        "mode": "vouched",
        "source": hub.recognizer.vouching_source(vouched, voucher),
        "levels": sorted(levels),
        "judged": vouched.judged.isoformat(),
        "voucher": _evidence(vouched.voucher, _judged(hub, vouched.voucher, verdict)),
    }
    return Signing(party, voucher, _evidence(vouched.signer, way))


def _check_for_it_to_say(hub: Hub, vouched: Vouched, at: datetime) -> None:
    """Refuse a party's certificate that we refuse ourselves: who vouches for it knows it no better.

    Where we have never heard of its issuer there is nothing of ours to go by.
    """
    verdict = hub.judge(vouched.signer.der, Use.SIGNING, at)
    if verdict.passing or hub.recognizer.knows(vouched.signer, hub.judge.trust, at):
        verdict.demand(_INNER)


def _check_mandate(knowledge: Knowledge, voucher: str, party: str, at: datetime) -> None:
    """Refuse a word on a party of whom the gateway has no mandate: one of another country."""
    if not knowledge.register(at).mandated(voucher, party):
        detail = f"{voucher[:40]} vouches for {party[:40]} and holds no mandate of it"
        raise GatewayError(DECLARANT_NOT_ALLOWED, detail, _OUTER)


def _registered(party: str | None, where: str) -> str:
    if party is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the signer's certificate is not registered", where)
    return party


def _judged(hub: Hub, certificate: Certificate, verdict: Verdict) -> dict[str, Any]:
    """Return by which way a signer was admitted, and under which digest it is kept what that rests on."""
    return {**verdict.way, "verdict": hub.verdicts.name(certificate.sha256)}


def _evidence(certificate: Certificate, way: Mapping[str, Any]) -> dict[str, Any]:
    return {"certificate": certificate.sha256, **way}
