"""Pages of operators' acts, and of the registers that acts change."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.hub import make_webhook_lane
from gateway.operations import (
    MAX_DELIVERIES,
    ActOrder,
    describe_delivery,
    describe_order,
    describe_party,
    draft_agreement,
    draft_mappings,
    ends_sign_in_ways,
    find_mailbox_filings,
    find_mapping_plan,
    list_party_destinations,
    read_draft_preview,
    read_plan_effect,
)
from gateway.store import (
    ListFilter,
    agreements,
    fee_searches,
    lanes,
    list_searches,
    mapping_bundles,
    messages,
    officer_work,
    operator_acts,
    parties,
    read_row_number,
    read_transaction,
    refusal_counts,
)
from gateway.web.console.act_reasons import get_operator, get_operator_desk, read_reason
from gateway.web.console.operations.act_decisions import (
    answer_unproven_decision,
    answer_unproven_order,
    decide_on_act,
    require_act_right,
)
from gateway.web.console.operations.object_pages import PAGE
from gateway.web.console.page_formats import read_search_text, translate
from gateway.web.console.page_guards import (
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.page_needs import accept_files

pages: Final = Blueprint("acts", __name__)
#: Octets of a form with an agreement, or with the archive of mappings.
_ROOM_FOR_UPLOAD: Final = 16 * 1024**2


#: Acts that wait are all shown, but for those of a person who makes thousands.
_MOST_WAITING: Final = 2_000
_ENDED: Final = ("DONE", "REJECTED", "WITHDRAWN")


@pages.get("/act")
@require_right(Right.OBSERVE)
def show_order() -> str:
    """Show the changes that an act would make, and ask for a reason."""
    order = _read_order(request.args)
    require_act_right(order.act)
    return _render_order(order)


@pages.post("/act")
@require_right(Right.OBSERVE)
def submit_order() -> Response | tuple[str, int]:
    """Perform an act, or store it for the approval of a second person."""
    order = _read_order(request.form)
    require_act_right(order.act)
    demand = answer_unproven_order(order)
    if demand is not None:
        return demand
    reason = read_reason()
    if reason is None:
        problem = translate("Give a reason of 1 to 500 characters on one line.")
        typed_reason = request.form.get("reason", "")
        return _render_order(order, problem, typed_reason), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        number, sentence = get_operator_desk().submit_order(order, get_operator(), reason)
    except GatewayError as refused:
        return _render_order(order, str(refused), reason), HTTPStatus.CONFLICT
    if number is not None:
        store_flash_message(translate("The act waits for a second person."))
        return redirect(f"/console/operations/acts/{number}")
    store_flash_message(sentence)
    return redirect(_find_return_path(order))


@pages.get("/acts")
@require_right(Right.OBSERVE)
def list_acts() -> str:
    """List the acts that wait for a second person, and the last that ended."""
    with read_transaction(services.engine) as conn:
        waiting = operator_acts.list_acts(conn, "PENDING", limit=_MOST_WAITING)
        ended = [row for state in _ENDED for row in operator_acts.list_acts(conn, state, limit=20)]
    ended.sort(key=lambda row: int(row.id), reverse=True)  # bounded: a row of our own
    return render_template("operations/acts.html", waiting=waiting, ended=ended[:20])


def _read_order(arguments: Any) -> ActOrder:
    """Return the act that a URL or a form names."""
    parameters: dict[str, Any] = {}
    for name, many in (("delivery", "deliveries"), ("message", "messages")):
        numbers = [number for number in map(read_row_number, arguments.getlist(name)) if number is not None]
        if numbers:
            parameters[many] = numbers[: MAX_DELIVERIES + 1]
    for name, many in (("lane", "lanes"), ("agreement", "agreements")):
        texts = [text[:200] for text in arguments.getlist(name) if text]
        if texts:
            parameters[many] = texts[:MAX_DELIVERIES]
    for name in ("party", "agency", "fee"):
        if arguments.get(name):
            parameters[name] = arguments[name][:200]
    return ActOrder(arguments.get("act", ""), parameters)


def _render_order(order: ActOrder, problem: str = "", reason: str = "") -> str:
    """Return the page of an operator action that is not stored yet, with the objects that it affects."""
    with read_transaction(services.engine) as conn:
        affected_objects = _list_affected_objects(conn, order)
    return render_template(
        "operations/act.html",
        order=order,
        what=describe_order(order),
        concerned=affected_objects,
        problem=problem,
        reason=reason,
        back=_find_return_path(order),
    )


def _list_affected_objects(conn: Connection, order: ActOrder) -> list[dict[str, Any]]:
    """Return the present state of each object that an act would change."""
    affected_objects: list[dict[str, Any]] = []
    for number in order.deliveries[:MAX_DELIVERIES]:
        row = describe_delivery(conn, number)
        if row is not None:
            affected_objects.append({"delivery": number, "lane": row["lane"], "state": row["state"]})
    for number in order.messages[:MAX_DELIVERIES]:
        message = messages.find_by_id(conn, number)
        if message is not None:
            affected_objects.append({"message": number, "action": message.action, "state": message.state})
    held = lanes.find_lanes(conn, order.lanes) if order.lanes else {}
    for name in order.lanes:
        backlog = lanes.read_lane_backlog(conn, name)
        is_held = name in held and held[name].held_at is not None
        affected_objects.append(
            {"lane": name, "state": "HELD" if is_held else "", "waiting": backlog.waiting}
        )
    party = describe_party(conn, order.parameters["party"]) if order.parameters.get("party") else None
    if party is not None:
        affected_objects.append({"party": party["name"], "state": party["status"]})
    for agreement_id in order.parameters.get("agreements", ()):
        agreement = agreements.find_agreement(conn, agreement_id)
        if agreement is not None:
            affected_objects.append({"agreement": agreement.id, "state": agreement.status})
    if order.parameters.get("fee"):
        rows = fee_searches.list_fees(conn, limit=1, number=order.parameters["fee"])
        affected_objects += [{"fee": row.number, "state": row.state, "case": row.case_number} for row in rows]
    if order.parameters.get("agency"):
        switch = officer_work.find_switch(conn, order.parameters["agency"])
        waiting = lanes.read_lane_backlog(conn, order.parameters["agency"]).waiting
        state = "CONSOLE" if switch is not None else ""
        affected_objects.append({"agency": order.parameters["agency"], "state": state, "waiting": waiting})
    return affected_objects


def _find_return_path(order: ActOrder) -> str:
    """Return the path of the page with the objects of the act."""
    base = "/console/operations"
    if len(order.deliveries) == 1:
        return f"{base}/deliveries/{order.deliveries[0]}"
    if order.deliveries:
        return f"{base}/deliveries"
    if order.messages:
        only = f"/{order.messages[0]}" if len(order.messages) == 1 else "?mailbox=yes"
        return f"{base}/messages{only}"
    if len(order.lanes) == 1:
        return f"{base}/deliveries?{urlencode({'lane': order.lanes[0]})}"
    if order.parameters.get("fee"):
        return f"{base}/cases"
    if order.parameters.get("agency"):
        return f"{base}/lanes/{quote(order.parameters['agency'], safe='')}"
    if order.parameters.get("party"):
        return f"{base}/parties/{quote(order.parameters['party'], safe='')}"
    return f"{base}/agreements" if order.parameters.get("agreements") else base


@pages.get("/acts/<int:number>")
@require_right(Right.OBSERVE)
def show_act(number: int, problem: str = "") -> str:
    """Show an act that waits; `problem` is why it was not decided."""
    with read_transaction(services.engine) as conn:
        row = operator_acts.find_act(conn, number)
        if row is None or (row.state == "DRAFT" and row.proposed_by != visitor.account):
            abort(HTTPStatus.NOT_FOUND)
        preview = read_draft_preview(conn, services.settings, row, services.clock())
        ends_ways = ends_sign_in_ways(conn, services.settings, row)
    is_own = row.proposed_by == visitor.account
    return render_template(
        "operations/act_preview.html",
        row=row,
        preview=preview,
        ends_ways=ends_ways,
        mine=is_own,
        may_approve=visitor.may(Right.APPROVE_OPERATIONS) and not is_own,
        problem=problem,
    )


@pages.post("/acts/<int:number>/<decision>")
@require_right(Right.OBSERVE)
def decide_act(number: int, decision: str) -> Response | str | tuple[str, int]:
    """Confirm a draft, approve or reject an act of another person, or withdraw one's own."""
    with read_transaction(services.engine) as conn:
        row = operator_acts.find_act(conn, number)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    demand = answer_unproven_decision(row, decision)
    if demand is not None:
        return demand
    reason = read_reason()
    if reason is None and decision != "withdraw":
        problem = translate("Give a reason of 1 to 500 characters on one line.")
        return show_act(number, problem), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        decided_act = decide_on_act(row, decision, reason or "")
    except GatewayError as refused:
        return show_act(number, str(refused)), HTTPStatus.CONFLICT
    if decided_act.link_code:
        name = row.parameters["name"]
        return render_template("operations/link_code.html", act=number, name=name, decided=decided_act)
    store_flash_message(decided_act.sentence)
    return redirect(f"/console/operations/acts/{number}")


_STATES: Final = ("ACTIVE", "SUSPENDED", "RETIRED")


@pages.get("/parties")
@require_right(Right.OBSERVE)
def list_parties() -> str:
    """List the parties of the register."""
    with read_transaction(services.engine) as conn:
        page = list_searches.search_parties(conn, _read_register_request())
    return render_template("operations/parties.html", page=page, states=_STATES)


@pages.get("/parties/<id:party>")
@require_right(Right.OBSERVE)
def show_party(party: str) -> str:
    """Show a party."""
    with read_transaction(services.engine) as conn:
        row = parties.find_party(conn, party)
        if row is None:
            abort(HTTPStatus.NOT_FOUND)
        return render_template(
            "operations/party.html",
            party=row,
            ids=parties.list_identifiers(conn, party),
            certificates=parties.list_certificates(conn, party),
            mandates=parties.list_mandates_of(conn, party),
            lanes=list(lanes.find_lanes(conn, _list_lane_names(party))),
            refusals=refusal_counts.list_refusals(conn, sender=party),
            agreements=list_searches.search_agreements(conn, ListFilter(party=party)).rows,
        )


def _list_lane_names(party: str) -> tuple[str, ...]:
    """Return the lanes to a party: of its messages, its events, and the calls to it as agency or customs."""
    return (
        party,
        f"msh:{party}",
        make_webhook_lane(party),
        *list_party_destinations(services.settings, party),
    )


@pages.get("/agreements")
@require_right(Right.OBSERVE)
def list_agreements(problem: str = "") -> str:
    """List the agreements; `problem` is why a file was not taken."""
    with read_transaction(services.engine) as conn:
        page = list_searches.search_agreements(conn, _read_register_request())
        warnings = list(find_mailbox_filings(conn, services.settings, services.clock()))
    return render_template(
        "operations/agreements.html", page=page, states=_STATES, problem=problem, warnings=warnings
    )


@pages.post("/agreements")
@accept_files(_ROOM_FOR_UPLOAD)
@require_right(Right.ADMINISTER_TRUST)
def upload_agreement() -> Response | tuple[str, int]:
    """Store a draft of the operator action `agreement load` from the uploaded file, then show the draft.

    Errors get status 422.
    """
    require_act_right("agreement load")
    content, name = _read_upload()
    try:
        if not content:
            return list_agreements(translate("Choose a file.")), HTTPStatus.UNPROCESSABLE_ENTITY
        with read_transaction(services.engine) as conn:
            order, _ = draft_agreement(conn, services.settings, content, name, services.clock())
    except GatewayError as refused:
        return list_agreements(str(refused)), HTTPStatus.UNPROCESSABLE_ENTITY
    return redirect(f"/console/operations/acts/{get_operator_desk().store_draft(order, get_operator())}")


@pages.get("/mappings")
@require_right(Right.OBSERVE)
def show_mappings(problem: str = "") -> str:
    """Show the mappings; `problem` is why a file was not taken."""
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
        effect=read_plan_effect(plan, rules.bundle.documents, services.hub.register.find_rules),
        problem=problem,
    )


@pages.post("/mappings")
@accept_files(_ROOM_FOR_UPLOAD)
@require_right(Right.ADMINISTER_TRUST)
def upload_mappings() -> Response | tuple[str, int]:
    """Store a draft of the operator action `map use` from the uploaded file, then show the draft.

    The form field ``removed`` names the documents that the new mappings no longer have. Errors get 422.
    """
    require_act_right("map use")
    content, name = _read_upload()
    removed = request.form.get("removed", "").replace(",", " ").split()
    try:
        if not content:
            return show_mappings(translate("Choose a file.")), HTTPStatus.UNPROCESSABLE_ENTITY
        with read_transaction(services.engine) as conn:
            order = draft_mappings(conn, services.settings, content, name, removed, services.clock())
    except GatewayError as refused:
        return show_mappings(str(refused)), HTTPStatus.UNPROCESSABLE_ENTITY
    number = get_operator_desk().store_draft(order, get_operator())
    store_flash_message(translate("Nothing is in force yet: look at the difference, then confirm."))
    return redirect(f"/console/operations/acts/{number}")


def _read_register_request() -> ListFilter:
    """Return the filter for the list of parties or agreements from the URL; ignore an unknown state."""
    state = read_search_text("state")
    return ListFilter(
        states=(state,) if state in _STATES else (),
        text=read_search_text("text"),
        after=read_search_text("after") or None,
        limit=PAGE,
    )


def _read_upload() -> tuple[bytes, str]:
    """Return octets and name of the uploaded file, both empty if no file was chosen."""
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        return b"", ""
    name = "".join(char for char in upload.filename[-100:] if char.isprintable())
    return upload.read(), name.rpartition("/")[2].rpartition("\\")[2]
