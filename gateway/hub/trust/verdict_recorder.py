"""Stores the evidence of certificate verdicts, once for each new verdict and not for each message.

A verdict is stored before it is returned, so it is stored before anything that depends on it. All
verdicts that accept a certificate are stored. Verdicts that reject one are stored only for
certificates of the register, because the number of other certificates is unbounded.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection
from typing import Final

from sqlalchemy import Engine

from gateway.evidence import record_evidence
from gateway.pki import CertificateUse, FreshVerdict, VerdictEvidence, make_verdict_evidence
from gateway.store import NewVerdict, payloads, read_transaction, verdicts, write_transaction

_log = logging.getLogger(__name__)
#: Certificates whose verdict digest is held: as many as two validators remember, good and tolerated.
_MAX_DIGESTS: Final = 2 * (4096 + 1024)


class VerdictRecorder:
    """Stores verdicts and holds their digests; safe for many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._registered: tuple[Collection[str], ...] = ()
        self._current_digests: dict[tuple[str, CertificateUse], str] = {}
        self._naming = threading.Lock()

    def set_registered_certificates(self, *registered_certificates: Collection[str]) -> None:
        """Set the certificates (SHA-256) of the register: their rejections are stored too."""
        self._registered = registered_certificates

    def record_verdict(self, fresh_verdict: FreshVerdict) -> None:
        """Store a new verdict with its evidence; raises where an accepting verdict cannot be stored."""
        leaf = hashlib.sha256(fresh_verdict.leaf).hexdigest()
        if fresh_verdict.verdict.is_accepted:
            proof = make_verdict_evidence(fresh_verdict)
            self._store_verdict(fresh_verdict, leaf, proof)
            self._set_current_digest(leaf, fresh_verdict.use, proof.digest)
        elif any(leaf in certificates for certificates in self._registered):
            try:
                self._store_verdict(fresh_verdict, leaf, make_verdict_evidence(fresh_verdict))
            # The certificate is rejected anyway, for the reason of its verdict.
            except Exception:
                _log.warning(
                    "the refusal of a certificate is not kept", exc_info=True, extra={"certificate": leaf}
                )

    def find_verdict_digest(
        self, leaf_sha256: str, use: CertificateUse = CertificateUse.SIGNING
    ) -> str | None:
        """Return the digest of the verdict by which a certificate is used now; None where none is stored."""
        return self._current_digests.get((leaf_sha256, use))

    def _set_current_digest(self, leaf: str, use: CertificateUse, digest: str) -> None:
        with self._naming:
            self._current_digests.pop((leaf, use), None)
            while len(self._current_digests) >= _MAX_DIGESTS:
                del self._current_digests[next(iter(self._current_digests))]
            self._current_digests[leaf, use] = digest

    def _store_verdict(
        self, fresh_verdict: FreshVerdict, leaf: str, verdict_evidence: VerdictEvidence
    ) -> None:
        """Store a verdict on a certificate, its octets and the evidence, unless the same verdict is stored.

        `leaf` is the SHA-256 of the certificate.
        """
        with read_transaction(self._engine) as conn:
            if verdicts.find_by_digest(conn, verdict_evidence.digest) is not None:
                return
        verdict = fresh_verdict.verdict
        new = NewVerdict(
            verdict_evidence.digest,
            leaf,
            fresh_verdict.use.value,
            verdict.status,
            verdict.problem.id if verdict.problem else None,
            verdict.tolerated,
            verdict.judged_at,
            verdict.valid_until,
            fresh_verdict.epoch,
        )
        with write_transaction(self._engine, "verdicts.kept") as conn:
            payloads.store_digested_payloads(conn, verdict_evidence.octets.items(), verdict.judged_at)
            number = verdicts.insert_verdict(conn, new)
            if number is not None:
                record_evidence(
                    conn,
                    "verdict",
                    "verdict",
                    number,
                    new.digest,
                    _make_evidence_data(new),
                    verdict.judged_at,
                )


def _make_evidence_data(new: NewVerdict) -> dict[str, str | bool | int | None]:
    """Return the values of a verdict for its evidence."""
    return {
        "leaf": new.leaf_sha256,
        "use": new.use,
        "status": new.status,
        "problem": new.problem,
        "tolerated": new.tolerated,
        "until": new.valid_until.isoformat(),
        "epoch": new.epoch,
    }
