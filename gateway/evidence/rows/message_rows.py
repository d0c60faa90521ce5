"""Compares messages, their parts, their answers and their octets with the evidence about them.

Each received message has one leaf of its origin. A sent one has a leaf for each time that it was sealed: the
last of them counts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED, digest_rows
from gateway.evidence.rows.row_findings import ComparedTable, Leaf, RowFindings, list_leaves_by_subject
from gateway.store import AcceptedMessage, HttpResponse, MessagePayloadRow, fragment_groups, messages
from gateway.store.payloads import payloads

COMPARED: Final = (
    ComparedTable(
        "messages",
        (
            *("message_id", "direction", "protocol", "kind", "conversation_id", "ref_to_message_id"),
            *("from_party", "to_party", "service", "action", "agreement_id", "pmode_id", "signer_sha256"),
            *("identity_sha256", "case_id", "parcel_headers", "parcel_sha256", "parcel", "received_at"),
            *("expires_at", "answer_status", "answer_headers", "answer_sha256", "answer_body", "purged_at"),
        ),
        "`NRO`, `filed` or `passing` about it; a sent one `NRS`; its answer also `receipted`",
    ),
    ComparedTable(
        "message_payloads",
        ("position", "content_id", "media_type", "sha256", "size", "properties"),
        "the same leaf as its message",
    ),
)
#: Evidence of the origin of a received message.
_ORIGINS: Final = frozenset({"NRO", "filed", "passing"})
#: Evidence about a case of a message that was filed for it or sent about it.
_CASE_KINDS: Final = frozenset(
    {"NRS", "admitted", "held", "refused", "supplemented", "amended", "withdrawal"}
)
_ANSWER: Final = "messages.answer"
_ANSWER_COLUMNS: Final = (*FIXED_COLUMNS[_ANSWER], "answer_body")
_MESSAGES: Final = messages.messages
_PARTS: Final = messages.message_payloads
_FRAGMENTS: Final = fragment_groups.fragments


def describe_stored_message(accepted: AcceptedMessage) -> dict[str, str]:
    """Return the digests of the rows of a new message, for its leaf: of itself, its parts and its answer."""
    rows = accepted.rows
    assert rows is not None, "a repeat is not stored again"
    digests = {"messages": digest_rows("messages", [rows.message])}
    if rows.parts:
        digests["message_payloads"] = digest_rows("message_payloads", rows.parts)
    if rows.message["answer_sha256"] is not None:
        digests[_ANSWER] = digest_rows(_ANSWER, [rows.message])
    return digests


def describe_stored_answer(answer: HttpResponse) -> dict[str, str]:
    """Return the digest of an answer that was stored later than its message, for its leaf."""
    columns = {
        "answer_status": answer.status,
        "answer_headers": dict(answer.headers),
        "answer_sha256": hashlib.sha256(answer.body).hexdigest(),
    }
    return {_ANSWER: digest_rows(_ANSWER, [columns])}


@dataclass(frozen=True, slots=True)
class _MessageEvidence:
    """The evidence that concerns messages: leaves about them, about their cases and their fragment groups.

    `groups` has the fragment group (row id) of each message that is a received fragment.
    """

    by_message: Mapping[str, Sequence[Leaf]]
    by_case: Mapping[str, Sequence[Leaf]]
    by_group: Mapping[str, Sequence[Leaf]]
    groups: Mapping[int, int]

    def list_origins(self, row: Any) -> list[Leaf]:
        """Return the leaves that state a message as received or sent, the oldest first."""
        if row.direction == "in":
            return [leaf for leaf in self.by_message.get(str(row.id), ()) if leaf.kind in _ORIGINS]
        leaves = (*self.by_message.get(str(row.id), ()), *self.by_case.get(str(row.case_id), ()))
        return [leaf for leaf in leaves if leaf.kind == "NRS" and leaf.data["message_id"] == row.message_id]

    def list_removal_times(self, row: Any) -> set[Any]:
        """Return when octets of a message were removed, or those of its case or its fragment group."""
        leaves = (
            *self.by_message.get(str(row.id), ()),
            *self.by_case.get(str(row.case_id), ()),
            *self.by_group.get(str(self.groups.get(row.id)), ()),
        )
        return {leaf.at for leaf in leaves if leaf.kind == "purged"}


def compare_messages(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare messages (row ids) with their parts with the evidence."""
    rows = conn.execute(select(_MESSAGES).where(_MESSAGES.c.id.in_(ids)).order_by(_MESSAGES.c.id)).all()
    parts: dict[int, list[MessagePayloadRow]] = defaultdict(list)
    for part in conn.execute(select(_PARTS).where(_PARTS.c.message.in_(ids))).all():
        parts[part.message].append(part)
    case_ids = {row.case_id for row in rows if row.case_id is not None}
    grouped = select(_FRAGMENTS.c.message, _FRAGMENTS.c.group).where(_FRAGMENTS.c.message.in_(ids))
    groups = {row.message: row.group for row in conn.execute(grouped).all()}
    evidence = _MessageEvidence(
        list_leaves_by_subject(conn, "message", ids, findings),
        list_leaves_by_subject(conn, "case", case_ids, findings),
        list_leaves_by_subject(conn, "fragments", set(groups.values()), findings),
        groups,
    )
    stored_apart = _list_stored_digests(conn, [row.parcel_sha256 for row in rows if row.parcel is None])
    for row in rows:
        findings.compared["messages"] += 1
        findings.compared["message_payloads"] += len(parts[row.id])
        origins = evidence.list_origins(row)
        if not origins or (len(origins) > 1 and row.direction == "in"):
            detail = f"{len(origins) or 'no'} evidence says that it was received or sent"
            findings.add_difference("messages", row.id, detail)
            continue
        _compare_message(row, origins[-1], findings)
        _compare_parts(row, parts[row.id], origins[0], findings)
        _compare_answer(row, origins[0], evidence.by_message.get(str(row.id), ()), findings)
        _compare_case(row, evidence.by_case.get(str(row.case_id), ()), findings)
        _compare_octets(row, evidence, stored_apart, findings)


def _list_stored_digests(conn: Connection, digests: Iterable[str]) -> frozenset[str]:
    query = select(payloads.c.sha256).where(payloads.c.sha256.in_(set(digests)))
    return frozenset(conn.execute(query).scalars())


def _compare_message(row: Any, leaf: Leaf, findings: RowFindings) -> None:
    findings.compare_value("messages", row.id, "message_id", row.message_id, leaf, leaf.data["message_id"])
    findings.compare_value("messages", row.id, "identity_sha256", row.identity_sha256, leaf, leaf.digest)
    if leaf.kind in ("NRO", "passing"):
        findings.compare_value(
            "messages", row.id, "signer_sha256", row.signer_sha256, leaf, leaf.data["signer"]
        )
    findings.compare_digest("messages", row.id, [row], leaf)


def _compare_parts(row: Any, parts: Sequence[MessagePayloadRow], leaf: Leaf, findings: RowFindings) -> None:
    """Compare the parts with the first leaf: a message that is sealed again keeps them."""
    if parts or "message_payloads" in (leaf.data[STORED] or ()):
        findings.compare_digest("message_payloads", row.id, parts, leaf)


def _compare_answer(row: Any, origin: Leaf, leaves: Sequence[Leaf], findings: RowFindings) -> None:
    """Compare the answer with the last leaf that states one; without such a leaf there is none.

    A receipt that retention has removed is made again for a repeat of its message.
    """
    late_receipts = [leaf for leaf in leaves if leaf.kind == "receipted"]
    for leaf in late_receipts[-1:]:
        findings.compare_value("messages", row.id, "answer_sha256", row.answer_sha256, leaf, leaf.digest)
    stating = [leaf for leaf in (origin, *late_receipts) if _ANSWER in (leaf.data[STORED] or ())]
    if stating:
        findings.compare_digest(_ANSWER, row.id, [row], stating[-1])
    elif late_receipts:
        # Of a node with an earlier version: it has the digest alone.
        findings.older["messages"] += 1
    elif STORED in origin.data and any(getattr(row, name) is not None for name in _ANSWER_COLUMNS):
        findings.add_difference("messages", row.id, "it has an answer, and no evidence says so")


def _compare_case(row: Any, case_leaves: Sequence[Leaf], findings: RowFindings) -> None:
    """Compare the case of a received message with the evidence of the case, which has its identity."""
    if row.case_id is None or row.direction == "out":
        return
    if row.identity_sha256 not in {leaf.digest for leaf in case_leaves}:
        detail = f"no evidence about case {row.case_id} is of this message"
        findings.add_difference("messages", row.id, detail)


def _compare_octets(
    row: Any, evidence: _MessageEvidence, stored_apart: frozenset[str], findings: RowFindings
) -> None:
    """Compare the octets of a message and of its answer with their digests; they may be removed."""
    if row.purged_at is not None:
        if row.purged_at not in evidence.list_removal_times(row):
            findings.add_difference("messages", row.id, "no evidence says that its octets were removed")
        if row.parcel is not None:
            findings.add_difference("messages", row.id, "it has octets, which were removed")
        return
    for name, octets, digest in (
        ("parcel", row.parcel, row.parcel_sha256),
        ("answer_body", row.answer_body, row.answer_sha256),
    ):
        if octets is not None and hashlib.sha256(octets).hexdigest() != digest:
            findings.add_difference("messages", row.id, f"{name} has another digest than {digest}")
    if row.parcel is None and row.parcel_sha256 not in stored_apart:
        findings.add_difference("messages", row.id, "its octets are missing")
    if row.answer_body is None and row.answer_sha256 is not None:
        findings.add_difference("messages", row.id, "the octets of its answer are missing")


def compare_messages_of_cases(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Add a difference for each message that is not in its case (row ids), as the evidence says."""
    query = select(_MESSAGES.c.case_id, _MESSAGES.c.message_id, _MESSAGES.c.identity_sha256)
    names: dict[int, set[str]] = defaultdict(set)
    for row in conn.execute(query.where(_MESSAGES.c.case_id.in_(ids))):
        names[row.case_id] |= {row.message_id, row.identity_sha256}
    for case_id, leaves in list_leaves_by_subject(conn, "case", ids, findings).items():
        for leaf in leaves:
            name = leaf.data["message_id"] if leaf.kind == "NRS" else leaf.digest
            if leaf.kind in _CASE_KINDS and name not in names[int(case_id)]:
                detail = f"it is not in case {case_id}, as evidence row {leaf.id} ({leaf.kind}) says"
                findings.add_difference("messages", name, detail)
