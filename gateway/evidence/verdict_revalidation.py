"""Validates a certificate again by the stored evidence of its first verdict, and by nothing else.

The current register, lists and policy are not used: a certificate that was valid then remains so,
even if it is revoked or expired now. A changed octet, document or row is detected by its digest, or
by that of the leaf of evidence that was written with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence.evidence_log import list_subject_leaves
from gateway.evidence.leaf_encoding import read_leaf_data
from gateway.pki import Verdict, VerdictMaterial, list_differences, load_material, repeat_validation
from gateway.store import (
    EvidenceRow,
    MessageRow,
    VerdictRow,
    payloads,
    read_row_number,
    verdicts,
)

#: Values that a row, its document and its leaf of evidence have in common.
_STATED_FIELDS: Final = ("status", "problem", "tolerated", "use")


@dataclass(frozen=True, slots=True)
class VerdictReference:
    """A reference to a verdict: the kind of its evidence, and the time for which it counted.

    ``problem`` is the reason why it cannot be found.
    """

    kind: str
    verdict: str
    at: datetime
    problem: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class RevalidatedVerdict:
    """A stored verdict and its revalidation; `differences` is empty where they agree.

    ``leaf_number`` is the number of its leaf of evidence in the tree, None while it has none.
    """

    row: VerdictRow
    leaf_number: int | None
    at: datetime
    material: VerdictMaterial
    verdict: Verdict
    differences: tuple[str, ...]


def revalidate_verdict(conn: Connection, row: VerdictRow, at: datetime | None = None) -> RevalidatedVerdict:
    """Validate the certificate of a stored verdict as of its time or `at`; raises GW805 if changed."""
    leaf_number = check_verdict_row(conn, row)
    material = load_material(row.digest, lambda digest: payloads.get_payload_octets(conn, digest))
    document = material.document
    if document["leaf"] != row.leaf_sha256 or any(
        document[name] != getattr(row, name) for name in _STATED_FIELDS
    ):
        raise _make_evidence_error(row, "its row differs from its document")
    validation_time = at or row.judged_at
    verdict = repeat_validation(material, validation_time)
    return RevalidatedVerdict(
        row, leaf_number, validation_time, material, verdict, list_differences(document, verdict)
    )


def check_verdict_row(conn: Connection, row: VerdictRow) -> int | None:
    """Compare a row with the leaf of evidence that was written with it; return the number of that leaf."""
    leaves = list_subject_leaves(conn, "verdict", row.id)
    if len(leaves) != 1:
        # A second one could have other content, and be found first.
        raise _make_evidence_error(row, f"it has {len(leaves) or 'no'} leaves of evidence")
    (leaf,) = leaves
    leaf_data = read_leaf_data(leaf)
    if leaf.digest != row.digest or leaf.at != row.judged_at or leaf_data.get("leaf") != row.leaf_sha256:
        raise _make_evidence_error(row, "its leaf of evidence is about another one")
    if leaf_data.get("until") != row.valid_until.isoformat() or any(
        leaf_data.get(n) != getattr(row, n) for n in _STATED_FIELDS
    ):
        raise _make_evidence_error(row, "its row differs from its leaf of evidence")
    return None if leaf.seq is None else int(leaf.seq)


def _make_evidence_error(row: VerdictRow, detail: str) -> GatewayError:
    return GatewayError(EVIDENCE_BROKEN, f"verdict {row.id}: {detail}", f"verdict {row.id}")


def list_verdict_references(conn: Connection, message: MessageRow) -> Iterator[VerdictReference]:
    """Yield the verdicts of a message: on its own signer, and on those of the documents in it."""
    subjects = [("message", message.id)]
    if message.case_id is not None:
        subjects.append(("case", message.case_id))
    for subject in subjects:
        for leaf in list_subject_leaves(conn, *subject):
            if subject[0] == "message" or leaf.digest == message.identity_sha256:
                yield from _read_leaf_references(leaf)


def _read_leaf_references(leaf: EvidenceRow) -> Iterator[VerdictReference]:
    """Yield a reference for each verdict that the leaf names; one with the problem for an unreadable leaf."""
    try:
        leaf_data = read_leaf_data(leaf)
    except GatewayError as broken:
        yield VerdictReference(leaf.kind, "", leaf.at, broken)
        return
    for digest in list_named_verdicts(leaf_data):
        yield VerdictReference(leaf.kind, digest, leaf.at)


def list_named_verdicts(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the verdicts that the data of a leaf names, at any depth."""
    for name, value in data.items():
        if name == "verdict" and isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from list_named_verdicts(value)


def find_named_verdict(conn: Connection, row_id_or_digest: str) -> VerdictRow | None:
    """Return the verdict with this row id or this digest; None if there is none."""
    row_id = read_row_number(row_id_or_digest)
    if row_id is not None:
        return verdicts.find_by_id(conn, row_id)
    return verdicts.find_by_digest(conn, row_id_or_digest.lower())
