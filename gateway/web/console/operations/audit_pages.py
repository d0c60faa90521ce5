"""The audit: who changed what, why, and how it was before and after."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, render_template
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.store import AuditFilter, audit_log, read_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.operations.list_requests import (
    build_next_url,
    describe_more,
    is_csv_wanted,
    read_list_request,
)
from gateway.web.console.page_guards import require_right

__all__ = ["add_audit_pages"]

_COLUMNS: Final = ("id", "at", "actor", "account", "action", "object", "outcome", "reason", "remote")


def add_audit_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/audit")
    @require_right(Right.OBSERVE)
    def list_audit() -> str | Response:
        wanted = read_list_request(services.settings.hub.time_zone)
        with read_transaction(services.engine) as conn:
            page = audit_log.search_actions(conn, AuditFilter(), wanted)
        if is_csv_wanted():
            return answer_csv("audit", _COLUMNS, ([row[one] for one in _COLUMNS] for row in page.rows))
        return render_template(
            "operations/audit.html", page=page, more=describe_more(page), next_url=build_next_url(page)
        )

    @pages.get("/audit/<int:number>")
    @require_right(Right.OBSERVE)
    def show_audit(number: int) -> str:
        with read_transaction(services.engine) as conn:
            row = audit_log.find_action(conn, number)
        if row is None:
            abort(HTTPStatus.NOT_FOUND)
        before, after = (json.dumps(one, indent=2, ensure_ascii=False) for one in (row.before, row.after))
        return render_template("operations/audit_row.html", row=row, before=before, after=after)
