"""Makes and verifies proofs that something was recorded by a certain time, without access to the hub.

A leaf is proved by its path to a tree head; a head by the signature over its text and by time stamps over
it; the authority of a stamp by the stored evidence of the verdict on it. The document contains all of it
and refers to nothing outside, so that its verifier needs no row of the database. The verifier chooses the
authorities to trust, because an attacker can make keys, authorities and a policy that fit each other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.errors import EVIDENCE_BROKEN, EVIDENCE_NOT_SEALED, MISUSE, GatewayError
from gateway.evidence.evidence_log import list_subject_leaves
from gateway.evidence.evidence_readers import EvidenceReader, is_visible_whole
from gateway.evidence.leaf_encoding import encode_leaf, hash_leaf
from gateway.evidence.merkle_tree import compute_audit_path, compute_path_root
from gateway.evidence.tree_heads import list_heads
from gateway.pki import (
    DEFAULT_USES,
    Certificate,
    CertificateUse,
    TimeStamp,
    TrustPolicy,
    Verdict,
    VerdictMaterial,
    get_signature_algorithm,
    load_material,
    read_certificate,
    repeat_validation,
    verify_time_stamp_token,
)
from gateway.store import SealRow, payloads, read_columns
from gateway.store import time_stamps as stamps
from gateway.store.transitions import evidence
from gateway.xmlsec import verify_signature_value

_VERSION: Final = 1
_LEAF_KEYS: Final = frozenset({"at", "kind", "subject_type", "subject_id", "digest", "data"})
_SIZE: Final = re.compile(r"[1-9][0-9]{0,17}")
Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """The content of a verified proof: its leaves, under a head with this signer and these stamps.

    ``withheld`` are the hashes of leaves that are proved without their data.
    """

    leaves: tuple[Mapping[str, Any], ...]
    head: str
    signer: Certificate | None
    stamps: tuple[TimeStamp, ...]
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeStampAuthorities:
    """The trusted time-stamp authorities: certificates (DER) of their issuers, and the verifier's own policy.

    Without certificates those of the proof count: it is then only consistent in itself. Without a
    policy the stored one applies, except its rules for time-stamping certificates, which a proof
    may not define.
    """

    anchors: tuple[bytes, ...] = ()
    policy: TrustPolicy | None = None

    def override_material(self, material: VerdictMaterial) -> VerdictMaterial:
        """Return the stored evidence of a verdict, with these anchors and policy in place of its own."""
        stored = material.register
        policy = self.policy or _override_stamping_use(stored.policy)
        return replace(
            material, register=replace(stored, anchors=self.anchors or stored.anchors, policy=policy)
        )


def _override_stamping_use(policy: TrustPolicy) -> TrustPolicy:
    use = CertificateUse.TIME_STAMPING
    rule = replace(DEFAULT_USES[use], accept_indeterminate=policy.uses[use].accept_indeterminate)
    return replace(policy, uses={**policy.uses, use: rule})


def verify_head_signature(
    head_text: str, signature: bytes | None, certificate: bytes | None
) -> Certificate | None:
    """Return the signer's certificate of a head, None when unsigned; raises GW805 for a bad signature."""
    if signature is None or certificate is None:
        return None
    signer = read_certificate(certificate)
    if not verify_signature_value(
        get_signature_algorithm(signer.public_key), signer.public_key, signature, head_text.encode()
    ):
        raise _make_evidence_error("the signature of a head is invalid", head_text.partition("\n")[0][:80])
    return signer


def verify_time_stamp(
    token: bytes,
    head_text: str,
    verdict_digest: str | None,
    fetch_octets: Fetch,
    authorities: TimeStampAuthorities = TimeStampAuthorities(),
) -> TimeStamp:
    """Verify a time stamp over a head, and its authority by the evidence of its verdict; return the stamp."""
    if verdict_digest is None:
        raise _make_evidence_error(
            "no data are stored that show why the authority of a time stamp was trusted", "time-stamp"
        )
    material = authorities.override_material(load_material(verdict_digest, fetch_octets))

    def validate_authority(der: bytes, use: CertificateUse, at: datetime) -> Verdict:
        if der != material.leaf or use is not material.use:
            raise _make_evidence_error(
                "the stored data are about another certificate than that of the token", "time-stamp"
            )
        return repeat_validation(material, at)

    return verify_time_stamp_token(token, hashlib.sha256(head_text.encode()).digest(), validate_authority)


def make_proof(
    conn: Connection, subject_type: str, subject_id: str, reader: EvidenceReader
) -> dict[str, Any]:
    """Return the proof of one subject, under the first stamped head that covers all its sealed leaves.

    A leaf that the reader does not see whole, or that is broken, is proved by its hash, under ``withheld``.
    Raises GW809 where no leaf about it is under any head yet, GW808 where there is no leaf about it.
    """
    subject = f"{subject_type} {subject_id}"[:80]
    recorded = list_subject_leaves(conn, subject_type, subject_id)
    if not recorded:
        raise GatewayError(MISUSE, "there is no evidence about it", subject)
    sealed_leaves = [(row.seq, row) for row in recorded if row.seq is not None]
    head = _find_covering_head(conn, max((sequence for sequence, _ in sealed_leaves), default=0))
    if head is None:
        raise GatewayError(EVIDENCE_NOT_SEALED, "no evidence about it is sealed yet", subject)
    hashes = [
        bytes.fromhex(leaf_hash)
        for leaf_hash in conn.execute(
            select(evidence.c.leaf_hash).where(evidence.c.seq <= head.last_seq).order_by(evidence.c.seq)
        ).scalars()
    ]
    enclosed_octets: dict[str, str] = {}

    def collect_octets(digest: str) -> bytes:
        content = payloads.get_payload_octets(conn, digest)
        enclosed_octets[digest] = base64.b64encode(content).decode()
        return content

    head_stamps = stamps.list_by_head(conn, head.id)
    for stamp in head_stamps:
        if stamp.verdict is not None:
            load_material(stamp.verdict, collect_octets)
    visible_leaves: list[dict[str, Any]] = []
    withheld_leaves: list[dict[str, Any]] = []
    for sequence, row in sealed_leaves:
        inclusion = {
            "place": sequence,
            "path": [step.hex() for step in compute_audit_path(sequence - 1, hashes)],
        }
        if is_visible_whole(row, reader):
            visible_leaves.append(inclusion | {"leaf": encode_leaf(read_columns(row)).decode()})
        else:
            withheld_leaves.append(inclusion | {"hash": row.leaf_hash})
    return {
        "version": _VERSION,
        "head": head.head,
        "signature": _encode_base64(head.signature),
        "certificate": _encode_base64(head.certificate),
        "stamps": [
            {"authority": stamp.authority, "token": _encode_base64(stamp.token), "verdict": stamp.verdict}
            for stamp in head_stamps
        ],
        "leaves": visible_leaves,
        # A separate list, so that an earlier version of the verifier can still read the leaves.
        "withheld": withheld_leaves,
        "octets": enclosed_octets,
    }


def _find_covering_head(conn: Connection, last_leaf_number: int) -> SealRow | None:
    """Return the first stamped head over at least `last_leaf_number` leaves, else the last such head.

    Returns None if no head covers that many leaves, or the number is 0.
    """
    covering_heads = [
        row for row in list_heads(conn) if last_leaf_number and row.last_seq >= last_leaf_number
    ]
    stamped_heads = (row for row in covering_heads if stamps.list_by_head(conn, row.id))
    return next(stamped_heads, covering_heads[-1] if covering_heads else None)


def verify_proof(
    document: Mapping[str, Any], authorities: TimeStampAuthorities = TimeStampAuthorities()
) -> VerifiedProof:
    """Verify a proof completely and return its content; raises GW805 where it does not hold.

    Raises GW205 where no trusted certificate certifies the authority of a stamp.
    """
    try:
        return _verify_proof_parts(document, authorities)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise _make_evidence_error(
            f"it is not a proof of a gateway ({type(problem).__name__})", "document"
        ) from None


def _verify_proof_parts(document: Mapping[str, Any], authorities: TimeStampAuthorities) -> VerifiedProof:
    """Verify the audit paths, time stamps and head signature of a proof document; return what they prove.

    Raises GatewayError for a part that is not valid, and KeyError or ValueError for a malformed document.
    """
    if document["version"] != _VERSION:
        raise _make_evidence_error("it is of another version", "document")
    head_text, enclosed_octets = document["head"], document["octets"]
    size, root = parse_head_text(head_text)

    def read_enclosed_octets(digest: str) -> bytes:
        return payloads.verify_digest(base64.b64decode(enclosed_octets[digest], validate=True), digest)

    withheld = document.get("withheld", ())
    hashed = [(entry, hash_leaf(entry["leaf"].encode())) for entry in document["leaves"]]
    for entry, digest in (*hashed, *((entry, entry["hash"]) for entry in withheld)):
        path = [bytes.fromhex(step) for step in entry["path"]]
        if compute_path_root(bytes.fromhex(digest), entry["place"] - 1, size, path) != root:
            raise _make_evidence_error(
                f"leaf {entry['place']} is not under the head", f"leaf {entry['place']}"
            )
    verified_stamps = [
        verify_time_stamp(
            _decode_base64(entry["token"]) or b"",
            head_text,
            entry["verdict"],
            read_enclosed_octets,
            authorities,
        )
        for entry in document["stamps"]
    ]
    signer = verify_head_signature(
        head_text, _decode_base64(document["signature"]), _decode_base64(document["certificate"])
    )
    leaves: Sequence[Mapping[str, Any]] = [json.loads(entry["leaf"]) for entry in document["leaves"]]
    for entry in leaves:
        if not set(entry) >= _LEAF_KEYS:
            raise _make_evidence_error("a leaf is not written as leaves are", "document")
    return VerifiedProof(
        tuple(leaves), head_text, signer, tuple(verified_stamps), tuple(entry["hash"] for entry in withheld)
    )


def parse_head_text(text: str) -> tuple[int, bytes]:
    """Return size and root of the tree of a head; raises GW805 for malformed text."""
    lines = text.split("\n")
    if len(lines) != 5 or not _SIZE.fullmatch(lines[1]) or lines[4]:
        raise _make_evidence_error("a head is not written as heads are", "head")
    try:
        return int(lines[1]), base64.b64decode(lines[2], validate=True)
    except ValueError:
        raise _make_evidence_error("the root of a head is not written as roots are", "head") from None


def _encode_base64(octets: bytes | None) -> str | None:
    return None if octets is None else base64.b64encode(octets).decode()


def _decode_base64(coded: str | None) -> bytes | None:
    return None if coded is None else base64.b64decode(coded, validate=True)


def _make_evidence_error(detail: str, location: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, detail, location)
