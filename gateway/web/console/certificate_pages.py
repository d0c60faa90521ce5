"""The certificates of a person's organisation, the person's own one, and the webhooks of its software."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, redirect, render_template
from werkzeug.wrappers import Response

from gateway.accounts import OrganisationKind, Right
from gateway.store import (
    AuditEntry,
    accounts,
    audit_log,
    parties,
    read_transaction,
    webhooks,
    write_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_guards import get_network, get_visitor, require_right, require_sign_in
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = ["build_certificate_pages"]

_PATH: Final = "/console/account/certificates"


def build_certificate_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("certificates", __name__, url_prefix=_PATH)

    @pages.get("")
    @require_sign_in
    def show_certificates() -> str:
        return _render_certificates(services)

    @pages.post("/webhooks/<name>/delete")
    @require_right(Right.MANAGE_API_CLIENTS)
    def delete_webhook(name: str) -> Response:
        return _delete_webhook(services, name)

    return pages


def _render_certificates(services: ConsoleServices) -> str:
    visitor = get_visitor()
    party = visitor.organisation.code
    has_register = visitor.organisation.kind is not OrganisationKind.OPERATOR
    may_manage = visitor.may(Right.MANAGE_API_CLIENTS)
    with read_transaction(services.engine) as conn:
        return render_template(
            "certificates.html",
            account=accounts.find_by_id(conn, visitor.account),
            has_register=has_register,
            certificates=parties.list_certificates(conn, party) if has_register else (),
            webhooks=webhooks.list_webhooks(conn, party) if may_manage else (),
            now=services.clock(),
        )


def _delete_webhook(services: ConsoleServices, name: str) -> Response:
    visitor = get_visitor()
    place = f"{visitor.organisation.kind}/{visitor.organisation.code}"
    with write_transaction(services.engine, "api.webhook") as conn:
        row = webhooks.find_webhook(conn, name, visitor.organisation.code)
        if row is None:
            abort(HTTPStatus.NOT_FOUND)
        webhooks.delete_webhook(conn, name)
        before = {"url": row.url, "state": row.state}
        entry = AuditEntry(
            visitor.name, place, "webhook delete", f"webhook {name}", remote=get_network(), before=before
        )
        audit_log.record_action(conn, entry, services.clock())
    leave_notice(services, translate("The webhook is deleted."))
    return redirect(_PATH)
