"""Holds every loaded revocation list and OCSP response, each parsed once by a process.

A long list takes seconds to parse. When the register changes, only new lists are parsed. When
nothing is new, the same object is returned, so that its users need no update.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from gateway.errors import REVOCATION_UNKNOWN, GatewayError
from gateway.pki import MAX_ANSWERS, MAX_CRLS, CertificateRules, RevocationData
from gateway.store import payloads

__all__ = ["LoadedRevocationData"]

_log = logging.getLogger(__name__)


class LoadedRevocationData:
    """The revocation data parsed so far; for one thread at a time."""

    def __init__(self) -> None:
        self._read: dict[str, RevocationData] = {}
        self._whole = RevocationData()

    def reload_revocations(
        self,
        conn: Connection,
        files: Iterable[bytes],
        fetched: Iterable[tuple[str, str]],
        rules: CertificateRules,
    ) -> RevocationData:
        """Return the revocation data of `files` (a list each) and of `fetched` (kind and digest of each).

        Raises GW208 for too many lists, and for a file that cannot be read. A fetched list that can
        no longer be read proves nothing, and this is logged: without another list of its issuer,
        revocation is unknown.
        """
        found: dict[str, RevocationData] = {}
        for octets in files:
            key = hashlib.sha256(octets).hexdigest()
            found[key] = self._read.get(key) or RevocationData([octets])
        answers = 0
        for kind, sha256 in fetched:
            answers += kind == "ocsp"
            if sha256 not in found and answers <= MAX_ANSWERS:
                found[sha256] = self._read.get(sha256) or _load_fetched_data(conn, kind, sha256, rules)
        if not _has_same_digests(found, self._read):
            whole = RevocationData.merge_parts(found.values())
            if len(whole.lists) > MAX_CRLS:
                detail = f"{len(whole.lists)} revocation lists are in hand, {MAX_CRLS} are allowed"
                raise GatewayError(REVOCATION_UNKNOWN, detail, "revocation list")
            self._whole, self._read = whole, found
        return self._whole


def _has_same_digests(new: Mapping[str, RevocationData], old: Mapping[str, RevocationData]) -> bool:
    return list(new) == list(old)


def _load_fetched_data(conn: Connection, kind: str, sha256: str, rules: CertificateRules) -> RevocationData:
    octets = payloads.get_payload_octets(conn, sha256)
    try:
        if kind == "ocsp":
            return RevocationData(rules=rules, responses=[octets])
        return RevocationData([octets], rules)
    except GatewayError as problem:
        _log.error("what was fetched as %s cannot be read any more and proves nothing: %s", sha256, problem)
        return RevocationData.from_unreadable(octets, is_answer=kind == "ocsp")
