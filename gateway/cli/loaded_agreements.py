"""Reads loaded agreements again: as their files say them, and as they are in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import (
    CpaDocument,
    PMode,
    read_cpa,
)
from gateway.errors import AGREEMENT_UNKNOWN, GatewayError
from gateway.hub import get_current_time, load_effective_pmodes
from gateway.pki import PATH_RULES, Certificate, read_certificate
from gateway.store import agreements, parties

__all__ = [
    "STORED_FILE",
    "LoadedAgreement",
    "collect_certificates",
    "find_loaded_agreement",
    "list_pins",
]

#: The name of the stored file in the places of findings.
STORED_FILE: Final = "loaded file"


@dataclass(frozen=True, slots=True)
class LoadedAgreement:
    """A row of the register with its P-Modes by id, and the CPA where the file is one."""

    row: Any
    pmodes: tuple[PMode, ...]
    cpa: CpaDocument | None = None


def find_loaded_agreement(conn: Connection, name: str) -> LoadedAgreement:
    """Return a loaded agreement; raise GW301 when none is loaded under this name."""
    row = agreements.find_agreement(conn, name)
    if row is None:
        raise GatewayError(AGREEMENT_UNKNOWN, f"no agreement is loaded as {name[:80]}")
    found = load_effective_pmodes(conn, row, get_current_time())
    return LoadedAgreement(row, found, _read_stored_cpa(row))


def _read_stored_cpa(row: Any) -> CpaDocument | None:
    if row.kind != "cpa":
        return None
    try:
        return read_cpa(row.source, STORED_FILE)
    except GatewayError:  # a rule of this version refuses what an older one took
        return None


def collect_certificates(conn: Connection, loaded: LoadedAgreement) -> dict[str, Certificate]:
    """Return the certificates that the P-Modes of an agreement name, as far as they are known, by SHA-256."""
    found: dict[str, Certificate] = {}
    for der in _list_held_certificates(loaded.cpa):
        one = _read_quietly(der)
        if one is not None:
            found[one.sha256] = one
    for pin in dict.fromkeys(pin for pin, _ in list_pins(loaded.pmodes)):
        rows = () if pin in found else parties.list_certificate_rows(conn, pin)
        one = _read_quietly(rows[0].der) if rows else None
        if one is not None:
            found[pin] = one
    return found


def _list_held_certificates(document: CpaDocument | None) -> Iterator[bytes]:
    for party in document.parties if document is not None else ():
        for holder in party.certificates.values():
            yield from holder.chain


def _read_quietly(der: bytes) -> Certificate | None:
    try:
        return read_certificate(der, PATH_RULES)
    except GatewayError:
        return None


def list_pins(pmodes: Sequence[PMode]) -> Iterator[tuple[str, str]]:
    """Yield the certificates (SHA-256) that P-Modes name, each with what for."""
    for one in pmodes:
        yield from (
            (pin, "signing") for pin in (*one.security.certificates, *one.security.reply_certificates)
        )
        yield from ((pin, "anchor") for pin in one.security.trust_anchors)
        for signal in one.signals:
            yield from ((pin, "signing") for pin in signal.certificates)
        if one.encryption is not None:
            yield from ((pin, "anchor") for pin in one.encryption.trust_anchors)
            yield from ((pin, "encryption") for pin in (one.encryption.certificate,) if pin is not None)
        ends = ((one.transport.client_certificate, "client"), (one.transport.server_certificate, "server"))
        yield from ((pin, use) for pin, use in ends if pin is not None)
        yield from ((pin, "anchor") for pin in (*one.transport.client_anchors, *one.transport.server_anchors))
