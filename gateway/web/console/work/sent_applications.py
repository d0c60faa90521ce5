"""An application of the visitor's agency, and its files.

Everything comes from the call that this agency was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template
from sqlalchemy import Connection, Row

from gateway.accounts import Right
from gateway.hub import (
    ApplicationForm,
    SentAttachment,
    list_application_history,
    load_application_form,
    refresh_summaries,
)
from gateway.store import application_summaries, cases, decisions, read_transaction, work_lists
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import get_visitor, require_right

__all__ = ["add_application_files", "label_pointers", "load_application"]

#: A file is never drawn: it is a download of one type, whatever the applicant says that it is.
_FILE_TYPE: Final = "application/octet-stream"
_FILE_POLICY: Final = "default-src 'none'; sandbox"
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")


def add_application_files(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the files of an application."""

    @pages.get("/applications/<number>/files/<int:position>")
    @require_right(Right.READ_APPLICATIONS)
    def send_file(number: str, position: int) -> Response:
        with read_transaction(services.engine) as conn:
            files = load_application(services, conn, number).attachments
        if not 1 <= position <= len(files):
            abort(HTTPStatus.NOT_FOUND)
        return _answer_file(files[position - 1], position)


def load_application(services: ConsoleServices, conn: Connection, number: str) -> ApplicationForm:
    """Return the application of this number of the visitor's agency; any other one is answered with 404."""
    found = load_application_form(services.hub, conn, get_visitor().organisation.code, number)
    if found is None:
        abort(HTTPStatus.NOT_FOUND)
    return found


def label_pointers(application: ApplicationForm) -> Mapping[str, Mapping[str, str]]:
    """Return the labels of the fields of an application by their pointers."""
    return {field.pointer: field.label for field in application.form.list_fields()}


def _answer_file(file: SentAttachment, position: int) -> Response:
    answer = Response(file.content, content_type=_FILE_TYPE)
    name = _ODD.sub("_", file.content_id)[:80].strip("._") or f"file-{position}"
    answer.headers.set("Content-Disposition", "attachment", filename=f"{name}.bin")
    answer.headers["Content-Security-Policy"] = _FILE_POLICY
    return answer
