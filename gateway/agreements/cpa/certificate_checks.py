"""Rules on the certificates of a CPA: their period, their keys, what they are made for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from gateway.agreements.cpa.cpa_model import CertificateHolder, CpaParty, NonRepudiation
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.pki import Certificate

__all__ = ["CERTIFICATE_CHECKS", "list_certificate_uses"]

_LEAST_BITS: Final = 2048
_SIGNING: Final = {"digitalSignature", "nonRepudiation", "contentCommitment"}
_ENCRYPTING: Final = {"keyEncipherment", "dataEncipherment", "keyAgreement"}


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def list_certificate_uses(party: CpaParty) -> Iterator[tuple[CertificateHolder, str]]:
    """Yield the certificates of a party with their uses: signing, encryption, tls; each pair once."""
    names: dict[tuple[str, str], None] = {}
    for exchange in party.exchanges.values():
        sender, receiver = exchange.sender, exchange.receiver
        if sender is not None and sender.non_repudiation is not None:
            names[sender.non_repudiation.certificate or "", "signing"] = None
        if receiver is not None and receiver.envelope is not None:
            names[receiver.envelope.certificate or "", "encryption"] = None
    for transport in party.transports.values():
        for side in (transport.sender, transport.receiver):
            if side is not None and side.security is not None:
                names[side.security.certificate or "", "tls"] = None
    for name, use in names:
        if name in party.certificates:
            yield party.certificates[name], use


def _find_unreadable_certificates(view: CpaView) -> Found:
    for party in view.document.parties:
        for holder in party.certificates.values():
            reason = view.unreadable.get(holder.place.xpath)
            if reason is not None:
                text = f"certificate {quote_name(holder.id)}: {quote_name(reason)}"
                yield CpaFinding("certificate-unreadable", holder.place, text)
            elif not holder.chain:
                text = f"certificate {quote_name(holder.id)} is only named: its octets are not here"
                yield CpaFinding("certificate-named", holder.place, text)


def _list_read(view: CpaView) -> Iterator[tuple[CertificateHolder, Certificate, tuple[str, ...]]]:
    """Yield the certificates in use that could be read, with all their uses."""
    for party in view.document.parties:
        uses: dict[str, list[str]] = {}
        for holder, use in list_certificate_uses(party):
            uses.setdefault(holder.id, []).append(use)
        for name, found in uses.items():
            certificate = view.find_certificate(party, name)
            if certificate is not None:
                yield party.certificates[name], certificate, tuple(found)


def _find_period_problems(view: CpaView) -> Found:
    document = view.document
    if document.start is None or document.end is None:
        return
    begins = max(document.start, view.at)
    for holder, one, _ in _list_read(view):
        name = f"certificate {quote_name(holder.id)} "
        if one.not_after <= view.at:
            text = name + f"ended at {_format_time(one.not_after)}"
            yield CpaFinding("certificate-ended", holder.place, text)
        elif one.not_after < document.end:
            text = (
                name + f"ends at {_format_time(one.not_after)}, the agreement at {_format_time(document.end)}"
            )
            yield CpaFinding("certificate-ends-early", holder.place, text)
        if one.not_before > begins:
            text = name + f"begins at {_format_time(one.not_before)}, after the agreement"
            yield CpaFinding("certificate-begins-late", holder.place, text)


def _find_key_problems(view: CpaView) -> Found:
    for holder, one, uses in _list_read(view):
        name, usage = f"certificate {quote_name(holder.id)} ", one.key_usage
        if usage is not None and "signing" in uses and not usage & _SIGNING:
            text = name + "signs, and its key usage has no digital signature"
            yield CpaFinding("key-usage-signing", holder.place, text)
        if usage is not None and "encryption" in uses and not usage & _ENCRYPTING:
            text = name + "is encrypted for, and its key usage has no encipherment"
            yield CpaFinding("key-usage-encryption", holder.place, text)
        bits = _count_rsa_bits(one)
        if bits is not None and bits < _LEAST_BITS:
            yield CpaFinding("key-short", holder.place, name + f"has an RSA key of {bits} bits")


def _count_rsa_bits(one: Certificate) -> int | None:
    key: Any = one.public_key
    return int(key.key_size) if "rsa" in one.key_type.lower() and hasattr(key, "key_size") else None


def _find_key_algorithm_problems(view: CpaView) -> Found:
    for party in view.document.parties:
        for exchange in party.exchanges.values():
            signed = exchange.sender.non_repudiation if exchange.sender is not None else None
            one = view.find_certificate(party, signed.certificate) if signed is not None else None
            if signed is not None and one is not None and not _fits_key(signed, one):
                text = f"certificate {quote_name(signed.certificate or '')} has another kind of key than "
                text += quote_name(signed.algorithms[0].name)
                yield CpaFinding("key-algorithm", signed.place, text)


def _fits_key(signed: NonRepudiation, one: Certificate) -> bool:
    """Return whether a key can make one of the signatures; an algorithm of no known kind fits."""
    for algorithm in signed.algorithms:
        kind = next(
            (word for word in ("ecdsa", "eddsa", "rsa", "dsa") if word in algorithm.name.lower()), None
        )
        if kind is None or _name_key_kind(one) == kind:
            return True
    return False


def _name_key_kind(one: Certificate) -> str:
    key = one.key_type.lower()
    if "rsa" in key:
        return "rsa"
    if "25519" in key or "448" in key:
        return "eddsa"
    return "dsa" if key.startswith("dsa") else "ecdsa"


CERTIFICATE_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_unreadable_certificates,
    _find_period_problems,
    _find_key_problems,
    _find_key_algorithm_problems,
)
