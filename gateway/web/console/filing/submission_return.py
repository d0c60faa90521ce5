"""Takes a signed submission back: the same document as the draft, well signed; then it is handed in.

It goes the way of every submission without ebXML (`gateway.hub.file_submission`), and its case the way of
every case. The private key of the trader never comes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row

from gateway.errors import GatewayError
from gateway.hub import FiledSubmission, file_submission
from gateway.message_model import Payload
from gateway.store import cases, messages, read_transaction, submission_drafts, write_transaction
from gateway.web.console.filing.draft_checks import DraftFinding, Judge, check_draft, check_signed
from gateway.web.console.filing.draft_service import load_named_files
from gateway.web.console.page_translations import translate, translate_word
from gateway.wire import DS, parse_xml
from gateway.xmlsec import compute_unsigned_digest

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices
    from gateway.web.console.filing.draft_service import Draft
    from gateway.web.console.visitor_session import Visitor

__all__ = ["HandedIn", "find_handed_in", "hand_in_draft", "mend_draft"]

_CHANNEL: Final = "console"


@dataclass(frozen=True, slots=True)
class HandedIn:
    """A draft that was handed in: its message, its case as soon as there is one, and its receipt."""

    message: Row[Any]
    case: Row[Any] | None
    receipt: bytes


def hand_in_draft(
    services: ConsoleServices, visitor: Visitor, draft: Draft, signed: bytes, judge: Judge
) -> list[DraftFinding]:
    """Hand in the signed submission of a draft; return what is wrong with it, nothing when it is stored."""
    files = load_named_files(services, draft)
    wanted = check_draft(judge, draft, files).fingerprint
    found = _compare_document(services, signed, wanted) or check_signed(judge, files, signed)
    if found:
        return found
    try:
        receipt = file_submission(services.hub, _make_filing(services, visitor, draft, (signed, files)))
    except GatewayError as problem:
        return [_describe_problem(problem)]
    with write_transaction(services.engine, "console.handed_in") as conn:
        submission_drafts.mark_handed_in(conn, draft.id, receipt.message, services.clock())
    return []


def _compare_document(services: ConsoleServices, content: bytes, wanted: str) -> list[DraftFinding]:
    """Return a finding unless this is the document of the draft, with a signature."""
    try:
        root = parse_xml(content, services.hub.limits)
    except GatewayError as problem:
        return [_describe_problem(problem)]
    if root.find(f"{{{DS}}}Signature") is None:
        sentence = translate("The file has no signature: it is not the signed one.")
        return [DraftFinding(sentence, "", "", None)]
    given = compute_unsigned_digest(root)
    if given != wanted:
        sentence = translate("This is another document than the draft: the draft or the file was changed.")
        return [DraftFinding(sentence, f"{given[:16]} ≠ {wanted[:16]}", "", None)]
    return []


def _describe_problem(problem: GatewayError) -> DraftFinding:
    return DraftFinding(translate_word(problem.problem.title), problem.detail, problem.problem.id, None)


def _make_filing(
    services: ConsoleServices, visitor: Visitor, draft: Draft, signed: tuple[bytes, Mapping[str, bytes]]
) -> FiledSubmission:
    content, contents = signed
    types = {one.cid: one.media_type for one in draft.values.attachments}
    return FiledSubmission(
        content,
        tuple(Payload(cid, kind, contents[cid]) for cid, kind in types.items()),
        _CHANNEL,
        visitor.organisation.code,
        {"account": visitor.name, "sign_in": visitor.method, "draft": draft.id},
        _make_message_id(services, draft),
    )


def _make_message_id(services: ConsoleServices, draft: Draft) -> str:
    """Return the id of a draft's message: a draft becomes one message, however often it is sent.

    The time is part of it because the number of a deleted draft may be given again.
    """
    return f"draft-{draft.id}-{draft.row.created_at:%Y%m%d%H%M%S%f}@{services.hub.host}"


def mend_draft(services: ConsoleServices, visitor: Visitor, draft: Draft) -> bool:
    """Mark a draft whose message was stored while the answer was lost; return whether there was one."""
    if not draft.is_open:
        return False
    with read_transaction(services.engine) as conn:
        name = _make_message_id(services, draft)
        row = messages.find_by_message_id(conn, "in", visitor.organisation.code, name)
    if row is None:
        return False
    with write_transaction(services.engine, "console.handed_in") as conn:
        submission_drafts.mark_handed_in(conn, draft.id, row.id, row.received_at)
    return True


def find_handed_in(services: ConsoleServices, draft: Draft) -> HandedIn | None:
    """Return what a draft has become; None for one that was not handed in."""
    if draft.is_open:
        return None
    with read_transaction(services.engine, promises=True) as conn:
        message = messages.find_by_id(conn, draft.row.message)
        answer = messages.find_response(conn, draft.row.message)
        case = cases.find_by_id(conn, message.case_id) if message is not None and message.case_id else None
    if message is None:
        return None
    return HandedIn(message, case, b"" if answer is None else answer.body)
