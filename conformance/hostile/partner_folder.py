"""The partner folder: members, agency and agreements of the suite, for a gateway with a sandbox authority."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.client import RECEIVER_FILE
from gateway.message_model import PartyId
from gateway.pki import Certificate
from gateway.wire import format_instant
from gateway_conformance import DATA_FOLDER
from gateway_conformance.hostile.attacker_kit import MEMBERS, AttackerKit, read_attacker_kit
from gateway_conformance.partner_files import fill_template, write_partner_files
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)

#: The names of the suite's parties in a register.
PARTY_TYPE: Final = "urn:single-window:suite:party"
AGENCY: Final = "SUITE-AGENCY"
#: The application that the suite's agency may acknowledge at any time, and the receipt number.
APPLICATION: Final = "SUITE-APPLICATION-1"
RECEIPT: Final = "SUITE-RECEIPT-1"
#: The law for the one item of its case.
LAW: Final = "SUITE-LAW"
_VALID: Final = timedelta(days=365)
#: The agreements of a member: the suffix after the member's name in the file name, and the template.
_AGREEMENTS: Final = {"": "agreement.yaml", ".as4": "as4-agreement.yaml"}
_ORDERS: Final = {
    "a": CertificateOrder(key_kind="rsa-2048"),
    "b": CertificateOrder(),
    "agency": CertificateOrder(),
    "customs": CertificateOrder(),
    "revoked": CertificateOrder(),
    "expired": CertificateOrder(starts=-timedelta(days=40), days=30),
    "encryption": CertificateOrder(profile="encryption"),
}


@dataclass(frozen=True, slots=True)
class PartnerFolder:
    """The files of a partner folder, and the certificates and agreements that the gateway must register.

    `issued` are keys with certificates by their name in the folder; ``expired``, ``revoked``
    and ``encryption`` belong to member A.  `crl` (DER) lists the revoked one.
    """

    files: Mapping[str, bytes]
    issued: Mapping[str, IssuedCertificate]
    agreements: Mapping[str, bytes]
    crl: bytes

    def write_files(self, out: Path) -> None:
        """Write every file below `out`, keys readable by their owner alone."""
        write_partner_files(self.files, out)

    @property
    def member_a_certificates(self) -> tuple[IssuedCertificate, ...]:
        """Return every certificate that is to be registered for member A."""
        return tuple(
            certificate for name, certificate in self.issued.items() if name not in ("b", "agency", "customs")
        )


def make_partner_folder(
    authority: CertificationAuthority,
    certificates: Sequence[Certificate],
    ids: Sequence[PartyId],
    at: datetime,
    crl: bytes | None = None,
    features: Sequence[str] = (),
    receiver: Certificate | None = None,
) -> PartnerFolder:
    """Make keys, certificates and agreements for a gateway that trusts `authority`.

    `certificates` are the gateway's (the current one and the next one, if any), `ids` its party
    ids. `crl` (DER) is the authority's list in force; its revocations are kept. `features` are
    those that the gateway has, `receiver` its certificate for encryption, if it has one.
    """
    issued = {
        name: issue_certificate(authority, f"CN=Suite {name},O=Conformance suite", at, order)
        for name, order in _ORDERS.items()
    }
    agreements = {
        f"{name}{suffix}": _format_agreement(template_file, name, ids, at)
        for name in MEMBERS
        for suffix, template_file in _AGREEMENTS.items()
    }
    new_crl = _make_revocation_list(authority, issued["revoked"], at, crl)
    files = {
        "ca.pem": authority.certificate.pem,
        "crl.pem": x509.load_der_x509_crl(new_crl).public_bytes(Encoding.PEM),
        "hub.cert.pem": b"".join(certificate.pem for certificate in certificates),
        "suite.toml": f"features = {json.dumps(list(features))}\n\n{_SUITE}".encode(),
        **{f"{name}.agreement.yaml": text for name, text in agreements.items()},
        **{f"{name}.key.pem": issued_certificate.key_pem for name, issued_certificate in issued.items()},
        **{
            f"{name}.cert.pem": issued_certificate.certificate.pem
            for name, issued_certificate in issued.items()
        },
    }
    if receiver is not None:
        files[RECEIVER_FILE] = receiver.pem
    return PartnerFolder(files, issued, agreements, new_crl)


def make_sample_kit(at: datetime | None = None) -> AttackerKit:
    """Return a kit without a gateway, to build attacks and inspect them.

    `at` stops its clock.
    """
    now = at or datetime.now(UTC)
    authority = make_authority("CN=Sample CA", now - timedelta(days=1))
    gateway = issue_certificate(authority, "CN=gateway", now, CertificateOrder()).certificate
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    receiver = issue_certificate(authority, "CN=gateway decrypts", now, order).certificate
    ids = (PartyId("gateway", PARTY_TYPE),)
    partner_folder = make_partner_folder(authority, (gateway,), ids, now, receiver=receiver)
    with tempfile.TemporaryDirectory() as folder:
        partner_folder.write_files(Path(folder))
        return read_attacker_kit(Path(folder), (lambda: at) if at else lambda: datetime.now(UTC))


def _format_agreement(template_file: str, member: str, hub: Sequence[PartyId], at: datetime) -> bytes:
    """Return a member's agreement with the hub, from the template `template_file`."""
    text = DATA_FOLDER.joinpath("suites", "hostile", template_file).read_text(encoding="utf-8")
    values: dict[str, str | Sequence[PartyId]] = {
        "member": member,
        "hub": hub,
        "from": format_instant(at - timedelta(days=1), "seconds"),
        "until": format_instant(at + _VALID, "seconds"),
    }
    return fill_template(text, values)


def _make_revocation_list(
    authority: CertificationAuthority, revoked: IssuedCertificate, at: datetime, crl: bytes | None
) -> bytes:
    """Return a list (DER) with `revoked`, and with the serial numbers and dates of `crl`.

    Its CRL number is one higher.
    """
    since, number = {}, 0
    if crl:
        before = x509.load_der_x509_crl(crl)
        since = {entry.serial_number: entry.revocation_date_utc for entry in before}
        number = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    serials = [revoked.certificate.serial, *since]
    return make_revocation_list(
        authority, serials, at, at + timedelta(days=30), number=number + 1, since=since
    )


_SUITE: Final = f"""\
# Where the gateway is, below the base URL that the suite is given, and what its faces know.
[ebms2]
path = "/msh/ebms2"

[as4]
path = "/msh/as4"

[soap]
path = "/soap/agency"
# An application about which agency.cert.pem may call (Acknowledge) again and again with this receipt number.
application = "{APPLICATION}"
receipt = "{RECEIPT}"

[customs]
path = "/soap/customs"
# A case about which customs.cert.pem may call (ReportAnswer) again and again.
case = "{APPLICATION}"
"""
