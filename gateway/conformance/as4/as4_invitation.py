"""Makes the partner folder of the suite of AS4: its keys and its agreements."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.conformance.as4.as4_party import SECRET_FILE
from gateway.conformance.standard import InvitedGateway, fill_agreement, write_partner_files
from gateway.message_model import PartyId
from gateway.pki import CertificateOrder, CertificationAuthority, IssuedCertificate, issue_certificate
from gateway.share import get_data_folder

__all__ = ["AS4_PARTY", "AS4_PARTY_ID", "As4Invitation", "make_as4_invitation"]

AS4_PARTY: Final = "suite-as4"
AS4_PARTY_ID: Final = PartyId("suite-as4", "urn:oasis:names:tc:ebcore:partyid-type:unregistered:suite")
_PASSWORD_OCTETS: Final = 32
_SUBJECT: Final = "CN=Conformance suite{},O=Conformance suite"


@dataclass(frozen=True, slots=True)
class As4Invitation:
    """The files of a partner folder, the keys that the gateway must register, and the agreements by kind."""

    files: Mapping[str, bytes]
    issued: IssuedCertificate
    decryption: IssuedCertificate
    agreements: Mapping[str, bytes]

    @property
    def digests(self) -> Sequence[str]:
        """Return the SHA-256 of both certificates."""
        return [one.certificate.sha256 for one in (self.issued, self.decryption)]

    def write_files(self, out: Path) -> None:
        """Write every file below `out`, the keys readable by their owner alone; raises GW808."""
        write_partner_files(self.files, out)


def make_as4_invitation(
    authority: CertificationAuthority, gateway: InvitedGateway, callback: str, at: datetime
) -> As4Invitation:
    """Make keys and agreements for a gateway that trusts `authority`; the suite listens at `callback`."""
    order = CertificateOrder(key_kind="rsa-2048")
    issued = issue_certificate(authority, _SUBJECT.format(""), at, order)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    secret = issue_certificate(authority, _SUBJECT.format(" decrypts"), at, order)
    folder = get_data_folder("conformance").joinpath("suites", "as4", "agreements")
    agreements = {
        one.name.removesuffix(".yaml"): fill_agreement(one.read_bytes(), gateway, callback.rstrip("/"), at)
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
    }
    receiver = () if gateway.receiver is None else (gateway.receiver,)
    files = {
        "ca.pem": authority.certificate.pem,
        "hub.cert.pem": b"".join(one.pem for one in gateway.certificates),
        "suite.key.pem": issued.key_pem,
        "suite.cert.pem": issued.certificate.pem,
        "suite.decryption.key.pem": secret.key_pem,
        "suite.decryption.cert.pem": secret.certificate.pem,
        **dict.fromkeys(["hub.encryption.cert.pem"] * len(receiver), b"".join(one.pem for one in receiver)),
        SECRET_FILE: secrets.token_urlsafe(_PASSWORD_OCTETS).encode() + b"\n",
        **{f"agreements/{kind}.yaml": text for kind, text in agreements.items()},
    }
    return As4Invitation(files, issued, secret, agreements)
