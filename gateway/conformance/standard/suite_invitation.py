"""Makes the partner folder of the suite: a key, and agreements of every kind, in YAML and as CPA."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.agreements import read_pmodes, write_cpa
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.pki import (
    Certificate,
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
)
from gateway.share import get_data_folder

__all__ = [
    "PASSING",
    "SECOND_PARTY",
    "SECOND_PARTY_ID",
    "SUITE_PARTY",
    "SUITE_PARTY_ID",
    "Invitation",
    "InvitedGateway",
    "fill_agreement",
    "make_invitation",
    "write_partner_files",
]

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
    """The files of a partner folder, what the gateway must register, and the agreements by kind.

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


def write_partner_files(files: Mapping[str, bytes], out: Path) -> None:
    """Write files of a partner folder below `out`, keys readable by their owner alone; raise GW808."""
    try:
        for name, content in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600 if name.endswith((".key.pem", ".password")) else 0o644)
            path.write_bytes(content)
    except OSError as error:
        raise GatewayError(MISUSE, f"{out} cannot be written: {error.strerror}", "--out") from None


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
    secret = issue_certificate(authority, "CN=Conformance suite decrypts,O=Conformance suite", at, order)
    order = CertificateOrder(key_kind="rsa-2048")
    second = issue_certificate(authority, "CN=Conformance suite behind,O=Conformance suite", at, order)
    folder = get_data_folder("conformance").joinpath("suites", "ebms2", "agreements")
    templates = {
        one.name.removesuffix(".yaml"): one.read_bytes()
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.endswith(".yaml") and (gateway.receiver is not None or one.name not in _SECRET_KINDS)
    }
    place = callback.rstrip("/")
    receiver = () if gateway.receiver is None else (gateway.receiver,)
    pins = {
        "suite_pins": _format_pins([issued.certificate]),
        "gateway_pins": _format_pins(gateway.certificates),
        "suite_envelope": f", certificate: {secret.certificate.sha256}",
        "gateway_envelope": "".join(f", certificate: {one.sha256}" for one in receiver),
    }
    agreements = {kind: fill_agreement(text, gateway, place, at) for kind, text in templates.items()}
    pinned = {
        kind: fill_agreement(text, gateway, place, at, pins)
        for kind, text in templates.items()
        if kind != PASSING
    }
    known = {
        one.sha256: one.der
        for one in (issued.certificate, secret.certificate, *gateway.certificates, *receiver)
    }
    files = {
        "ca.pem": authority.certificate.pem,
        "hub.cert.pem": b"".join(one.pem for one in gateway.certificates),
        "suite.key.pem": issued.key_pem,
        "suite.cert.pem": issued.certificate.pem,
        "behind.key.pem": second.key_pem,
        "behind.cert.pem": second.certificate.pem,
        "suite.decryption.key.pem": secret.key_pem,
        "suite.decryption.cert.pem": secret.certificate.pem,
        **dict.fromkeys(["hub.encryption.cert.pem"] * len(receiver), b"".join(one.pem for one in receiver)),
        **{f"agreements/{kind}.yaml": text for kind, text in agreements.items()},
        **{f"cpa/{kind}.xml": _write_agreement_cpa(text, kind, known) for kind, text in pinned.items()},
    }
    return Invitation(files, issued, secret, second, place, agreements)


def fill_agreement(
    text: bytes, gateway: InvitedGateway, callback: str, at: datetime, pins: Mapping[str, str] = _NO_PINS
) -> bytes:
    """Return an agreement with its values; `pins` are the texts that name certificates of both sides."""
    ids = [{"value": one.value} | ({"type": one.type} if one.type else {}) for one in gateway.ids]
    values = {
        "before": _format_instant(at - 30 * _DAY),
        "begun": _format_instant(at - _DAY),
        "ends": _format_instant(at + 365 * _DAY),
        "after": _format_instant(at + 730 * _DAY),
        "callback": callback,
        "gateway_ids": json.dumps(ids, ensure_ascii=False),
        "url": gateway.url,
        **dict.fromkeys(_PINS, ""),
        **pins,
    }
    words = text.decode("utf-8")
    for name, value in values.items():
        words = words.replace(f"{{{name}}}", value)
    return words.encode()


def _write_agreement_cpa(text: bytes, kind: str, known: Mapping[str, bytes]) -> bytes:
    """Return the agreement as CPA, with the certificates of both sides."""
    pmodes = read_pmodes(text, f"{kind}.yaml")
    names = {one: one.value for pmode in pmodes for one in (*pmode.from_party, *pmode.to_party)}
    return write_cpa(pmodes, names, known)


def _format_pins(certificates: Sequence[Certificate]) -> str:
    return f"\n    certificates: {json.dumps([one.sha256 for one in certificates])}"


def _format_instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
