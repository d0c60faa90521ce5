"""Every revocation list and OCSP response in hand, each read once by a process.

A long list takes seconds to read.  When the register changes, only what is new is read, and where
nothing is, what was in hand stays the very same object: nobody has to be given it again.
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
    """What was read so far; for one thread at a time."""

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
        """Return what is in hand: lists (each a file), and what was fetched (kind and digest of each).

        Raises GW208 for too many lists, and for one that cannot be read; a fetched one, which could
        be read when it was taken, proves nothing then, and the log says so: where nothing else is in
        hand of its issuer, nothing is known.
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
