"""Loads and saves drafts for the pages: always those of the visitor's own organisation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask import abort
from sqlalchemy import Connection, Row

from gateway.harmonize import (
    FiledApplication,
    FilingForm,
    FormAttachment,
    FormValues,
    compose_form,
    find_reference,
    parse_form_values,
    write_form_values,
)
from gateway.store import (
    DraftContent,
    NewDraftFile,
    read_row_number,
    read_transaction,
    submission_drafts,
    write_transaction,
)
from gateway.web.console.page_translations import translate

if TYPE_CHECKING:
    from gateway.web.console.console_services import ConsoleServices
    from gateway.web.console.visitor_session import Visitor

__all__ = [
    "LARGEST_FILE",
    "LARGEST_FILES",
    "MOST_DRAFTS",
    "MOST_FILES",
    "Draft",
    "DraftLimitError",
    "begin_draft",
    "copy_draft",
    "keep_file",
    "load_draft",
    "load_named_files",
    "make_draft_content",
    "save_draft",
]

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


class DraftLimitError(Exception):
    """A limit of drafts or files is reached; the text is a sentence for the page."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is stored: its row, its form, its values, and the rows of its files."""

    row: Row[Any]
    form: FilingForm
    values: FormValues
    files: tuple[Row[Any], ...]

    @property
    def id(self) -> int:
        """Return its number."""
        return int(self.row.id)

    @property
    def is_open(self) -> bool:
        """Return whether it has not been handed in."""
        return self.row.message is None

    @property
    def path(self) -> str:
        """Return the path of its first page."""
        return f"/console/submissions/{self.id}"

    def find_file(self, cid: str) -> Row[Any] | None:
        """Return the file with a content id."""
        return next((one for one in self.files if one.cid == cid), None)


def load_draft(services: ConsoleServices, visitor: Visitor, number: int) -> Draft:
    """Return a draft of the visitor's organisation; any other one is not there (404)."""
    with read_transaction(services.engine) as conn:
        row = submission_drafts.find_draft(conn, visitor.organisation.code, number)
        files = () if row is None else tuple(submission_drafts.list_files(conn, number))
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    values = parse_form_values(row.content)
    return Draft(row, compose_form(services.hub.rules.bundle, values.documents), values, files)


def load_named_files(services: ConsoleServices, draft: Draft) -> dict[str, bytes]:
    """Return the content of the files that the values of a draft name, by content id."""
    named = {one.cid for one in draft.values.attachments}
    with read_transaction(services.engine) as conn:
        contents = submission_drafts.load_file_contents(conn, draft.id)
    return {cid: content for cid, content in contents.items() if cid in named}


def make_draft_content(form: FilingForm, values: FormValues) -> DraftContent:
    """Return what is stored of the values; raises DraftLimitError where that is too much."""
    content = write_form_values(values)
    if len(content.encode()) > _LARGEST_CONTENT:
        raise DraftLimitError(translate("The draft is too large."))
    reference = find_reference(form, values.values)[1]
    return DraftContent(reference[:_LISTED], " ".join(values.documents)[:_LISTED], content)


def begin_draft(services: ConsoleServices, visitor: Visitor, values: FormValues) -> int:
    """Store a new draft; raises DraftLimitError where the organisation has too many."""
    form = compose_form(services.hub.rules.bundle, values.documents)
    content = make_draft_content(form, values)
    with write_transaction(services.engine, "console.submission") as conn:
        _check_number(conn, visitor)
        return submission_drafts.insert_draft(
            conn, visitor.organisation.code, content, visitor.name, services.clock()
        )


def _check_number(conn: Connection, visitor: Visitor) -> None:
    if submission_drafts.count_drafts(conn, visitor.organisation.code) >= MOST_DRAFTS:
        raise DraftLimitError(translate("Your organisation has too many drafts. Delete some of them first."))


def copy_draft(services: ConsoleServices, visitor: Visitor, draft: Draft) -> int:
    """Store a copy of a draft with its files, without its reference."""
    key = find_reference(draft.form, draft.values.values)[0]
    kept = {name: text for name, text in draft.values.values.items() if name != key}
    content = make_draft_content(draft.form, replace(draft.values, values=kept))
    with write_transaction(services.engine, "console.submission") as conn:
        _check_number(conn, visitor)
        number = submission_drafts.insert_draft(
            conn, visitor.organisation.code, content, visitor.name, services.clock()
        )
        submission_drafts.copy_files(conn, draft.id, number)
    return number


def save_draft(
    services: ConsoleServices,
    visitor: Visitor,
    draft: Draft,
    values: FormValues,
    version: int,
    added: Iterable[NewDraftFile] = (),
) -> bool:
    """Store new values and files; return False where another page has saved the draft since `version`.

    Files that no value names any more are removed. Raises DraftLimitError where something is too much.
    """
    files, now = tuple(added), services.clock()
    values = _declare_files(draft, values, files)
    content = make_draft_content(draft.form, values)
    named = {one.cid for one in values.attachments}
    with write_transaction(services.engine, "console.submission") as conn:
        owner = visitor.organisation.code
        if not submission_drafts.save_draft(conn, owner, draft.id, version, content, visitor.name, now):
            return False
        for one in draft.files:
            if one.cid not in named:
                submission_drafts.delete_file(conn, draft.id, one.cid)
        for file in files:
            submission_drafts.add_file(conn, draft.id, file, visitor.name, now)
        _check_files(submission_drafts.measure_files(conn, draft.id))
    return True


def _check_files(measured: tuple[int, int]) -> None:
    """Raise, so that the transaction is rolled back, where a draft has too many files or octets."""
    number, octets = measured
    if number > MOST_FILES or octets > LARGEST_FILES:
        raise DraftLimitError(translate("The files of the draft are too many or too large."))


def _declare_files(draft: Draft, values: FormValues, added: tuple[NewDraftFile, ...]) -> FormValues:
    """Return the values with the attachments that they name: those kept before, and the new ones."""
    known = {one.cid: (one.media_type, one.sha256, one.size) for one in draft.files}
    known |= {one.cid: (one.media_type, one.sha256, one.size) for one in added}
    found: dict[str, FormAttachment] = {}
    for key, text in values.values.items():
        if text in known and text not in found and key.startswith("a#"):
            application = read_row_number(key[2:].partition("/")[0])
            if application is None:
                continue
            media_type, sha256, size = known[text]
            kind = _make_kind(key)
            found[text] = FormAttachment(text, application, media_type, sha256, int(size), kind)
    return replace(values, attachments=tuple(found.values()))


def _make_kind(key: str) -> str:
    """Return the kind of an attachment: the element of the field that names it."""
    name = key.rpartition("/")[2].partition("#")[0].rpartition(".")[2]
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))[:70]


def keep_file(draft: Draft, key: str, name: str, content: bytes) -> NewDraftFile:
    """Return an uploaded file as it is kept; raises DraftLimitError for one that is too large or empty."""
    if not content:
        raise DraftLimitError(translate("The file is empty."))
    if len(content) > LARGEST_FILE:
        raise DraftLimitError(translate("The file is too large."))
    sha256 = hashlib.sha256(content).hexdigest()
    place = _PLAIN.sub("-", key)
    media_type = next(
        (kind for start, kind in _KINDS if content.startswith(start)), "application/octet-stream"
    )
    shown = "".join(
        sign if sign.isprintable() else "_" for sign in name.replace("\\", "/").rpartition("/")[2]
    )
    return NewDraftFile(
        f"{place}.{sha256[:12]}@draft-{draft.id}",
        shown[-_LONGEST_NAME:] or "file",
        media_type,
        sha256,
        len(content),
        content,
    )


def make_applications(documents: Iterable[str], items: tuple[str, ...]) -> tuple[FiledApplication, ...]:
    """Return one application for each document, all of them for these items."""
    return tuple(FiledApplication(f"A{number}", one, items) for number, one in enumerate(documents, 1))
