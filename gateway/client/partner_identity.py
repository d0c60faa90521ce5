"""The identity of a simulated partner, its trust anchors, and a broker's agreement with the hub."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.agreements import (
    PMode,
    PModeIndex,
    convert_cpa,
    is_peer_pmode,
    is_xml_document,
    read_cpa,
    read_peer_pmode,
    read_pmodes,
)
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
from gateway.protocols import (
    EncryptionResources,
    ProtocolContext,
    make_sequence_number,
)

#: The file of a partner folder with the certificate for which payloads to the hub are encrypted.
RECEIVER_FILE: Final = "hub.encryption.cert.pem"


def get_current_time() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PartnerIdentity:
    """A partner's own key, the authorities it trusts, and the hub's certificates.

    Without a certificate of the hub (`hub_certificates` empty), any other certificate of the trusted
    authorities counts as the hub's. `encryption_certificate` is the certificate for which payloads to the hub
    are encrypted, `decryption_key` the key that opens those for the partner; each where the folder has it.
    `agreed_certificates` are the certificates that the agreement holds, as DER by their SHA-256.
    """

    name: str
    signer: Signer
    validate_certificate: CertificateValidator
    hub_certificates: frozenset[str] = frozenset()
    encryption_certificate: Certificate | None = None
    decryption_key: DecryptionKey | None = None
    agreed_certificates: Mapping[str, bytes] = field(default_factory=dict)

    def make_encryption_resources(self) -> EncryptionResources:
        """Return the functions that encrypt and decrypt payloads; they raise where the folder lacks a key."""
        keys = (self.decryption_key,) if self.decryption_key is not None else ()
        return EncryptionResources(keys, os.urandom, self._get_encryption_certificate)

    def _get_encryption_certificate(self, _party: str, certificate_sha256: str | None) -> Certificate:
        """Return the certificate to encrypt payloads for: that of the partner folder, else the agreed one.

        Raises GW808 if neither exists.
        """
        if self.encryption_certificate is not None:
            return self.encryption_certificate
        if certificate_sha256 is not None and certificate_sha256 in self.agreed_certificates:
            return read_certificate(self.agreed_certificates[certificate_sha256])
        detail = (
            f"the partner folder has no {RECEIVER_FILE}, to encrypt payloads for the hub, and the agreement "
            "does not hold this certificate"
        )
        raise GatewayError(MISUSE, detail, RECEIVER_FILE)

    def is_hub_certificate(self, sha256: str) -> bool:
        """Return whether a certificate (SHA-256) is the hub's."""
        return (
            sha256 in self.hub_certificates
            if self.hub_certificates
            else sha256 != self.signer.certificate.sha256
        )

    def verify_hub_certificate(self, certificate: Certificate, at: datetime, location: str) -> None:
        """Raise GW209 unless `certificate` is the hub's, GW205 to GW208 unless it is valid at that time."""
        if not self.is_hub_certificate(certificate.sha256):
            raise GatewayError(SIGNER_MISMATCH, f"{certificate.subject[:120]} is not the hub", location)
        self.validate_certificate(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(location)


def read_identity(folder: Path, name: str, hub_files: tuple[Path, ...] = ()) -> PartnerIdentity:
    """Read NAME.key.pem, NAME.cert.pem, ca.pem, crl.pem, and `hub_files` (by default hub.cert.pem).

    A file of the hub may have several certificates: the hub has two while it changes its key.
    NAME.decryption.key.pem with its NAME.decryption.cert.pem, and hub.encryption.cert.pem, are read
    where they are.
    """
    hub_file = folder / "hub.cert.pem"
    certificate_files = hub_files or ((hub_file,) if hub_file.is_file() and name != "hub" else ())
    signer = load_signer(read_file(folder / f"{name}.key.pem"), read_file(folder / f"{name}.cert.pem"))
    anchors = read_certificates(read_file(folder / "ca.pem"))
    crl_file = folder / "crl.pem"
    crls = (read_file(crl_file),) if crl_file.is_file() else ()
    policy = TrustPolicy(revocation="require" if crls else "if_present")
    validator = CertificateValidator(TrustStore(anchors, (), policy), RevocationData(crls))
    certificates = (
        certificate for path in certificate_files for certificate in read_certificates(read_file(path))
    )
    hub_certificates = frozenset(certificate.sha256 for certificate in certificates)
    return PartnerIdentity(name, signer, validator, hub_certificates, *_read_encryption_files(folder, name))


def _read_encryption_files(folder: Path, name: str) -> tuple[Certificate | None, DecryptionKey | None]:
    """Return the hub's encryption certificate and the own decryption key; each is None without its file."""
    receiver_file, key_file = folder / RECEIVER_FILE, folder / f"{name}.decryption.key.pem"
    certificate_file = folder / f"{name}.decryption.cert.pem"
    return (
        read_certificate(read_file(receiver_file)) if receiver_file.is_file() else None,
        load_decryption_key(read_file(key_file), read_file(certificate_file)) if key_file.is_file() else None,
    )


def read_file(path: Path) -> bytes:
    """Return the content of a file that a partner needs; raise GW808 when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", str(path)) from None


#: Local names of the two parties; they are not sent.
HUB_PARTY = "hub"
OWN_PARTY = "us"
_SUBMIT_ACTION = "Submit"


@dataclass(frozen=True, slots=True)
class Membership:
    """The identity of this party, its agreement with the hub, and which party of the agreement it is."""

    identity: PartnerIdentity
    book: PModeIndex
    own_identifiers: frozenset[PartyId]
    hub_identifiers: frozenset[PartyId]

    @property
    def awaits_posts(self) -> bool:
        """Return whether the hub posts to this party: messages it does not pull, or signals about its own."""
        incoming_pmodes = (pmode for pmode in self.book.pmodes if pmode.to_party[0] in self.own_identifiers)
        outgoing_pmodes = (pmode for pmode in self.book.pmodes if pmode.from_party[0] in self.own_identifiers)
        return any(pmode.pull is None for pmode in incoming_pmodes) or any(
            pmode.posts_signals for pmode in outgoing_pmodes
        )

    @property
    def protocol(self) -> str:
        """Return the name of the protocol in which the messages of the agreement are."""
        return self.book.pmodes[0].protocol

    def list_pulled_pmodes(self, at: datetime) -> tuple[PMode, ...]:
        """Return one P-Mode of each channel from which this party pulls at a time."""
        pmodes = self.book.list_pulling_pmodes(self.own_identifiers, at)
        return tuple({pmode.pull_channel: pmode for pmode in pmodes}.values())

    @property
    def hub_endpoint(self) -> str | None:
        """Return the URL of the hub in the agreement."""
        urls = (pmode.endpoint for pmode in self.book.pmodes if pmode.from_party[0] in self.own_identifiers)
        return next((url for url in urls if url), None)

    @property
    def listening_endpoint(self) -> str | None:
        """Return the URL of this party in the agreement; None if it has none."""
        urls = (pmode.endpoint for pmode in self.book.pmodes if pmode.to_party[0] in self.own_identifiers)
        reply_urls = (
            pmode.reply_endpoint for pmode in self.book.pmodes if pmode.from_party[0] in self.own_identifiers
        )
        return next((url for url in (*urls, *reply_urls) if url), None)

    def get_outgoing_pmode(self, action: str, at: datetime) -> PMode:
        """Return the P-Mode with which this party sends `action` at a time; raise GW303 if there is none."""
        for pmode in self.book.pmodes:
            if (
                pmode.from_party[0] in self.own_identifiers
                and pmode.action == action
                and pmode.is_in_force(at)
            ):
                return pmode
        raise GatewayError(
            PMODE_UNKNOWN, f"no active P-Mode permits this party to send {action[:40]!r}", "agreement"
        )

    @staticmethod
    def make_ack_request(pmode: PMode) -> AckRequest | None:
        """Return the receipt that is agreed for messages of a P-Mode, None where none is."""
        reliability = pmode.reliability
        return AckRequest(reliability.ack_signed != "never") if reliability.ack_requested != "never" else None

    def make_user_message(self, action: str, message_id: str, at: datetime, **fields: Any) -> UserMessage:
        """Return a message to the hub with the agreed values, overridden by `fields`."""
        pmode = self.get_outgoing_pmode(action, at)
        reliability = pmode.reliability
        agreed_message = UserMessage(
            message_id=message_id,
            conversation_id=f"c-{message_id}",
            sender=pmode.sender,
            receiver=pmode.receiver,
            agreement=pmode.agreement,
            timestamp=at.replace(microsecond=at.microsecond // 1000 * 1000),
            service=pmode.service,
            service_type=pmode.service_type,
            action=action,
            duplicate_elimination=reliability.duplicate_elimination != "never",
            ack_requested=self.make_ack_request(pmode),
            sync_reply=pmode.sync_reply_mode != "none",
            # A message is sent only after the previous one is acknowledged: each may begin a new sequence.
            sequence=make_sequence_number(0) if reliability.message_order else None,
        )
        return replace(agreed_message, **fields)

    def build_context(self) -> ProtocolContext:
        """Return the protocol context at the current time."""
        host = f"{self.identity.name}.broker.invalid"
        return ProtocolContext(
            agreements=self.book,
            validate_certificate=self.identity.validate_certificate,
            signers={OWN_PARTY: self.identity.signer},
            now=get_current_time(),
            make_message_id=lambda: f"{uuid.uuid4()}@{host}",
            find_certificate_party=self._find_certificate_party,
            find_party_name=self._find_party_by_id,
            encryption=self.identity.make_encryption_resources(),
        )

    def _find_certificate_party(self, sha256: str) -> str | None:
        if self.identity.is_hub_certificate(sha256):
            return HUB_PARTY
        return OWN_PARTY if sha256 == self.identity.signer.certificate.sha256 else None

    def _find_party_by_id(self, party_id: PartyId) -> str | None:
        """Return the name of the own party or of the hub by an identifier; None if it is of neither."""
        return (
            OWN_PARTY
            if party_id in self.own_identifiers
            else HUB_PARTY
            if party_id in self.hub_identifiers
            else None
        )


def read_membership(
    folder: Path,
    name: str,
    agreement_file: Path | None = None,
    hub_files: tuple[Path, ...] = (),
    *,
    sent_action: str = _SUBMIT_ACTION,
) -> Membership:
    """Read a partner folder: keys, trust anchors and the agreement, which is in `agreement_file` if given.

    Its default is ``agreement.yaml``, else ``agreement.xml``, in `folder`: YAML, a CPA or a P-Mode file of
    another product. This party is the one that sends `sent_action`, or the one with the role Applicant. If no
    file has the certificate of the hub, its certificates are those by which it signs by the agreement.
    """
    identity = read_identity(folder, name, hub_files)
    yaml, xml = folder / "agreement.yaml", folder / "agreement.xml"
    path = agreement_file or (xml if xml.is_file() and not yaml.is_file() else yaml)
    partner_agreement = read_partner_agreement(read_file(path), path.name, get_current_time())
    pmode = partner_agreement.find_applicant_pmode(sent_action)
    own_identifiers, hub_identifiers = frozenset(pmode.from_party), frozenset(pmode.to_party)
    identity = replace(
        identity,
        hub_certificates=identity.hub_certificates or partner_agreement.list_signers(hub_identifiers),
        agreed_certificates=partner_agreement.certificates,
    )
    return Membership(identity, PModeIndex(partner_agreement.pmodes), own_identifiers, hub_identifiers)


_APPLICANT_ROLE = "Applicant"


@dataclass(frozen=True, slots=True)
class PartnerAgreement:
    """The P-Modes of a file with its name, and the certificates that a CPA holds, as DER by their SHA-256."""

    name: str
    pmodes: tuple[PMode, ...]
    certificates: Mapping[str, bytes]

    def find_applicant_pmode(self, action: str) -> PMode:
        """Return a P-Mode by which an applicant sends: that of `action`, or one of the role Applicant.

        Raises GW808, with the actions that parties send by the file, if there is none.
        """
        for pmode in self.pmodes:
            if pmode.action == action or pmode.from_role == _APPLICANT_ROLE:
                return pmode
        actions = ", ".join(sorted({pmode.action for pmode in self.pmodes})) or "nothing"
        detail = (
            f"no P-Mode of the agreement lets an applicant send {action}; it lets parties send "
            f"{actions[:200]}. Have the hub add the action (in a CPA: CanSend of the applicant and "
            "CanReceive of the hub, each with a delivery channel), or name the right file by --agreement"
        )
        raise GatewayError(MISUSE, detail, self.name)

    def list_signers(self, party_ids: frozenset[PartyId]) -> frozenset[str]:
        """Return the certificates (SHA-256) by which a party signs messages and signals, as the file says."""
        certificate_digests = set[str]()
        for pmode in self.pmodes:
            if pmode.from_party[0] in party_ids:
                certificate_digests.update(pmode.security.certificates)
            else:
                certificate_digests.update(pmode.security.reply_certificates)
                certificate_digests.update(pin for signal in pmode.signals for pin in signal.certificates)
        return frozenset(certificate_digests)


def read_partner_agreement(content: bytes, file_name: str, at: datetime) -> PartnerAgreement:
    """Return the agreement in a file, a P-Mode file of another product as it is in force at a given time.

    Raises GW808 for a file that is none of them, GW313 for a CPA whose terms no message can have.
    """
    if is_peer_pmode(content):
        return PartnerAgreement(file_name, read_peer_pmode(content, file_name, at).pmodes, {})
    if not is_xml_document(content):
        return PartnerAgreement(file_name, read_pmodes(content, file_name), {})
    document = read_cpa(content, file_name)
    holders = (holder for party in document.parties for holder in party.certificates.values())
    certificates = {hashlib.sha256(der).hexdigest(): der for holder in holders for der in holder.chain}
    return PartnerAgreement(file_name, convert_cpa(document), certificates)
