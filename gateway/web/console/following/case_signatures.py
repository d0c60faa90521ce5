"""The signatures behind what a case holds: who signed, when, and the verdict that the evidence keeps.

Nothing is believed anew here. What came in was verified when it came, and the verdict is read from the
evidence. What the gateway signed itself is verified each time it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, list_verdict_references, read_leaf_data
from gateway.store import parties, verdicts
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document

__all__ = [
    "SignatureFact",
    "SignedStatement",
    "list_agency_statements",
    "list_message_signatures",
    "verify_own_document",
]


@dataclass(frozen=True, slots=True)
class SignatureFact:
    """One signature: what it is on, its signer, its time, and what was found about it.

    `status` is ``valid``, ``invalid``, ``indeterminate`` or ``unknown``; `judged_at` is the time of
    the stored verdict, None where the signature is verified now.
    """

    kind: str
    signer: str
    at: datetime | None
    status: str
    judged_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """The signed octets in which an agency said something, and their signature."""

    leaf: int
    digest: str
    notices: tuple[str, ...]
    signature: SignatureFact


def list_agency_statements(conn: Connection, request: int) -> list[SignedStatement]:
    """Return the signed calls and answers of an agency about a request, in the order received."""
    leaves = list_subject_leaves(conn, "request", request)
    found = []
    for place, leaf in enumerate(leaves):
        if leaf.kind == "reply" and leaf.digest:
            following = _list_following(leaves[place + 1 :])
            numbers = tuple(_read_notice_number(one) for one in following if one.kind == "notice")
            found.append(SignedStatement(leaf.id, leaf.digest, numbers, _read_reply_signature(conn, leaf)))
    return found


def _list_following(leaves: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    """Yield the leaves up to the next signed statement: they tell what this one said."""
    for leaf in leaves:
        if leaf.kind == "reply":
            return
        yield leaf


def _read_notice_number(leaf: Row[Any]) -> str:
    try:
        return str(read_leaf_data(leaf).get("number", ""))
    except GatewayError:
        return ""


def _read_reply_signature(conn: Connection, leaf: Row[Any]) -> SignatureFact:
    try:
        said = read_leaf_data(leaf)
    except GatewayError as broken:
        return SignatureFact("reply", "", leaf.at, "invalid", None, broken.problem.id)
    return _read_verdict(conn, "reply", said.get("verdict"), said.get("signer") or "", leaf.at)


def list_message_signatures(conn: Connection, message: Row[Any]) -> list[SignatureFact]:
    """Return the signatures on a message received and on the submission in it, by the stored verdicts."""
    found = []
    for one in list_verdict_references(conn, message):
        if one.problem is not None:
            found.append(SignatureFact(one.kind, "", one.at, "invalid", None, one.problem.problem.id))
        else:
            found.append(_read_verdict(conn, one.kind, one.verdict, "", one.at))
    return found


def _read_verdict(
    conn: Connection, kind: str, digest: str | None, signer: str, at: datetime
) -> SignatureFact:
    row = verdicts.find_by_digest(conn, digest) if digest else None
    if row is None:
        return SignatureFact(kind, _name_certificate(conn, signer), at, "unknown")
    name = _name_certificate(conn, row.leaf_sha256)
    return SignatureFact(kind, name, at, row.status, row.judged_at, row.problem or "")


def _name_certificate(conn: Connection, sha256: str) -> str:
    """Return the subject of a registered certificate, else the beginning of its digest."""
    rows = parties.list_certificate_rows(conn, sha256) if sha256 else ()
    return rows[0].subject if rows else sha256[:16]


def verify_own_document(content: bytes, at: datetime, signers: frozenset[str]) -> SignatureFact:
    """Return the signature of a document that the gateway signed, verified now.

    `signers` are the certificates of the gateway (SHA-256): another signer is not known.
    """
    try:
        found = verify_document(parse_xml(content))
    except GatewayError as wrong:
        return SignatureFact("own", "", at, "invalid", None, wrong.problem.id)
    certificate = found.certificate
    status = "valid" if certificate.sha256 in signers else "unknown"
    return SignatureFact("own", certificate.subject, found.signing_time or at, status)
