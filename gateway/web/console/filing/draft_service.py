"""Drafts of a filing person: kept, checked, and changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from flask import abort, g
from sqlalchemy import Connection

from gateway.errors import (
    ATTACHMENT_MISMATCH,
    CODE_UNKNOWN,
    DECLARANT_NOT_ALLOWED,
    DOCUMENT_INVALID,
    FIELD_MISSING,
    REFERENCE_REUSED,
    SOURCES_DISAGREE,
    GatewayError,
)
from gateway.harmonize import (
    DocumentMapping,
    FiledApplication,
    FilingForm,
    FormAttachment,
    FormValues,
    MappingBundle,
    compose_form,
    compose_submission,
    find_reference,
    index_field_places,
    parse_form_values,
    read_form_values,
    write_form_values,
)
from gateway.store import (
    DraftContent,
    DraftFileSummaryRow,
    NewDraftFile,
    SubmissionDraftRow,
    messages,
    read_row_number,
    read_transaction,
    submission_drafts,
    write_transaction,
)
from gateway.web.console.page_formats import name_agency, translate, translate_word
from gateway.web.console.page_guards import services, visitor
from gateway.wire import convert_to_zone, parse_xml, serialize_element
from gateway.xmlsec import compute_unsigned_digest

if TYPE_CHECKING:
    from gateway.hub import InspectionFinding, InspectionReport


#: Drafts of one organisation that have not been handed in.
MOST_DRAFTS: Final = 200
_LARGEST_CONTENT: Final = 4 * 1024 * 1024
#: Files of one draft: their number, the octets of one, and of all.
MOST_FILES: Final = 50
LARGEST_FILE: Final = 10 * 1024 * 1024
LARGEST_FILES: Final = 30 * 1024 * 1024
_LONGEST_NAME: Final = 120
_LISTED: Final = 300
#: The first octets of the kinds of files that agencies ask for; others are octets of unknown kind.
_KINDS: Final = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")


class DraftRefusedError(Exception):
    """A refusal to store a draft or a file: a sentence for the page, and the `status` of the HTTP answer."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class DraftChangedError(DraftRefusedError):
    """Another page has saved the draft meanwhile."""

    status = HTTPStatus.CONFLICT


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is stored: its row, its form, its values, and the rows of its files."""

    row: SubmissionDraftRow
    form: FilingForm
    values: FormValues
    files: tuple[DraftFileSummaryRow, ...]

    @property
    def id(self) -> int:
        """Return its number."""
        return int(self.row.id)  # bounded: a row of our own

    @property
    def is_open(self) -> bool:
        """Return whether it has not been handed in."""
        return self.row.message is None

    @property
    def path(self) -> str:
        """Return the path of its first page."""
        return f"/console/submissions/{self.id}"

    def find_file(self, cid: str) -> DraftFileSummaryRow | None:
        """Return the file with a content id."""
        return next((file for file in self.files if file.cid == cid), None)


def load_draft(number: int) -> Draft:
    """Return a draft of the visitor's organisation; answers 404 for any other number."""
    with read_transaction(services.engine) as conn:
        row = submission_drafts.find_draft(conn, visitor.organisation.code, number)
        files = () if row is None else tuple(submission_drafts.list_files(conn, number))
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    values = parse_form_values(row.content)
    return Draft(row, compose_form(services.hub.rules.bundle, values.documents), values, files)


def load_named_files(draft: Draft) -> dict[str, bytes]:
    """Return the content of the files that the values of a draft name, by content id."""
    content_ids = {attachment.cid for attachment in draft.values.attachments}
    with read_transaction(services.engine) as conn:
        contents = submission_drafts.load_file_contents(conn, draft.id)
    return {cid: content for cid, content in contents.items() if cid in content_ids}


def make_draft_content(form: FilingForm, values: FormValues) -> DraftContent:
    """Return the stored form of the values; raise DraftRefusedError if it is too large, or cannot be read."""
    content = write_form_values(values)
    if len(content.encode()) > _LARGEST_CONTENT:
        raise DraftRefusedError(translate("The draft is too large."))
    try:
        parse_form_values(content)
    except GatewayError as problem:
        sentence = translate("The form cannot hold this submission: {detail}")
        raise DraftRefusedError(sentence.format(detail=f"{problem.location}: {problem.detail}")) from None
    reference = find_reference(form, values.values)[1]
    return DraftContent(reference[:_LISTED], " ".join(values.documents)[:_LISTED], content)


def begin_draft(values: FormValues) -> int:
    """Store a new draft; raises DraftRefusedError where the organisation has too many."""
    form = compose_form(services.hub.rules.bundle, values.documents)
    content = make_draft_content(form, values)
    with write_transaction(services.engine, "console.submission") as conn:
        return _insert_draft(conn, content)


def _insert_draft(conn: Connection, content: DraftContent) -> int:
    """Store a new draft, and return its number; raises DraftRefusedError for one too many."""
    party = visitor.organisation.code
    if submission_drafts.count_drafts(conn, party) >= MOST_DRAFTS:
        raise DraftRefusedError(
            translate("Your organisation has too many drafts. Delete some of them first.")
        )
    return submission_drafts.insert_draft(conn, party, content, visitor.name, services.clock())


def _check_files(conn: Connection, draft: int) -> None:
    """Raise DraftRefusedError where a draft has too many files, or too large ones."""
    number, octets = submission_drafts.measure_files(conn, draft)
    if number > MOST_FILES or octets > LARGEST_FILES:
        raise DraftRefusedError(translate("The files of the draft are too many or too large."))


def copy_draft(draft: Draft) -> int:
    """Store a copy of a draft with its files, without its reference; raises DraftRefusedError."""
    key = find_reference(draft.form, draft.values.values)[0]
    copied_values = {name: text for name, text in draft.values.values.items() if name != key}
    content = make_draft_content(draft.form, replace(draft.values, values=copied_values))
    with write_transaction(services.engine, "console.submission") as conn:
        number = _insert_draft(conn, content)
        submission_drafts.copy_files(conn, draft.id, number)
    return number


def save_draft(draft: Draft, values: FormValues, version: int, added: Iterable[NewDraftFile] = ()) -> None:
    """Store new values and files; files that no value names any more are removed.

    Raises DraftRefusedError where something is too much, DraftChangedError where another page has saved the
    draft since `version`.
    """
    files, now = tuple(added), services.clock()
    values = _declare_files(draft, values, files)
    content = make_draft_content(draft.form, values)
    content_ids = {attachment.cid for attachment in values.attachments}
    with write_transaction(services.engine, "console.submission") as conn:
        owner = visitor.organisation.code
        if not submission_drafts.save_draft(conn, owner, draft.id, version, content, visitor.name, now):
            sentence = translate("Somebody else has saved this draft meanwhile. Compare, and save again.")
            raise DraftChangedError(sentence)
        for draft_file in draft.files:
            if draft_file.cid not in content_ids:
                submission_drafts.delete_file(conn, draft.id, draft_file.cid)
        for file in files:
            submission_drafts.add_file(conn, draft.id, file, visitor.name, now)
        _check_files(conn, draft.id)


def _declare_files(draft: Draft, values: FormValues, added: tuple[NewDraftFile, ...]) -> FormValues:
    """Return the values with the attachments that they name: those kept before, and the new ones."""
    files: tuple[Any, ...] = (*draft.files, *added)
    files_by_cid = {file.cid: file for file in files}
    attachments: dict[str, FormAttachment] = {}
    for key, text in values.values.items():
        if text in files_by_cid and text not in attachments and key.startswith("a#"):
            application = read_row_number(key[2:].partition("/")[0])
            if application is None:
                continue
            file, kind = files_by_cid[text], _make_attachment_kind(key)
            size = int(file.size)  # bounded: a row of our own
            attachments[text] = FormAttachment(text, application, file.media_type, file.sha256, size, kind)
    return replace(values, attachments=tuple(attachments.values()))


def _make_attachment_kind(key: str) -> str:
    """Return the kind of an attachment: the element of the field that names it."""
    name = key.rpartition("/")[2].partition("#")[0].rpartition(".")[2]
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))[:70]


def make_draft_file(draft: Draft, key: str, name: str, content: bytes) -> NewDraftFile:
    """Return an uploaded file as a row to store; raises DraftRefusedError if it is too large or empty."""
    if not content:
        raise DraftRefusedError(translate("The file is empty."))
    if len(content) > LARGEST_FILE:
        raise DraftRefusedError(translate("The file is too large."))
    sha256 = hashlib.sha256(content).hexdigest()
    clean_key = _PLAIN.sub("-", key)
    media_type = next(
        (kind for start, kind in _KINDS if content.startswith(start)), "application/octet-stream"
    )
    clean_name = "".join(
        sign if sign.isprintable() else "_" for sign in name.replace("\\", "/").rpartition("/")[2]
    )
    return NewDraftFile(
        f"{clean_key}.{sha256[:12]}@draft-{draft.id}",
        clean_name[-_LONGEST_NAME:] or "file",
        media_type,
        sha256,
        len(content),
        content,
    )


def make_applications(documents: Iterable[str], items: tuple[str, ...]) -> tuple[FiledApplication, ...]:
    """Return one application for each document, all of them for these items."""
    return tuple(
        FiledApplication(f"A{number}", document, items) for number, document in enumerate(documents, 1)
    )


_MOST_DOCUMENTS = 20
_ISSUED = "Declaration/IssueDateTime"


@dataclass(frozen=True, slots=True)
class DocumentGroup:
    """The documents of one organisation, with its name."""

    code: str
    name: str
    documents: tuple[DocumentMapping, ...]


def list_document_groups(bundle: MappingBundle) -> tuple[DocumentGroup, ...]:
    """Return the documents of the mappings, grouped by organisation."""
    groups = []
    for code in dict.fromkeys(document.organisation for document in bundle.documents.values()):
        own_documents = tuple(
            document for document in bundle.documents.values() if document.organisation == code
        )
        groups.append(DocumentGroup(code, name_agency(bundle, code), own_documents))
    return tuple(groups)


def begin_document_draft(document_ids: tuple[str, ...]) -> int:
    """Store a draft for the chosen documents with one goods item; raises DraftRefusedError."""
    catalogue = services.hub.rules.bundle.documents
    documents = tuple(document for document in document_ids if document in catalogue)
    if not documents:
        raise DraftRefusedError(translate("Choose at least one document."))
    if len(documents) > _MOST_DOCUMENTS:
        raise DraftRefusedError(translate("These are too many documents."))
    if len({catalogue[document].direction for document in documents}) > 1:
        raise DraftRefusedError(translate("Documents for import and for export need two submissions."))
    return begin_draft(_prefill(documents))


def _prefill(documents: tuple[str, ...]) -> FormValues:
    """Return the first values of a draft: one goods item, and today's date."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    now = convert_to_zone(services.clock(), zone).replace(second=0).isoformat(timespec="seconds")
    form = compose_form(services.hub.rules.bundle, documents)
    values = {
        f"h/{form_field.name}": now
        for form_field in form.header
        if getattr(form_field.source, "path", "") == _ISSUED
    }
    return FormValues(make_applications(documents, ("1",)), ("1",), values)


def set_applications(values: FormValues, concerned_pairs: set[str]) -> FormValues:
    """Return the values with these pairs ``APPLICATION|ITEM`` of which application concerns which item."""
    return replace(
        values,
        applications=tuple(
            replace(
                application,
                items=tuple(item for item in values.items if f"{number}|{item}" in concerned_pairs),
            )
            for number, application in enumerate(values.applications, 1)
        ),
    )


def copy_message(message: int) -> tuple[int, int]:
    """Store a draft with the content of an earlier submission of the organisation, with its files.

    Return its number, and how many values the form cannot hold. Raises DraftRefusedError where the draft, or
    its files, would be too much.
    """
    with read_transaction(services.engine) as conn:
        row = messages.find_by_id(conn, message)
        is_own = row is not None and (row.direction, row.from_party) == ("in", visitor.organisation.code)
        payloads = messages.load_payloads(conn, message) if is_own else ()
    if not payloads:
        abort(HTTPStatus.NOT_FOUND)
    root = parse_xml(payloads[0].content, services.hub.limits)
    reading = read_form_values(services.hub.rules.bundle, root)
    key = find_reference(reading.form, reading.values.values)[0]
    copied_values = {name: text for name, text in reading.values.values.items() if name != key}
    values = replace(reading.values, values=copied_values, function="9")
    content = make_draft_content(reading.form, values)
    with write_transaction(services.engine, "console.submission") as conn:
        number = _insert_draft(conn, content)
        for payload in payloads[1:]:
            digest = hashlib.sha256(payload.content).hexdigest()
            name = payload.content_id.partition("@")[0][:100]
            file = NewDraftFile(
                payload.content_id, name, payload.media_type, digest, len(payload.content), payload.content
            )
            submission_drafts.add_file(conn, number, file, visitor.name, services.clock())
        _check_files(conn, number)
    return number, len(reading.lost)


#: Judges a submission and its files by content id, as signed (True) or as if the visitor had signed it.
Judge = Callable[[bytes, Mapping[str, bytes], bool], "InspectionReport"]


@dataclass(frozen=True, slots=True)
class DraftFinding:
    """One finding: a sentence on the problem, the hub's own detail, and the key of the field."""

    sentence: str
    detail: str = ""
    problem: str = ""
    key: str | None = None
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class DraftReport:
    """The judgement of a draft: its findings, the submission that it makes, and its fingerprint."""

    findings: tuple[DraftFinding, ...]
    content: bytes = field(repr=False)
    fingerprint: str = ""

    @property
    def accepted(self) -> bool:
        """Return whether nothing was found that the hub refuses."""
        return not any(finding.refuses for finding in self.findings)

    def list_errors(self) -> dict[str, list[str]]:
        """Return the sentences about values that the hub refuses, by the key of their field."""
        errors: dict[str, list[str]] = {}
        for finding in self.findings:
            if finding.key is not None and finding.refuses:
                errors.setdefault(finding.key, []).append(finding.sentence)
        return errors

    def list_warnings(self, keys: Collection[str]) -> list[DraftFinding]:
        """Return the warnings about fields of these keys, whose values the hub accepts."""
        return [finding for finding in self.findings if not finding.refuses and finding.key in keys]


def check_draft(judge: Judge, draft: Draft, files: Mapping[str, bytes]) -> DraftReport:
    """Return the judgement of a draft that is not signed yet."""
    try:
        composed = compose_submission(draft.form, draft.values)
    except GatewayError as problem:
        sentence = translate("The value cannot be sent.")
        unsendable = DraftFinding(sentence, problem.detail, problem.problem.id, problem.location)
        return DraftReport((unsendable,), b"")
    content = serialize_element(composed.root)
    places = index_field_places(draft.form, draft.values, composed)
    report = judge(content, files, False)
    findings = []
    for judged, refuses in ((report.findings, True), (report.warnings, False)):
        for finding in judged:
            key = places.find_field(finding.pointer, finding.message)
            if key is not None and finding.problem is DOCUMENT_INVALID and not draft.values.values.get(key):
                # The schema refuses an empty value; it is reported as the mapping reports a missing one.
                required_text = translate("This is required.")
                findings.append(DraftFinding(required_text, problem=FIELD_MISSING.id, key=key))
            else:
                findings.append(link_finding(finding, key, refuses=refuses))
    return DraftReport(
        tuple(dict.fromkeys((*_check_items(draft.values), *findings))),
        content,
        compute_unsigned_digest(composed.root),
    )


def check_signed_document(judge: Judge, files: Mapping[str, bytes], content: bytes) -> list[DraftFinding]:
    """Return the findings for which the hub refuses a signed document: an empty list when it is good."""
    report = judge(content, files, True)
    findings = [link_finding(finding) for finding in report.findings]
    if not findings and report.skipped_steps:
        findings.append(DraftFinding(translate("The submission cannot be judged."), report.skipped_steps[0]))
    return findings


def _check_items(values: FormValues) -> list[DraftFinding]:
    """Return a finding if the form has no goods item, and one for each application without an item."""
    findings = []
    if not values.items:
        findings.append(DraftFinding(translate("There is no goods item."), key="a#1/items"))
    for number, application in enumerate(values.applications, 1):
        if values.items and not application.items:
            sentence = translate("{document} concerns no goods item.").format(document=application.document)
            findings.append(DraftFinding(sentence, key=f"a#{number}/items"))
    return findings


def describe_problem(problem: GatewayError) -> DraftFinding:
    """Return a problem of the whole document as a finding."""
    return DraftFinding(translate_word(problem.problem.title), problem.detail, problem.problem.id)


def link_finding(finding: InspectionFinding, key: str | None = None, *, refuses: bool = True) -> DraftFinding:
    """Return a finding of the hub with the key of the field that it is about."""
    # Beside the label of its field, the problem of a missing field needs no detail.
    detail = "" if key is not None and finding.problem.id == FIELD_MISSING.id else finding.message
    return DraftFinding(describe_finding(finding), detail, finding.problem.id, key, refuses)


#: Problems that have a sentence of their own for traders.
_SENTENCES: Final = {
    FIELD_MISSING.id: lambda: translate("This is required."),
    CODE_UNKNOWN.id: lambda: translate("This is not a code of the list."),
    DECLARANT_NOT_ALLOWED.id: lambda: translate("Your organisation may not file for this declarant."),
    REFERENCE_REUSED.id: lambda: translate("This reference is in use already."),
    SOURCES_DISAGREE.id: lambda: translate("Two values contradict each other."),
    ATTACHMENT_MISMATCH.id: lambda: translate("The file is missing or another one."),
}


def describe_finding(finding: InspectionFinding) -> str:
    """Return the sentence of a finding, in the language of the request if the problem is translated."""
    if finding.message.endswith("may not be given here"):
        return translate("This may not be given here.")
    make_sentence = _SENTENCES.get(finding.problem.id)
    if make_sentence is not None:
        return make_sentence()
    # What exactly is wrong is said in English only; its detail stands below the title.
    return finding.message if g.language == "en" else translate_word(finding.problem.title)
