"""The identity of a simulated partner, its trust anchors, and a broker's agreement with the hub."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.errors import MISUSE, PMODE_UNKNOWN, SIGNER_MISMATCH, GatewayError
from gateway.message_model import AckRequest, PartyId, UserMessage
from gateway.pki import (
    Certificate,
    CertificateUse,
    CertificateValidator,
    DecryptionKey,
    RevocationData,
    Signer,
    TrustPolicy,
    TrustStore,
    load_decryption_key,
    load_signer,
    read_certificate,
    read_certificates,
)
from gateway.protocols import EncryptionResources, ProtocolContext, SoapTerms, make_sequence_number
from gateway.wire import DEFAULT_LIMITS
from gateway.xmlsec import DEFAULT_WINDOW, STRICT

#: The file of a partner folder with the certificate for which payloads to the hub are encrypted.
RECEIVER_FILE: Final = "hub.encryption.cert.pem"

#: How the signatures of SOAP calls and answers of the hub are verified.
SIGNATURE_TERMS: Final = SoapTerms(STRICT, DEFAULT_LIMITS, DEFAULT_WINDOW)


def get_current_time() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PartnerIdentity:
    """A partner's own key, the authorities it trusts, and the hub's certificates.

    Without a certificate of the hub (`hub` empty), any other certificate of the trusted
    authorities counts as the hub's. `receiver` is the certificate for which payloads to the hub
    are encrypted, `decryption` the key that opens those for us; each where the folder has it.
    """

    name: str
    signer: Signer
    judge: CertificateValidator
    hub: frozenset[str] = frozenset()
    receiver: Certificate | None = None
    decryption: DecryptionKey | None = None

    def make_encryption_resources(self) -> EncryptionResources:
        """Return what encrypts and decrypts payloads; raising where the folder has no certificate."""
        keys = (self.decryption,) if self.decryption is not None else ()
        return EncryptionResources(keys, os.urandom, self._find_receiver)

    def _find_receiver(self, _party: str, _pin: str | None) -> Certificate:
        if self.receiver is None:
            detail = f"the partner folder has no {RECEIVER_FILE}, to encrypt payloads for the hub"
            raise GatewayError(MISUSE, detail, RECEIVER_FILE)
        return self.receiver

    def is_hub_certificate(self, sha256: str) -> bool:
        """Return whether a certificate (SHA-256) is the hub's."""
        return sha256 in self.hub if self.hub else sha256 != self.signer.certificate.sha256

    def verify_hub_certificate(self, certificate: Certificate, at: datetime, location: str) -> None:
        """Raise GW209 unless `certificate` is the hub's, GW205 to GW208 unless it is valid at that time."""
        if not self.is_hub_certificate(certificate.sha256):
            raise GatewayError(SIGNER_MISMATCH, f"{certificate.subject[:120]} is not the hub", location)
        self.judge(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(location)


def read_identity(folder: Path, name: str, hub: tuple[Path, ...] = ()) -> PartnerIdentity:
    """Read NAME.key.pem, NAME.cert.pem, ca.pem and crl.pem; hub.cert.pem unless `hub` names other files.

    A file of the hub may have several certificates: the hub has two while it changes its key.
    NAME.decryption.key.pem with its NAME.decryption.cert.pem, and hub.encryption.cert.pem, are read
    where they are.
    """
    beside = folder / "hub.cert.pem"
    known = hub or ((beside,) if beside.is_file() and name != "hub" else ())
    signer = load_signer(read_file(folder / f"{name}.key.pem"), read_file(folder / f"{name}.cert.pem"))
    anchors = read_certificates(read_file(folder / "ca.pem"))
    lists = folder / "crl.pem"
    crls = (read_file(lists),) if lists.is_file() else ()
    policy = TrustPolicy(revocation="require" if crls else "if_present")
    judge = CertificateValidator(TrustStore(anchors, (), policy), RevocationData(crls))
    certificates = (one for path in known for one in read_certificates(read_file(path)))
    pins = frozenset(one.sha256 for one in certificates)
    return PartnerIdentity(name, signer, judge, pins, *_read_encryption_files(folder, name))


def _read_encryption_files(folder: Path, name: str) -> tuple[Certificate | None, DecryptionKey | None]:
    receiver, key = folder / RECEIVER_FILE, folder / f"{name}.decryption.key.pem"
    own = folder / f"{name}.decryption.cert.pem"
    return (
        read_certificate(read_file(receiver)) if receiver.is_file() else None,
        load_decryption_key(read_file(key), read_file(own)) if key.is_file() else None,
    )


def read_file(path: Path) -> bytes:
    """Return the content of a file that a partner needs; raise GW808 when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", str(path)) from None


#: Local names of the two parties; they are not sent.
HUB = "hub"
US = "us"
_APPLICANT = "Applicant"
_SUBMIT = "Submit"


@dataclass(frozen=True, slots=True)
class Membership:
    """Our identity, the agreement with the hub, and the party of the agreement that we are."""

    identity: PartnerIdentity
    book: PModeIndex
    ours: frozenset[PartyId]
    theirs: frozenset[PartyId]

    @property
    def awaits_posts(self) -> bool:
        """Return whether the hub posts to us: messages that we do not pull, or signals about ours."""
        to_us = (one for one in self.book.pmodes if one.to_party[0] in self.ours)
        by_us = (one for one in self.book.pmodes if one.from_party[0] in self.ours)
        return any(one.pull is None for one in to_us) or any(one.posts_signals for one in by_us)

    @property
    def protocol(self) -> str:
        """Return the name of the protocol in which the messages of the agreement are."""
        return self.book.pmodes[0].protocol

    def list_pulled_pmodes(self) -> tuple[PMode, ...]:
        """Return one P-Mode of each channel from which we pull."""
        found = self.book.list_pulling_pmodes(self.ours, get_current_time())
        return tuple({one.pull_channel: one for one in found}.values())

    @property
    def listening_endpoint(self) -> str | None:
        """Return our URL in the agreement."""
        urls = (one.endpoint for one in self.book.pmodes if one.to_party[0] in self.ours)
        back = (one.reply_endpoint for one in self.book.pmodes if one.from_party[0] in self.ours)
        return next((url for url in (*urls, *back) if url), None)

    def get_outgoing_pmode(self, action: str) -> PMode:
        """Return the P-Mode with which we send `action`; raise GW303."""
        at = get_current_time()
        for pmode in self.book.pmodes:
            if pmode.from_party[0] in self.ours and pmode.action == action and pmode.is_in_force(at):
                return pmode
        raise GatewayError(
            PMODE_UNKNOWN, f"no active P-Mode permits this party to send {action[:40]!r}", "agreement"
        )

    @staticmethod
    def make_ack_request(pmode: PMode) -> AckRequest | None:
        """Return the receipt that is agreed for messages of a P-Mode, None where none is."""
        terms = pmode.reliability
        return AckRequest(terms.ack_signed != "never") if terms.ack_requested != "never" else None

    def make_user_message(self, action: str, message_id: str, at: datetime, **fields: Any) -> UserMessage:
        """Return a message to the hub with the agreed values, overridden by `fields`."""
        pmode = self.get_outgoing_pmode(action)
        terms = pmode.reliability
        agreed = UserMessage(
            message_id=message_id,
            conversation_id=f"c-{message_id}",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=at.replace(microsecond=at.microsecond // 1000 * 1000),
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            duplicate_elimination=terms.duplicate_elimination != "never",
            ack_requested=self.make_ack_request(pmode),
            sync_reply=pmode.sync_reply_mode != "none",
            # Each message is sent when the one before it is acknowledged: so each may begin anew.
            sequence=make_sequence_number(0) if terms.message_order else None,
        )
        return replace(agreed, **fields)

    def build_context(self) -> ProtocolContext:
        """Return the protocol context at the current time."""
        host = f"{self.identity.name}.broker.invalid"
        return ProtocolContext(
            agreements=self.book,
            validate_certificate=self.identity.judge,
            keys={US: self.identity.signer},
            now=get_current_time(),
            make_message_id=lambda: f"{uuid.uuid4()}@{host}",
            find_certificate_party=self._find_certificate_party,
            find_party_name=self._find_party_by_id,
            encryption=self.identity.make_encryption_resources(),
        )

    def _find_certificate_party(self, sha256: str) -> str | None:
        if self.identity.is_hub_certificate(sha256):
            return HUB
        return US if sha256 == self.identity.signer.certificate.sha256 else None

    def _find_party_by_id(self, one: PartyId) -> str | None:
        return US if one in self.ours else HUB if one in self.theirs else None


def read_membership(
    folder: Path,
    name: str,
    agreement: Path | None = None,
    hub: tuple[Path, ...] = (),
    *,
    sends: str = _SUBMIT,
) -> Membership:
    """Read a partner folder: keys, trust anchors and ``agreement.yaml`` (or the named file).

    Our side is the one that `sends` that action, or the one with the role Applicant.
    """
    identity = read_identity(folder, name, hub)
    path = agreement or folder / "agreement.yaml"
    pmodes = read_pmodes(read_file(path), path.name)
    ours = next((one for one in pmodes if one.action == sends or one.from_role == _APPLICANT), None)
    if ours is None:
        raise GatewayError(MISUSE, f"no P-Mode of the agreement lets an applicant send {sends}", path.name)
    return Membership(identity, PModeIndex(pmodes), frozenset(ours.from_party), frozenset(ours.to_party))
