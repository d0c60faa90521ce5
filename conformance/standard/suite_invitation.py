"""Makes the partner folder of the suite: a key, and agreements of every kind, in YAML and as CPA."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.agreements import read_pmodes, write_cpa
from gateway.client import RECEIVER_FILE
from gateway.message_model import PartyId
from gateway.pki import Certificate
from gateway.wire import format_instant
from gateway_conformance import DATA_FOLDER
from gateway_conformance.partner_files import fill_template, write_partner_files
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
)

SUITE_PARTY: Final = "suite-standard"
SUITE_PARTY_ID: Final = PartyId("suite-standard", "urn:single-window:suite:party")
#: The party of the suite to which an intermediary passes messages on.
SECOND_PARTY: Final = "suite-behind"
SECOND_PARTY_ID: Final = PartyId("suite-behind", "urn:single-window:suite:party")
_DAY: Final = timedelta(days=1)
#: Texts of an agreement that name certificates; in a CPA they must be there.
_PINS: Final = ("suite_pins", "gateway_pins", "suite_envelope", "gateway_envelope")
_NO_PINS: Final[Mapping[str, str]] = MappingProxyType({})
#: Kinds of agreements for gateways that decrypt.
_SECRET_KINDS: Final = ("encrypted.yaml", "enveloped.yaml")
#: A kind that is between parties of the suite: the gateway has routes instead of it.
PASSING: Final = "passing"


@dataclass(frozen=True, slots=True)
class Invitation:
    """The files of a partner folder, the certificates to register at the gateway, and the agreements by kind.

    `decryption` is the key that opens payloads which are encrypted for the suite, `second` that of the
    party behind an intermediary. The suite listens at `callback`.
    """

    files: Mapping[str, bytes]
    issued: IssuedCertificate
    decryption: IssuedCertificate
    second: IssuedCertificate
    callback: str
    agreements: Mapping[str, bytes]

    def write_files(self, out: Path) -> None:
        """Write every file below `out`, the key readable by its owner alone."""
        write_partner_files(self.files, out)


@dataclass(frozen=True, slots=True)
class InvitedGateway:
    """The tested gateway: its certificates, its party ids, and the URL of its endpoint.

    `receiver` is the certificate for which its payloads are encrypted, None where it decrypts nothing.
    """

    certificates: Sequence[Certificate]
    ids: Sequence[PartyId]
    url: str
    receiver: Certificate | None = None


def make_invitation(
    authority: CertificationAuthority, gateway: InvitedGateway, callback: str, at: datetime
) -> Invitation:
    """Make key and agreements for a gateway that trusts `authority`; the suite listens at `callback`."""
    issued = issue_certificate(
        authority, "CN=Conformance suite,O=Conformance suite", at, CertificateOrder(key_kind="rsa-2048")
    )
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    decryption = issue_certificate(authority, "CN=Conformance suite decrypts,O=Conformance suite", at, order)
    order = CertificateOrder(key_kind="rsa-2048")
    second = issue_certificate(authority, "CN=Conformance suite behind,O=Conformance suite", at, order)
    folder = DATA_FOLDER.joinpath("suites", "ebms2", "agreements")
    templates = {
        file.name.removesuffix(".yaml"): file.read_bytes()
        for file in sorted(folder.iterdir(), key=lambda path: path.name)
        if file.name.endswith(".yaml") and (gateway.receiver is not None or file.name not in _SECRET_KINDS)
    }
    address = callback.rstrip("/")
    receiver = () if gateway.receiver is None else (gateway.receiver,)
    pins = {
        "suite_pins": _format_pins([issued.certificate]),
        "gateway_pins": _format_pins(gateway.certificates),
        "suite_envelope": f", certificate: {decryption.certificate.sha256}",
        "gateway_envelope": "".join(f", certificate: {certificate.sha256}" for certificate in receiver),
    }
    agreements = {kind: fill_agreement(text, gateway, address, at) for kind, text in templates.items()}
    pinned = {
        kind: fill_agreement(text, gateway, address, at, pins)
        for kind, text in templates.items()
        if kind != PASSING
    }
    certificates = {
        certificate.sha256: certificate.der
        for certificate in (issued.certificate, decryption.certificate, *gateway.certificates, *receiver)
    }
    files = {
        **list_identity_files(authority, gateway, issued, decryption),
        "behind.key.pem": second.key_pem,
        "behind.cert.pem": second.certificate.pem,
        **{f"agreements/{kind}.yaml": text for kind, text in agreements.items()},
        **{
            f"cpa/{kind}.xml": _write_agreement_cpa(text, kind, certificates) for kind, text in pinned.items()
        },
    }
    return Invitation(files, issued, decryption, second, address, agreements)


def list_identity_files(
    authority: CertificationAuthority,
    gateway: InvitedGateway,
    issued: IssuedCertificate,
    decryption: IssuedCertificate,
) -> dict[str, bytes]:
    """Return the files of both sides' certificates and of the suite's keys, to sign and to decrypt."""
    files = {
        "ca.pem": authority.certificate.pem,
        "hub.cert.pem": b"".join(certificate.pem for certificate in gateway.certificates),
        "suite.key.pem": issued.key_pem,
        "suite.cert.pem": issued.certificate.pem,
        "suite.decryption.key.pem": decryption.key_pem,
        "suite.decryption.cert.pem": decryption.certificate.pem,
    }
    if gateway.receiver is not None:
        files[RECEIVER_FILE] = gateway.receiver.pem
    return files


def fill_agreement(
    template: bytes, gateway: InvitedGateway, callback: str, at: datetime, pins: Mapping[str, str] = _NO_PINS
) -> bytes:
    """Return an agreement with its values; `pins` are the texts that name certificates of both sides."""
    values: dict[str, str | Sequence[PartyId]] = {
        "before": format_instant(at - 30 * _DAY, "seconds"),
        "begun": format_instant(at - _DAY, "seconds"),
        "ends": format_instant(at + 365 * _DAY, "seconds"),
        "after": format_instant(at + 730 * _DAY, "seconds"),
        "callback": callback,
        "gateway_ids": gateway.ids,
        "url": gateway.url,
        **dict.fromkeys(_PINS, ""),
        **pins,
    }
    return fill_template(template.decode("utf-8"), values)


def _write_agreement_cpa(text: bytes, kind: str, certificates: Mapping[str, bytes]) -> bytes:
    """Return the agreement as CPA, with the certificates of both sides."""
    return write_cpa(read_pmodes(text, f"{kind}.yaml"), {}, certificates)


def _format_pins(certificates: Sequence[Certificate]) -> str:
    return f"\n    certificates: {json.dumps([certificate.sha256 for certificate in certificates])}"
