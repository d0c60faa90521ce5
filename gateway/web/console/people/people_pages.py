"""Pages for those who manage accounts: the list of people, one person, and a new person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Organisation, OrganisationKind, Right, RoleChange, list_roles
from gateway.store import (
    AccountFilter,
    ListFilter,
    ListPage,
    account_searches,
    passkeys,
    read_transaction,
    sessions,
)
from gateway.web.console.act_reasons import get_operator, read_reason
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import LARGEST_CSV, answer_csv
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import LANGUAGES, translate
from gateway.web.console.people.managed_accounts import (
    NewPerson,
    add_account,
    add_account_without_roles,
    change_roles,
    end_account_sessions,
    find_managed_account,
    find_organisation,
    invite_person,
    set_account_status,
)
from gateway.web.console.people.role_proposals import (
    find_link_problem,
    needs_second_person,
    propose_roles,
)
from gateway.web.console.visitor_session import Visitor

__all__ = ["build_people_pages"]

_PATH: Final = "/console/people"
_ROWS: Final = 50
_SESSIONS: Final = 20
_STATUSES: Final = ("ACTIVE", "SUSPENDED")
_COLUMNS: Final = (
    *("name", "display_name", "status", "roles", "password", "passkeys", "certificate", "openid"),
    "last_sign_in",
)
_NO_REASON: Final = "Give a reason of 1 to 500 characters on one line."
_Page = Response | str | tuple[str, int]


def build_people_pages(services: ConsoleServices) -> Blueprint:
    """Return the pages."""
    pages = Blueprint("people", __name__, url_prefix="/console/people")
    guard = require_right(Right.MANAGE_ACCOUNTS)

    @pages.get("")
    @guard
    def show_people() -> _Page:
        return _answer_list(services, get_visitor())

    @pages.get("/add")
    @guard
    def show_form() -> str:
        return _render_form(services, get_visitor(), {})

    @pages.post("/add")
    @guard
    def add_person() -> _Page:
        return _answer_new(services, get_visitor())

    @pages.get("/<int:number>")
    @guard
    def show_person(number: int) -> str:
        return _render_person(services, get_visitor(), number)

    @pages.post("/<int:number>/<act>")
    @guard
    def act_on_person(number: int, act: str) -> _Page:
        return _answer_act(services, get_visitor(), number, act)

    return pages


def _answer_list(services: ConsoleServices, visitor: Visitor) -> _Page:
    status = request.args.get("status", "")
    wanted = _make_filter(visitor, status if status in _STATUSES else "")
    as_csv = request.args.get("format") == "csv"
    page = ListFilter(
        text=request.args.get("q", "").strip()[:100],
        after=request.args.get("after") or None,
        limit=LARGEST_CSV if as_csv else _ROWS,
    )
    with read_transaction(services.engine) as conn:
        found = account_searches.search_accounts(conn, wanted, page)
        roles = _name_roles(conn, visitor, found)
    if as_csv:
        return answer_csv("people", _COLUMNS, [_make_cells(row, roles) for row in found.rows])
    following = found.rows[-1]["name"] if found.more else None
    return render_template(
        "people/people.html", found=found, roles=roles, page=page, wanted=wanted, following=following
    )


def _make_filter(visitor: Visitor, status: str) -> AccountFilter:
    """Return the filter of a manager: the operator may choose an organisation, others have their own."""
    own = visitor.organisation
    if own.kind is not OrganisationKind.OPERATOR:
        return AccountFilter(own.kind.value, own.code, status)
    kind, _, code = request.args.get("organisation", "").strip().partition("/")
    return AccountFilter(kind if kind in set(OrganisationKind) else "", code, status)


def _name_roles(conn: Connection, visitor: Visitor, found: ListPage) -> Mapping[int, Sequence[str]]:
    """Return the roles of each account, as the manager may know them."""
    own = visitor.organisation
    named: dict[int, list[str]] = {}
    for one in account_searches.list_roles_of_accounts(conn, (row["id"] for row in found.rows)):
        if own.kind is OrganisationKind.OPERATOR:
            named.setdefault(one.account_id, []).append(f"{one.kind}/{one.organisation}:{one.role}")
        elif (one.kind, one.organisation) == (own.kind, own.code):
            named.setdefault(one.account_id, []).append(one.role)
    return {number: tuple(roles) for number, roles in named.items()}


def _make_cells(row: Mapping[str, Any], roles: Mapping[int, Sequence[str]]) -> Sequence[Any]:
    return (
        row["name"],
        row["display_name"],
        row["status"],
        ", ".join(roles.get(row["id"], ())),
        row["has_password"],
        row["passkeys"],
        row["has_certificate"],
        row["has_subject"],
        row["last_sign_in"],
    )


def _render_form(services: ConsoleServices, visitor: Visitor, given: Mapping[str, Any], **more: Any) -> str:
    kinds = list(OrganisationKind) if _is_operator(visitor) else [visitor.organisation.kind]
    return render_template(
        "people/add.html",
        given=given,
        chosen=set(request.form.getlist("role")),
        roles={kind: list_roles(kind) for kind in kinds},
        everywhere=_is_operator(visitor),
        needs_second=needs_second_person(services, visitor),
        **more,
    )


def _answer_new(services: ConsoleServices, visitor: Visitor) -> _Page:
    organisation = _read_organisation(services, visitor)
    if organisation is None:
        problem = translate("This organisation is not known: KIND/CODE is wanted.")
        return _render_form(services, visitor, request.form, problem=problem), HTTPStatus.UNPROCESSABLE_ENTITY
    language = request.form.get("language", "")
    person = NewPerson(
        request.form.get("name", "").strip(),
        " ".join(request.form.get("display_name", "").split())[:100],
        language if language in LANGUAGES else "en",
        organisation,
        frozenset(request.form.getlist("role")),
    )
    if needs_second_person(services, visitor):
        return _propose_person(services, visitor, person)
    problem, link = add_account(services, visitor, person)
    if problem:
        return _refuse_form(services, visitor, problem)
    return render_template("people/link.html", name=person.name, link=link)


def _propose_person(services: ConsoleServices, visitor: Visitor, person: NewPerson) -> _Page:
    """Add a person without roles, and propose the roles to a second person."""
    reason = read_reason()
    if reason is None:
        return _refuse_form(services, visitor, _NO_REASON)
    problem, number = add_account_without_roles(services, visitor, person)
    if problem:
        return _refuse_form(services, visitor, problem)
    change = RoleChange(person.organisation, frozenset(), person.roles)
    problem, act = propose_roles(services, visitor, number, change, (get_operator(), reason))
    if problem:
        return _refuse_form(services, visitor, problem)
    return _show_act(services, act)


def _refuse_form(services: ConsoleServices, visitor: Visitor, problem: str) -> _Page:
    page = _render_form(services, visitor, request.form, problem=translate(problem))
    return page, HTTPStatus.UNPROCESSABLE_ENTITY


def _show_act(services: ConsoleServices, act: int) -> Response:
    leave_notice(services, translate("The act waits for a second person."))
    return redirect(f"/console/operations/acts/{act}")


def _render_person(services: ConsoleServices, visitor: Visitor, number: int, **more: Any) -> str:
    with read_transaction(services.engine) as conn:
        found = find_managed_account(conn, visitor, number)
        if found is None:
            abort(HTTPStatus.NOT_FOUND)
        shown = sessions.list_by_account(conn, number)[:_SESSIONS] if found.whole else ()
        keys = passkeys.list_passkeys(conn, number) if found.whole else ()
        last = account_searches.find_last_sign_in(conn, number)
    return render_template(
        "people/person.html",
        person=found,
        own=number == visitor.account,
        sessions=shown,
        passkeys=keys,
        last_sign_in=last,
        list_roles=list_roles,
        everywhere=_is_operator(visitor),
        needs_second=needs_second_person(services, visitor),
        reason=request.form.get("reason", ""),
        **more,
    )


def _answer_act(services: ConsoleServices, visitor: Visitor, number: int, act: str) -> _Page:
    link, waits = "", 0
    try:
        if act == "roles":
            problem, waits = _change_roles(services, visitor, number)
        elif act in ("suspend", "resume"):
            status = "SUSPENDED" if act == "suspend" else "ACTIVE"
            problem = set_account_status(services, visitor, number, status) or ""
        elif act == "end-sessions":
            problem = end_account_sessions(services, visitor, number) or ""
        elif act == "link":
            problem, link = find_link_problem(services, visitor, number) or "", ""
            if not problem:
                problem, link = invite_person(services, visitor, number)
        else:
            abort(HTTPStatus.NOT_FOUND)
    except LookupError:
        abort(HTTPStatus.NOT_FOUND)
    if problem:
        page = _render_person(services, visitor, number, problem=translate(problem))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    if link:
        return render_template("people/link.html", name="", link=link)
    if waits:
        return _show_act(services, waits)
    leave_notice(services, translate("It is done."))
    return redirect(f"{_PATH}/{number}")


def _change_roles(services: ConsoleServices, visitor: Visitor, number: int) -> tuple[str, int]:
    """Change or propose roles; return the problem, and the number of an act that waits."""
    organisation = _read_organisation(services, visitor)
    if organisation is None:
        return "This organisation is not known: KIND/CODE is wanted.", 0
    roles = frozenset(request.form.getlist("role"))
    if not needs_second_person(services, visitor):
        return change_roles(services, visitor, number, organisation, roles) or "", 0
    reason = read_reason()
    if reason is None:
        return _NO_REASON, 0
    change = RoleChange(organisation, frozenset(), roles)
    return propose_roles(services, visitor, number, change, (get_operator(), reason))


def _read_organisation(services: ConsoleServices, visitor: Visitor) -> Organisation | None:
    """Return the organisation of a form: the own one of a manager, the one that the operator names."""
    if not _is_operator(visitor):
        return visitor.organisation
    with read_transaction(services.engine) as conn:
        return find_organisation(conn, services, request.form.get("organisation", ""))


def _is_operator(visitor: Visitor) -> bool:
    return visitor.organisation.kind is OrganisationKind.OPERATOR
