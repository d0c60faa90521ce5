"""Parties, agreements and mappings: what is registered, and uploads, looked at before they are used."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.operations import (
    OperatorDesk,
    draft_agreement,
    draft_mappings,
    find_mapping_plan,
    read_plan_effect,
)
from gateway.store import (
    ListFilter,
    lanes,
    mandates,
    mapping_bundles,
    parties,
    read_transaction,
    register_searches,
)
from gateway.web.console.act_reasons import get_operator
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.act_forms import require_act_right
from gateway.web.console.operations.list_requests import PAGE, read_text
from gateway.web.console.page_guards import require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = ["add_register_pages"]

_STATES: Final = ("ACTIVE", "SUSPENDED", "RETIRED")


def add_register_pages(pages: Blueprint, services: ConsoleServices, desk: OperatorDesk) -> None:
    """Add the pages."""

    @pages.get("/parties")
    @require_right(Right.OBSERVE)
    def list_parties() -> str:
        with read_transaction(services.engine) as conn:
            page = register_searches.search_parties(conn, _read_register_request())
        return render_template("operations/parties.html", page=page, states=_STATES)

    @pages.get("/parties/<path:party>")
    @require_right(Right.OBSERVE)
    def show_party(party: str) -> str:
        with read_transaction(services.engine) as conn:
            row = parties.find_party(conn, party)
            if row is None:
                abort(HTTPStatus.NOT_FOUND)
            return render_template(
                "operations/party.html",
                party=row,
                ids=parties.list_identifiers(conn, party),
                certificates=parties.list_certificates(conn, party),
                mandates=mandates.list_by_party(conn, party),
                lanes=list(lanes.find_lanes(conn, (party, f"msh:{party}"))),
                agreements=register_searches.search_agreements(conn, ListFilter(party=party)).rows,
            )

    @pages.get("/agreements")
    @require_right(Right.OBSERVE)
    def list_agreements() -> str:
        return _render_agreements(services)

    @pages.post("/agreements")
    @require_right(Right.ADMINISTER_TRUST)
    def upload_agreement() -> Response | tuple[str, int]:
        require_act_right("agreement load")
        content, name = _read_upload()
        try:
            if not content:
                return _render_agreements(services, translate("Choose a file.")), 422
            with read_transaction(services.engine) as conn:
                order, _ = draft_agreement(conn, services.settings, content, name, services.clock())
        except GatewayError as refused:
            return _render_agreements(services, str(refused)), HTTPStatus.UNPROCESSABLE_ENTITY
        return redirect(f"/console/operations/acts/{desk.store_draft(order, get_operator())}")

    @pages.get("/mappings")
    @require_right(Right.OBSERVE)
    def show_mappings() -> str:
        return _render_mappings(services)

    @pages.post("/mappings")
    @require_right(Right.ADMINISTER_TRUST)
    def upload_mappings() -> Response | tuple[str, int]:
        require_act_right("map use")
        content, name = _read_upload()
        removed = request.form.get("removed", "").replace(",", " ").split()
        try:
            if not content:
                return _render_mappings(services, translate("Choose a file.")), 422
            with read_transaction(services.engine) as conn:
                order = draft_mappings(conn, content, name, removed, (services.settings, services.clock()))
        except GatewayError as refused:
            return _render_mappings(services, str(refused)), HTTPStatus.UNPROCESSABLE_ENTITY
        number = desk.store_draft(order, get_operator())
        leave_notice(services, translate("Nothing is in force yet: look at the difference, then confirm."))
        return redirect(f"/console/operations/acts/{number}")


def _read_register_request() -> ListFilter:
    state = read_text("state")
    return ListFilter(
        states=(state,) if state in _STATES else (),
        text=read_text("text"),
        after=read_text("after") or None,
        limit=PAGE,
    )


def _read_upload() -> tuple[bytes, str]:
    """Return the octets of the uploaded file, and its name; nothing where no file was chosen."""
    given = request.files.get("file")
    if given is None or not given.filename:
        return b"", ""
    name = "".join(one for one in given.filename[-100:] if one.isprintable())
    return given.read(), name.rpartition("/")[2].rpartition("\\")[2]


def _render_agreements(services: ConsoleServices, problem: str = "") -> str:
    with read_transaction(services.engine) as conn:
        page = register_searches.search_agreements(conn, _read_register_request())
    return render_template("operations/agreements.html", page=page, states=_STATES, problem=problem)


def _render_mappings(services: ConsoleServices, problem: str = "") -> str:
    with read_transaction(services.engine) as conn:
        uses = list(mapping_bundles.list_activations(conn))[:20]
        plan = find_mapping_plan(conn, services.clock())
    # Afterwards, so that the hub knows the plan.
    services.hub.refresh_snapshot()
    rules = services.hub.rules
    return render_template(
        "operations/mappings.html",
        bundle=rules.bundle,
        is_shipped=rules.version is None,
        documents=list(rules.bundle.documents.values()),
        uses=uses,
        plan=plan,
        effect=read_plan_effect(plan, rules.bundle.documents, services.hub.find_rules),
        problem=problem,
    )
