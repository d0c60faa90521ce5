"""Reads from the settings the sources of revocation data and trusted lists, with their certificates."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from gateway.config import FetchSettings, Settings
from gateway.errors import SETTINGS_WRONG, GatewayError, raise_resource_problem
from gateway.pki import (
    DEFAULT_RULES,
    Certificate,
    CertificateRules,
    RevocationData,
    read_certificate,
)
from gateway.store import payloads

#: The delivery agent that fetches.
AGENT: Final = "fetch"


@dataclass(frozen=True, slots=True)
class FetchSource:
    """One address, the kind of data fetched there, and its required signer; see :class:`FetchSettings`."""

    name: str
    settings: FetchSettings
    issuer: Certificate | None
    responder: Certificate | None

    @property
    def lane(self) -> str:
        """The lane of its fetches; one fetch of a lane runs at a time."""
        return f"fetch:{self.settings.lane or self.name}"

    @property
    def url(self) -> str:
        """The address that is fetched."""
        return self.settings.url or ""


def read_fetch_sources(settings: Settings) -> dict[str, FetchSource]:
    """Return the sources by name; raises GW801 naming a certificate that cannot be read."""
    return {name: _read_fetch_source(name, source) for name, source in settings.fetch.items()}


def list_source_certificates(sources: Mapping[str, FetchSource]) -> tuple[Certificate, ...]:
    """Return the certificates of issuers and responders, each once."""
    certificates = (
        certificate
        for source in sources.values()
        for certificate in (source.issuer, source.responder)
        if certificate
    )
    return tuple(dict.fromkeys(certificates))


def _read_fetch_source(name: str, source: FetchSettings) -> FetchSource:
    issuer = _read_source_certificate(source.issuer, f"fetch.{name}.issuer")
    return FetchSource(
        name, source, issuer, _read_source_certificate(source.responder, f"fetch.{name}.responder")
    )


def _read_source_certificate(path: Path | None, setting_name: str) -> Certificate | None:
    """Return the certificate in a file, None without a `path`; raise GW801, which names the setting."""
    if path is None:
        return None
    try:
        return read_certificate(path.read_bytes())
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", setting_name) from None
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", setting_name) from None


_log = logging.getLogger(__name__)


class LoadedRevocationData:
    """The revocation data parsed so far; for one thread at a time."""

    def __init__(self) -> None:
        self._data_by_digest: dict[str, RevocationData] = {}
        self._merged_data = RevocationData()

    def reload_revocations(
        self,
        conn: Connection,
        files: Iterable[bytes],
        crls: Iterable[bytes],
        fetched: Iterable[tuple[str, str]],
        rules: CertificateRules,
    ) -> RevocationData:
        """Return the revocation data of `files`, of loaded `crls`, and of `fetched` (kind and digest).

        Raises GW208 for a file that cannot be read. A loaded or fetched list that can no longer be read
        gives no revocation status, and this is logged: without another list of its issuer, revocation is
        unknown. All lists in force are read, in any number: none of them may be left out, and a running hub
        does not stop because of a list that was loaded or fetched.
        """
        loaded: dict[str, RevocationData] = {}
        for octets in files:
            digest = hashlib.sha256(octets).hexdigest()
            loaded[digest] = self._data_by_digest.get(digest) or RevocationData([octets])
        for octets in crls:
            digest = hashlib.sha256(octets).hexdigest()
            if digest not in loaded:
                loaded[digest] = self._data_by_digest.get(digest) or _read_stored_data(
                    octets, "crl", digest, DEFAULT_RULES
                )
        for kind, sha256 in fetched:
            if sha256 not in loaded:
                loaded[sha256] = self._data_by_digest.get(sha256) or _load_fetched_data(
                    conn, kind, sha256, rules
                )
        if not _has_same_digests(loaded, self._data_by_digest):
            self._merged_data, self._data_by_digest = RevocationData.merge_parts(loaded.values()), loaded
        return self._merged_data


def _has_same_digests(new: Mapping[str, RevocationData], old: Mapping[str, RevocationData]) -> bool:
    return list(new) == list(old)


def _load_fetched_data(conn: Connection, kind: str, sha256: str, rules: CertificateRules) -> RevocationData:
    return _read_stored_data(payloads.get_payload_octets(conn, sha256), kind, sha256, rules)


def _read_stored_data(octets: bytes, kind: str, sha256: str, rules: CertificateRules) -> RevocationData:
    """Return a stored revocation list, or an OCSP response (`kind` is `ocsp`), as revocation data.

    One that cannot be read is logged, and returned as unreadable: it proves nothing. Raises GW806.
    """
    try:
        if kind == "ocsp":
            return RevocationData(rules=rules, responses=[octets])
        return RevocationData([octets], rules)
    except GatewayError as problem:
        raise_resource_problem(problem)
        _log.error(
            "a stored list cannot be read any more and proves nothing: %s", problem, extra={"sha256": sha256}
        )
        return RevocationData.from_unreadable(octets, is_response=kind == "ocsp")
