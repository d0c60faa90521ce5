"""Pages of a manager's people: accounts and their roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    Right,
    RoleChange,
    list_roles,
)
from gateway.errors import GatewayError
from gateway.store import (
    AccountFilter,
    ListFilter,
    ListPage,
    list_searches,
    read_transaction,
    sessions,
)
from gateway.web.console.act_reasons import read_reason, translate_act
from gateway.web.console.kept_forms import answer_missing_proof
from gateway.web.console.page_formats import (
    LANGUAGES,
    LARGEST_CSV,
    answer_csv,
    is_csv_wanted,
    read_search_text,
    translate,
)
from gateway.web.console.page_guards import (
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.people.access_proposals import (
    ProposedLink,
    list_own_proposals,
    propose_link,
    propose_person,
    propose_roles,
    withdraw_proposal,
)
from gateway.web.console.people.managed_accounts import (
    AccountRefusedError,
    NewPerson,
    add_account,
    change_roles,
    end_account_sessions,
    find_managed_account,
    find_organisation,
    get_second_person_rules,
    invite_person,
    set_account_status,
)

pages: Final = Blueprint("people", __name__, url_prefix="/console")
_guard: Final = require_right(Right.MANAGE_ACCOUNTS)


_PATH: Final = "/console/people"
_ROWS: Final = 50
_SESSIONS: Final = 20
_LONGEST_NAME: Final = 100
_STATUSES: Final = ("ACTIVE", "SUSPENDED")
_COLUMNS: Final = (
    *("name", "display_name", "status", "roles", "password", "passkeys", "certificate", "openid"),
    "last_sign_in",
)
_Page = Response | str | tuple[str, int]


@pages.get("/people")
@_guard
def show_people() -> _Page:
    """List the persons that the visitor manages."""
    status = request.args.get("status", "")
    criteria = _make_filter(status if status in _STATUSES else "")
    as_csv = is_csv_wanted()
    page = ListFilter(
        text=read_search_text("q"),
        after=request.args.get("after") or None,
        limit=LARGEST_CSV if as_csv else _ROWS,
    )
    with read_transaction(services.engine) as conn:
        account_page = list_searches.search_accounts(conn, criteria, page)
        roles = _name_roles(conn, account_page)
    if as_csv:
        return answer_csv("people", _COLUMNS, [_make_cells(row, roles) for row in account_page.rows])
    following = account_page.rows[-1]["name"] if account_page.remaining else None
    return render_template(
        "people/people.html",
        found=account_page,
        roles=roles,
        page=page,
        wanted=criteria,
        following=following,
        proposals=list_own_proposals(),
        translate_act=translate_act,
    )


@pages.post("/people/acts/<int:number>/withdraw")
@_guard
def withdraw_act(number: int) -> _Page:
    """Withdraw an own proposal that waits for a second person."""
    try:
        withdraw_proposal(number)
        store_flash_message(translate("The act is withdrawn."))
    except LookupError:
        abort(HTTPStatus.NOT_FOUND)
    except GatewayError as refused:
        store_flash_message(str(refused))
    return redirect(_PATH)


def _make_filter(status: str) -> AccountFilter:
    """Return the filter of a manager: the operator may choose an organisation, others have their own."""
    organisation = visitor.organisation
    if organisation.kind is not OrganisationKind.OPERATOR:
        return AccountFilter(organisation.kind.value, organisation.code, status)
    kind, _, code = request.args.get("organisation", "").strip().partition("/")
    return AccountFilter(kind if kind in set(OrganisationKind) else "", code, status)


def _name_roles(conn: Connection, page: ListPage) -> Mapping[int, Sequence[str]]:
    """Return the roles of each account, as the manager may know them."""
    organisation = visitor.organisation
    role_names: dict[int, list[str]] = {}
    for role_row in list_searches.list_roles_of_accounts(conn, (row["id"] for row in page.rows)):
        if organisation.kind is OrganisationKind.OPERATOR:
            role_names.setdefault(role_row.account_id, []).append(
                f"{role_row.kind}/{role_row.organisation}:{role_row.role}"
            )
        elif (role_row.kind, role_row.organisation) == (organisation.kind, organisation.code):
            role_names.setdefault(role_row.account_id, []).append(role_row.role)
    return {number: tuple(roles) for number, roles in role_names.items()}


def _make_cells(row: Mapping[str, Any], roles: Mapping[int, Sequence[str]]) -> Sequence[Any]:
    """Return the CSV cells of an account; `roles` gives the roles by the id of the account."""
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


@pages.get("/people/add")
@_guard
def show_form(problem: str = "") -> str:
    """Show the form for a new person, with the typed values; `problem` is the reason of its refusal."""
    kinds = list(OrganisationKind) if _is_operator() else [visitor.organisation.kind]
    return render_template(
        "people/add.html",
        given=request.form,
        chosen=set(request.form.getlist("role")),
        roles={kind: list_roles(kind) for kind in kinds},
        everywhere=_is_operator(),
        asks_reason=_may_wait() if _is_operator() else _is_shared(visitor.organisation),
        problem=problem,
    )


def _may_wait() -> bool:
    """Return whether there is a change of access in this hub that waits for a second person."""
    return _is_shared(visitor.organisation) or bool(get_second_person_rules().four_eyes_agencies)


def _is_shared(organisation: Organisation) -> bool:
    """Return whether a role that this manager gives in an organisation waits for a second person."""
    change = RoleChange(organisation, frozenset(), frozenset(list_roles(organisation.kind)))
    return get_second_person_rules().is_role_change_shared(visitor.organisation, change)


@pages.post("/people/add")
@_guard
def add_person() -> _Page:
    """Add a person."""
    demand = answer_missing_proof(translate("Add a person"), f"{_PATH}/add")
    if demand is not None:
        return demand
    try:
        person = _read_person()
        link = add_account(person)
        proposed = propose_person(person, _read_reason()) if link is None else None
    except AccountRefusedError as refusal:
        return show_form(translate(str(refusal))), HTTPStatus.UNPROCESSABLE_ENTITY
    return _render_link(person.name, link, proposed)


def _render_link(name: str, link: str | None, proposed: ProposedLink | None) -> str:
    """Return the page that shows a link once: one that is good, or one that waits for a second person."""
    act = None if proposed is None else proposed.act
    return render_template(
        "people/link.html",
        name=name,
        link=link or (proposed and proposed.link),
        act=act,
        everywhere=_is_operator(),
    )


def _read_person() -> NewPerson:
    """Return the person of the form; raises AccountRefusedError."""
    organisation = _read_organisation()
    display_name = " ".join(request.form.get("display_name", "").split())
    if len(display_name) > _LONGEST_NAME:
        raise AccountRefusedError("The name is too long: at most 100 characters.")
    language = request.form.get("language", "")
    return NewPerson(
        request.form.get("name", "").strip(),
        display_name,
        language if language in LANGUAGES else "en",
        organisation,
        frozenset(request.form.getlist("role")),
    )


def _read_reason() -> str:
    """Return the reason of the form; raises AccountRefusedError where it has none."""
    reason = read_reason()
    if reason is None:
        raise AccountRefusedError("Give a reason of 1 to 500 characters on one line.")
    return reason


def _show_act(act: int) -> Response:
    store_flash_message(translate("The act waits for a second person."))
    return redirect(f"/console/operations/acts/{act}" if _is_operator() else _PATH)


@pages.get("/people/<int:number>")
@_guard
def show_person(number: int, problem: str = "") -> str:
    """Show a person; `problem` is why the last act was not done."""
    with read_transaction(services.engine) as conn:
        person = find_managed_account(conn, number)
        if person is None:
            abort(HTTPStatus.NOT_FOUND)
        recent_sessions = sessions.list_sessions(conn, number)[:_SESSIONS] if person.whole else ()
        keys = sessions.list_passkeys(conn, number) if person.whole else ()
        last = list_searches.find_last_sign_in(conn, number)
    return render_template(
        "people/person.html",
        person=person,
        own=number == visitor.account,
        sessions=recent_sessions,
        passkeys=keys,
        last_sign_in=last,
        list_roles=list_roles,
        everywhere=_is_operator(),
        is_shared=_is_shared,
        may_wait=_may_wait(),
        is_link_shared=get_second_person_rules().is_link_shared(visitor.organisation, person.roles),
        reason=request.form.get("reason", ""),
        problem=problem,
    )


@pages.post("/people/<int:number>/<act>")
@_guard
def act_on_person(number: int, act: str) -> _Page:
    """Change roles, suspend, resume, end sessions, or make a link for a new password."""
    demand = _answer_missing_proof(number, act)
    if demand is not None:
        return demand
    acts: Mapping[str, Callable[[int], _Page | None]] = {
        "roles": _change_roles,
        "suspend": lambda number: set_account_status(number, "SUSPENDED"),
        "resume": lambda number: set_account_status(number, "ACTIVE"),
        "end-sessions": end_account_sessions,
        "link": _show_new_link,
    }
    if act not in acts:
        abort(HTTPStatus.NOT_FOUND)
    try:
        answer = acts[act](number)
    except LookupError:
        abort(HTTPStatus.NOT_FOUND)
    except AccountRefusedError as refusal:
        return show_person(number, translate(str(refusal))), HTTPStatus.UNPROCESSABLE_ENTITY
    if answer is not None:
        return answer
    store_flash_message(translate("It is done."))
    return redirect(f"{_PATH}/{number}")


def _answer_missing_proof(account_id: int, act: str) -> Response | None:
    """Return the page to sign in again if an act gives a way in or a right and the proof is old, else None.

    What puts people out is done at once. Answers 404 for an account that this person does not manage.
    """
    purposes = {
        "roles": translate("Change of roles"),
        "resume": translate("Resume"),
        "link": translate("New link to set a password"),
    }
    if act not in purposes:
        return None
    with read_transaction(services.engine) as conn:
        person = find_managed_account(conn, account_id)
    if person is None:
        abort(HTTPStatus.NOT_FOUND)
    purpose = f"{purposes[act]}: {person.row.display_name} ({person.row.name})"
    return answer_missing_proof(purpose, f"{_PATH}/{account_id}")


def _change_roles(account_id: int) -> Response | None:
    """Change roles, or propose them to a second person and show the act that waits."""
    organisation, roles = _read_organisation(), frozenset(request.form.getlist("role"))
    if change_roles(account_id, organisation, roles):
        return None
    return _show_act(propose_roles(account_id, organisation, roles, _read_reason()))


def _show_new_link(account_id: int) -> str:
    link = invite_person(account_id)
    with read_transaction(services.engine) as conn:
        person = find_managed_account(conn, account_id)
    name = "" if person is None else person.row.name
    return _render_link(name, link, propose_link(account_id, _read_reason()) if link is None else None)


def _read_organisation() -> Organisation:
    """Return the organisation for a form: a manager's own organisation, or that which the operator names.

    Raises AccountRefusedError for an organisation that is not known.
    """
    if not _is_operator():
        return visitor.organisation
    with read_transaction(services.engine) as conn:
        organisation = find_organisation(conn, request.form.get("organisation", ""))
    if organisation is None:
        raise AccountRefusedError("This organisation is not known: KIND/CODE is wanted.")
    return organisation


def _is_operator() -> bool:
    return visitor.organisation.kind is OrganisationKind.OPERATOR
