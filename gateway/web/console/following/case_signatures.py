"""The signatures on the documents of a case, with the verdicts in the evidence, and the words for its states.

Received documents were verified on receipt, and their verdicts are read from the evidence. Signatures of the
gateway itself are verified each time they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.cases import CaseCustody, CustodyTask, find_hold_task
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, list_verdict_references, read_leaf_data
from gateway.harmonize import MappingBundle
from gateway.state_machines import REQUEST
from gateway.store import EvidenceRow, MessageRow, parties, verdicts
from gateway.web.console.page_formats import name_agency, translate
from gateway.wire import parse_xml
from gateway.xmlsec import verify_document


@dataclass(frozen=True, slots=True)
class SignatureFact:
    """One signature: the object that it signs, its signer, its time, and the result of its verification.

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
    notice_numbers: tuple[str, ...]
    signature: SignatureFact


def list_agency_statements(conn: Connection, request: int) -> list[SignedStatement]:
    """Return the signed calls and answers of an agency about a request, in the order received."""
    leaves = list_subject_leaves(conn, "request", request)
    statements = []
    for index, leaf in enumerate(leaves):
        if leaf.kind == "reply" and leaf.digest:
            following = _list_content_leaves(leaves[index + 1 :])
            numbers = tuple(
                _read_notice_number(following_leaf)
                for following_leaf in following
                if following_leaf.kind == "notice"
            )
            statements.append(
                SignedStatement(leaf.id, leaf.digest, numbers, _read_reply_signature(conn, leaf))
            )
    return statements


def _list_content_leaves(leaves: Sequence[EvidenceRow]) -> Iterator[EvidenceRow]:
    """Yield the leaves before the next signed reply: they record the content of the present one."""
    for leaf in leaves:
        if leaf.kind == "reply":
            return
        yield leaf


def _read_notice_number(leaf: EvidenceRow) -> str:
    """Return the number of the notice in a leaf; an empty text for a broken leaf."""
    try:
        return str(read_leaf_data(leaf).get("number", ""))
    except GatewayError:
        return ""


def _read_reply_signature(conn: Connection, leaf: EvidenceRow) -> SignatureFact:
    """Return the signature on an agency's reply; ``invalid`` if the leaf does not match its hash."""
    try:
        reply = read_leaf_data(leaf)
    except GatewayError as broken:
        return SignatureFact("reply", "", leaf.at, "invalid", problem=broken.problem.id)
    return _read_verdict(conn, "reply", reply.get("verdict"), reply.get("signer") or "", leaf.at)


def list_message_signatures(conn: Connection, message: MessageRow) -> list[SignatureFact]:
    """Return the signatures on a message received and on the submission in it, by the stored verdicts."""
    signatures = []
    for reference in list_verdict_references(conn, message):
        if reference.problem is not None:
            signatures.append(
                SignatureFact(reference.kind, "", reference.at, "invalid", None, reference.problem.problem.id)
            )
        else:
            signatures.append(_read_verdict(conn, reference.kind, reference.verdict, "", reference.at))
    return signatures


def _read_verdict(
    conn: Connection, signed_object: str, digest: str | None, signer: str, at: datetime
) -> SignatureFact:
    """Return a signature with its stored verdict, by the digest of the verdict; ``unknown`` without one."""
    row = verdicts.find_by_digest(conn, digest) if digest else None
    if row is None:
        return SignatureFact(signed_object, _describe_certificate(conn, signer), at, "unknown")
    name = _describe_certificate(conn, row.leaf_sha256)
    return SignatureFact(signed_object, name, at, row.status, row.judged_at, row.problem or "")


def _describe_certificate(conn: Connection, sha256: str) -> str:
    """Return the subject of a registered certificate, else the beginning of its digest."""
    rows = parties.list_certificate_rows(conn, sha256) if sha256 else ()
    return rows[0].subject if rows else sha256[:16]


def verify_own_document(content: bytes, at: datetime, signers: frozenset[str]) -> SignatureFact:
    """Return the signature of a document that the gateway signed, verified now.

    `signers` are the certificates of the gateway (SHA-256): another signer is not known.
    """
    try:
        signature = verify_document(parse_xml(content))
    except GatewayError as wrong:
        return SignatureFact("own", "", at, "invalid", problem=wrong.problem.id)
    certificate = signature.certificate
    status = "valid" if certificate.sha256 in signers else "unknown"
    return SignatureFact("own", certificate.subject, signature.signing_time or at, status)


@dataclass(frozen=True, slots=True)
class StateWords:
    """A state as a page shows it: its words, a sign, and the class of its colour."""

    label: str
    sign: str
    kind: str


def describe_case_state(
    state: str, outcome: str | None, case_hold: Mapping[str, Any] | None = None
) -> StateWords:
    """Return the words for the outcome of a case, else for its state.

    `case_hold` is the stored reason for holding a case; it selects the words for the state HELD.
    """
    if outcome:
        words_by_outcome = {
            "APPROVED": StateWords(translate("Approved"), "✓", "good"),
            "PARTIAL": StateWords(translate("Approved in part"), "◐", "warn"),
            "REJECTED": StateWords(translate("Rejected"), "✗", "bad"),
            "REFUSED": StateWords(translate("Not accepted"), "✗", "bad"),
            "WITHDRAWN": StateWords(translate("Withdrawn"), "–", "idle"),
        }
        return words_by_outcome[outcome]
    if state == "WITHDRAWN":
        return StateWords(translate("Withdrawn"), "–", "idle")
    if state == "OPENED":
        return StateWords(translate("Being read"), "…", "idle")
    task = find_hold_task(case_hold) if case_hold else CustodyTask.FILE
    if state == "HELD" and task is CustodyTask.PARENT:
        return StateWords(translate("Held: its parent case is not decided"), "…", "idle")
    if state == "HELD" and task is CustodyTask.FILE_AGAIN:
        return StateWords(translate("Held: it cannot go on as it was filed"), "!", "warn")
    if state == "HELD":
        return StateWords(translate("Held: an application is missing"), "!", "warn")
    return StateWords(translate("With the agencies"), "…", "idle")


def describe_request_state(state: str, decision_outcome: str = "", *, is_asked: bool = False) -> StateWords:
    """Return the state of an application; `decision_outcome` is its outcome in one word.

    While its agency `is_asked` whether it cancels an undecided one, its demands are not due.
    """
    if is_asked and state not in REQUEST.final_states:
        return StateWords(translate("The agency is asked whether it cancels"), "…", "idle")
    if state == "DECIDED" and decision_outcome:
        return describe_case_state("CLOSED", decision_outcome)
    words_by_state = {
        "PREPARED": StateWords(translate("On its way to the agency"), "…", "idle"),
        "SENT": StateWords(translate("Sent to the agency"), "…", "idle"),
        "ACKNOWLEDGED": StateWords(translate("Received by the agency"), "…", "idle"),
        "INFORMATION_REQUIRED": StateWords(translate("Information is asked for"), "!", "warn"),
        "INSPECTION": StateWords(translate("Inspection"), "!", "warn"),
        "FEE_DUE": StateWords(translate("A fee is due"), "!", "warn"),
        "STRANDED": StateWords(translate("Not with the agency yet"), "!", "warn"),
        "DECIDED": StateWords(translate("Decided"), "✓", "good"),
        "CANCELLED": StateWords(translate("Cancelled"), "–", "idle"),
    }
    return words_by_state[state]


def describe_fee_state(state: str, *, is_postponed: bool = False) -> StateWords:
    """Return the state of a fee; one that `is_postponed` is due only if its application is not cancelled."""
    if is_postponed:
        return StateWords(translate("Due if the application is not cancelled"), "…", "idle")
    words_by_state = {
        "LEVIED": StateWords(translate("To be paid"), "!", "warn"),
        "ORDERED": StateWords(translate("To be paid"), "!", "warn"),
        "PAID": StateWords(translate("Paid"), "✓", "good"),
        "CONFIRMED": StateWords(translate("Paid, the agency has it"), "✓", "good"),
        "CANCELLED": StateWords(translate("Not due any more"), "–", "idle"),
        "REFUNDING": StateWords(translate("Is being given back"), "…", "idle"),
        "REFUNDED": StateWords(translate("Given back"), "–", "idle"),
        "PARTLY_REFUNDED": StateWords(translate("Given back in part"), "–", "idle"),
    }
    return words_by_state[state]


def describe_decision(decision: str) -> StateWords:
    """Return a decision of an agency on one item."""
    words_by_decision = {
        "APPROVED": StateWords(translate("Approved"), "✓", "good"),
        "APPROVED_WITH_CONDITIONS": StateWords(translate("Approved with conditions"), "✓", "warn"),
        "REJECTED": StateWords(translate("Rejected"), "✗", "bad"),
        "NOT_CONCERNED": StateWords(translate("Not concerned"), "–", "idle"),
    }
    return words_by_decision[decision]


def describe_custody(custody: CaseCustody, bundle: MappingBundle) -> str:
    """Return a short sentence on who must act next, and how."""
    sentences = {
        CustodyTask.ANSWER: translate("You: answer the question of %(agency)s"),
        CustodyTask.PAY: translate("You: pay the fee of %(agency)s"),
        CustodyTask.INSPECT: translate("%(agency)s: inspection"),
        CustodyTask.CANCEL: translate("%(agency)s: whether it cancels the application"),
        CustodyTask.DECIDE: translate("%(agency)s: decision"),
        CustodyTask.FORWARD: translate("Gateway: hand the application to %(agency)s"),
        CustodyTask.REACH: translate("Gateway: bring the application to %(agency)s, which failed"),
        CustodyTask.ADMIT: translate("Gateway: read the submission"),
        CustodyTask.RELAY: translate("Gateway: deliver the result"),
        CustodyTask.FILE: translate("You: file the applications that are missing"),
        CustodyTask.FILE_AGAIN: translate("You: file the declaration again"),
        CustodyTask.PARENT: translate("Gateway: wait for the decision on the parent case"),
    }
    return sentences[custody.task] % {"agency": name_agency(bundle, custody.agency)}
