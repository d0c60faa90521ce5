"""Reads loaded agreements again: as their files say them, and as they are in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import CpaDocument, PMode, convert_cpa, is_peer_pmode, is_xml_document, read_cpa
from gateway.cli.home_folder import read_database
from gateway.cli.named_files import read_agreement_file, read_file
from gateway.cli.verb_groups import Arguments
from gateway.errors import AGREEMENT_UNKNOWN, MISUSE, GatewayError
from gateway.hub import get_current_time, load_effective_pmodes
from gateway.pki import PATH_RULES, Certificate, read_certificate
from gateway.store import AgreementRow, agreements, parties

#: The name of the stored file in the places of findings.
STORED_FILE: Final = "loaded file"


@dataclass(frozen=True, slots=True)
class LoadedAgreement:
    """A row of the register with its P-Modes by id, and the CPA where the file is one."""

    row: AgreementRow
    pmodes: tuple[PMode, ...]
    cpa: CpaDocument | None = None


def find_loaded_agreement(conn: Connection, name: str) -> LoadedAgreement:
    """Return a loaded agreement; raise GW301 when none is loaded under this name."""
    row = agreements.find_agreement(conn, name)
    if row is None:
        raise GatewayError(AGREEMENT_UNKNOWN, f"no agreement is loaded as {name[:80]}")
    pmodes = load_effective_pmodes(conn, row, get_current_time())
    return LoadedAgreement(row, pmodes, _read_stored_cpa(row))


def _read_stored_cpa(row: AgreementRow) -> CpaDocument | None:
    """Return the CPA of an agreement; None for an agreement file, or a CPA that this version refuses."""
    if row.kind != "cpa":
        return None
    try:
        return read_cpa(row.source, STORED_FILE)
    except GatewayError:  # this version refuses a file that an older version accepted
        return None


def collect_certificates(conn: Connection, loaded: LoadedAgreement) -> dict[str, Certificate]:
    """Return the certificates that the P-Modes of an agreement name, as far as they are known, by SHA-256."""
    certificates: dict[str, Certificate] = {}
    for der in _list_cpa_certificates(loaded.cpa):
        certificate = _read_certificate_if_possible(der)
        if certificate is not None:
            certificates[certificate.sha256] = certificate
    for pin in dict.fromkeys(pin for pin, _ in list_pinned_certificates(loaded.pmodes)):
        rows = () if pin in certificates else parties.list_certificate_rows(conn, pin)
        certificate = _read_certificate_if_possible(rows[0].der) if rows else None
        if certificate is not None:
            certificates[pin] = certificate
    return certificates


def _list_cpa_certificates(document: CpaDocument | None) -> Iterator[bytes]:
    for party in document.parties if document is not None else ():
        for holder in party.certificates.values():
            yield from holder.chain


def _read_certificate_if_possible(der: bytes) -> Certificate | None:
    try:
        return read_certificate(der, PATH_RULES)
    except GatewayError:
        return None


def list_pinned_certificates(pmodes: Sequence[PMode]) -> Iterator[tuple[str, str]]:
    """Yield the certificates (SHA-256) that P-Modes name, each with its use."""
    for pmode in pmodes:
        yield from (
            (pin, "signing") for pin in (*pmode.security.certificates, *pmode.security.reply_certificates)
        )
        yield from ((pin, "anchor") for pin in pmode.security.trust_anchors)
        for signal in pmode.signals:
            yield from ((pin, "signing") for pin in signal.certificates)
        if pmode.encryption is not None:
            yield from ((pin, "anchor") for pin in pmode.encryption.trust_anchors)
            yield from ((pin, "encryption") for pin in (pmode.encryption.certificate,) if pin is not None)
        transport_pins = (
            (pmode.transport.client_certificate, "client"),
            (pmode.transport.server_certificate, "server"),
        )
        yield from ((pin, use) for pin, use in transport_pins if pin is not None)
        yield from (
            (pin, "anchor") for pin in (*pmode.transport.client_anchors, *pmode.transport.server_anchors)
        )


def is_cpa_file(data: bytes) -> bool:
    """Return whether the octets of an agreement are a CPA: XML that is no P-Mode of another product."""
    return is_xml_document(data) and not is_peer_pmode(data)


def read_named_pmodes(arguments: Arguments, file_or_agreement: str) -> Sequence[PMode]:
    """Return the P-Modes of a file, else those of a loaded agreement; raise GW808 where it is neither."""
    path = Path(file_or_agreement)
    if path.is_file():
        data = read_file(path)
        if is_cpa_file(data):
            return convert_cpa(read_cpa(data, path.name))
        return read_agreement_file(data, path.name, get_current_time()).pmodes
    if not (arguments.home or arguments.config):
        detail = f"{file_or_agreement[:80]} is no file; a loaded agreement is found in a home, with --home"
        raise GatewayError(MISUSE, detail, file_or_agreement[:80])
    with read_database(arguments) as conn:
        return find_loaded_agreement(conn, file_or_agreement).pmodes
