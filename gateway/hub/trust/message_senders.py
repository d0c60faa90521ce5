"""Determines who sent a message: the signer of a submission, and the party behind a TLS client certificate.

A signer is admitted directly, or by a voucher. For mutual TLS the handshake proved that the client has the
key of a certificate. Here that certificate is compared with the register: the party must be allowed to use it
for TLS now, it must be valid by the hub's own trust at this time, and the party must be the signer of
the message. Every certificate that is shown is checked. The settings and the P-Modes say which party must
show one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNTRUSTED,
    CLIENT_CERTIFICATE,
    DECLARANT_NOT_ALLOWED,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.register.trusted_register import RegisterSnapshot
from gateway.pki import Certificate, CertificateUse, Verdict
from gateway.protocols import OpenedMessage, ProtocolContext
from gateway.recognition import VouchedDocument, is_vouched_document, open_vouched_document
from gateway.store import get_database_state, write_transaction
from gateway.wire import WireLimits, parse_xml
from gateway.xmlsec import verify_document

_SIGNER_LOCATION: Final = "/Submission/ds:Signature"
_VOUCHER_LOCATION: Final = "/Vouched/ds:Signature"


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
    evidence: Mapping[str, Any]


def open_document(content: bytes, limits: WireLimits) -> OpenedDocument:
    """Read the tree of a submission; from a vouched document, read the party's own document inside."""
    root = parse_xml(content, limits)
    if not is_vouched_document(root):
        return OpenedDocument(root)
    vouched = open_vouched_document(content, limits=limits)
    return OpenedDocument(parse_xml(vouched.document, limits), vouched)


def admit_signer(
    hub: Hub, opened: OpenedDocument, register: RegisterSnapshot, submission_times: SubmissionTimes
) -> SignerAdmission:
    """Return the party that signed a document; raises for a bad signature, or a signer not admitted."""
    if opened.vouched is not None:
        return _admit_vouched_signer(hub, opened, opened.vouched, register, submission_times)
    certificate = verify_document(opened.root).certificate
    # A document received before the end of a certificate's use counts, however long it waited here.
    party = _require_registered_party(
        register.find_certificate_party(certificate.sha256, submission_times.received_at), _SIGNER_LOCATION
    )
    # After the register lookup: certificates that are not registered are not validated.
    verdict = hub.judge(certificate.der, CertificateUse.SIGNING, submission_times.checked_at)
    verdict.raise_unless_accepted(_SIGNER_LOCATION)
    return SignerAdmission(
        party, None, _make_signer_evidence(certificate, _describe_admission(hub, certificate, verdict))
    )


def _admit_vouched_signer(
    hub: Hub,
    opened: OpenedDocument,
    vouched: VouchedDocument,
    register: RegisterSnapshot,
    submission_times: SubmissionTimes,
) -> SignerAdmission:
    """Validate the gateway that signs, and that it is a registered voucher; it must hold the party's mandate.

    That gateway checks whether a path leads to the party's certificate, unless this hub can validate the
    certificate itself.
    """
    # Removes the comments, which the party's signature does not cover, from this tree, as the gateway did.
    verify_document(opened.root)
    party = _require_registered_party(
        register.find_certificate_party(vouched.signer.sha256, submission_times.received_at), _SIGNER_LOCATION
    )
    voucher = _require_registered_party(
        register.find_certificate_party(vouched.voucher.sha256, submission_times.received_at),
        _VOUCHER_LOCATION,
    )
    if voucher not in register.vouchers:
        detail = f"party {voucher[:40]} is not registered as a voucher"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, _VOUCHER_LOCATION)
    _check_vouched_certificate(hub, vouched, submission_times.checked_at)
    _check_voucher_mandate(register, voucher, party, submission_times.received_at)
    verdict = hub.judge(vouched.voucher.der, CertificateUse.SIGNING, submission_times.checked_at)
    verdict.raise_unless_accepted(_VOUCHER_LOCATION)
    try:
        levels = hub.recognizer.check_vouched_levels(
            vouched, submission_times.checked_at, submission_times.received_at
        )
    except GatewayError as refused:
        raise GatewayError(refused.problem, refused.detail, _VOUCHER_LOCATION) from refused
    signer_evidence = {
        "mode": "vouched",
        "source": hub.recognizer.describe_vouching(vouched, voucher),
        "levels": sorted(levels),
        "judged": vouched.judged.isoformat(),
        "voucher": _make_signer_evidence(vouched.voucher, _describe_admission(hub, vouched.voucher, verdict)),
    }
    return SignerAdmission(party, voucher, _make_signer_evidence(vouched.signer, signer_evidence))


def _check_vouched_certificate(hub: Hub, vouched: VouchedDocument, at: datetime) -> None:
    """Raise for a party's certificate that this hub rejects: its own verdict prevails over a voucher.

    If the issuer is unknown to this hub, its verdict does not count.
    """
    verdict = hub.judge(vouched.signer.der, CertificateUse.SIGNING, at)
    if verdict.is_transient or hub.recognizer.can_validate_certificate(vouched.signer, hub.judge.trust, at):
        verdict.raise_unless_accepted(_SIGNER_LOCATION)


def _check_voucher_mandate(register: RegisterSnapshot, voucher: str, party: str, at: datetime) -> None:
    """Raise when the voucher has no mandate of the party, for example of a party of another country."""
    if not register.make_filing_register(at).has_mandate(voucher, party):
        detail = f"{voucher[:40]} vouches for {party[:40]} and holds no mandate of it"
        raise GatewayError(DECLARANT_NOT_ALLOWED, detail, _VOUCHER_LOCATION)


def _require_registered_party(party: str | None, location: str) -> str:
    if party is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the signer's certificate is not registered", location)
    return party


def _describe_admission(hub: Hub, certificate: Certificate, verdict: Verdict) -> dict[str, Any]:
    """Return how a signer was admitted, and the digest of the stored verdict."""
    return {**verdict.admission_evidence, "verdict": hub.verdicts.find_verdict_digest(certificate.sha256)}


def _make_signer_evidence(certificate: Certificate, admission: Mapping[str, Any]) -> dict[str, Any]:
    return {"certificate": certificate.sha256, **admission}


#: In the place of a party name: every party.
EVERYBODY = "*"
_TLS = "TLS"


@dataclass(frozen=True, slots=True)
class SenderConnection:
    """`party` has sent a message on a connection with a client certificate (SHA-256), or with none.

    `is_certificate_required`: the agreement says that it must show one.
    """

    party: str
    certificate_sha256: str | None
    is_certificate_required: bool = False


def check_message_connection(
    hub: Hub, opened: OpenedMessage, context: ProtocolContext, register: RegisterSnapshot
) -> None:
    """Raise for a message on a connection of another party, or without a required client certificate."""
    client_sha256 = opened.parcel.client_sha256
    is_certificate_required = opened.pmode is not None and opened.pmode.security.mutual_tls
    if client_sha256 is not None or is_certificate_required or hub.mutual_tls:
        check_client_certificate(
            hub,
            SenderConnection(_find_sender(opened, context), client_sha256, is_certificate_required),
            register,
            context.now,
        )


def _find_sender(opened: OpenedMessage, context: ProtocolContext) -> str:
    signed = opened.verified_signature
    signer = context.find_certificate_party(signed.certificate.sha256) if signed is not None else None
    return signer or context.get_party_name(opened.unit.sender)


def check_client_certificate(
    hub: Hub, sender_connection: SenderConnection, register: RegisterSnapshot, at: datetime
) -> None:
    """Raise for a connection that is not the party's own, and record evidence of that.

    Raises GW213 for a certificate that is missing, unknown or another party's, GW205 to GW208 for a
    certificate of the party that is not valid now, GW806 for one that could not be validated.
    """
    try:
        _validate_client_certificate(hub, sender_connection, register, at)
    except GatewayError as problem:
        raise_resource_problem(problem)
        # A refusal by an outdated snapshot is not recorded: the message is evaluated again.
        if hub.register.is_snapshot_current(register):
            _record_refusal(hub, sender_connection, problem, at)
        raise


def _validate_client_certificate(
    hub: Hub, sender_connection: SenderConnection, register: RegisterSnapshot, at: datetime
) -> None:
    """Check the TLS client certificate of the connection on which a party has sent a message.

    Raises GW213 for one that is missing, unknown or another party's, GW205 to GW208 for an invalid one.
    """
    if sender_connection.certificate_sha256 is None:
        if sender_connection.is_certificate_required or not hub.mutual_tls.isdisjoint(
            (sender_connection.party, EVERYBODY)
        ):
            raise GatewayError(
                CLIENT_CERTIFICATE, f"{sender_connection.party[:80]} showed no certificate", _TLS
            )
        return
    held = register.tls_clients.get(sender_connection.certificate_sha256)
    certificate_name = f"certificate {sender_connection.certificate_sha256[:16]}"
    if held is None:
        raise GatewayError(
            CLIENT_CERTIFICATE, f"{certificate_name} is not registered for an active party", _TLS
        )
    if held.party != sender_connection.party:
        detail = f"{certificate_name} is not one of {sender_connection.party[:80]}, which sent the message"
        raise GatewayError(CLIENT_CERTIFICATE, detail, _TLS)
    invalidity = held.describe_invalidity(at)
    if invalidity:
        raise GatewayError(CERTIFICATE_EXPIRED, f"{certificate_name} {invalidity}", _TLS)
    hub.judge(held.der, CertificateUse.TLS_CLIENT, at).raise_unless_accepted(_TLS)


def _record_refusal(
    hub: Hub, sender_connection: SenderConnection, problem: GatewayError, at: datetime
) -> None:
    """Record a refused connection; the records of a party in an hour are limited, since it can repeat."""
    shortage = get_database_state(hub.engine).reserve.find_shortage()
    if shortage is not None or not hub.refusals.acquire_slot(f"tls {sender_connection.party}", at):
        return
    data = {
        "certificate": sender_connection.certificate_sha256 or "",
        "problem": problem.problem.id,
        "detail": problem.detail[:300],
    }
    with write_transaction(hub.engine, "clients.refused") as conn:
        record_evidence(
            conn,
            "connection_refused",
            "party",
            sender_connection.party,
            sender_connection.certificate_sha256,
            data,
            at,
        )
