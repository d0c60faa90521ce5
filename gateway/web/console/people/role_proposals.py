"""Changes of roles by the administrators of the operator that wait for a second person."""

from __future__ import annotations

from dataclasses import replace

from gateway.accounts import OrganisationKind, Right, RoleChange, find_role_problem, list_rights
from gateway.operations import ActOrder, Operator, OperatorDesk
from gateway.store import read_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.people.managed_accounts import find_managed_account
from gateway.web.console.visitor_session import Visitor

__all__ = ["find_link_problem", "needs_second_person", "propose_roles"]


def needs_second_person(services: ConsoleServices, visitor: Visitor) -> bool:
    """Return whether changes of roles by this manager wait for a second person: those of the operator may."""
    chosen = "account role" in services.settings.console.second_person
    return chosen and visitor.organisation.kind is OrganisationKind.OPERATOR


def find_link_problem(services: ConsoleServices, visitor: Visitor, number: int) -> str | None:
    """Return why a manager may not make a link that sets a password, as a sentence; None where it is allowed.

    Who could set the password of the second person could approve as that person. Raises LookupError.
    """
    if not needs_second_person(services, visitor):
        return None
    with read_transaction(services.engine) as conn:
        found = find_managed_account(conn, visitor, number)
    if found is None:
        raise LookupError(number)
    for place, roles in found.roles.items():
        if Right.APPROVE_OPERATIONS in list_rights(place.kind, roles):
            return "This person approves acts: a new password is set by the verb only."
    return None


def propose_roles(
    services: ConsoleServices, visitor: Visitor, number: int, change: RoleChange, by: tuple[Operator, str]
) -> tuple[str, int]:
    """Propose roles to a second person; return the problem as a sentence, or the number of the act.

    `by` is who proposes, and why. Raises LookupError for an account that the person does not manage.
    """
    with read_transaction(services.engine) as conn:
        found = find_managed_account(conn, visitor, number)
    if found is None:
        raise LookupError(number)
    before = found.roles.get(change.organisation, frozenset())
    change = replace(change, before=before, own=number == visitor.account)
    problem = find_role_problem(visitor.organisation, change)
    if problem is None and before == change.after:
        problem = "These are the roles of the person already."
    if problem is not None:
        return problem, 0
    told = {
        "account": number,
        "name": found.row.name,
        "organisation": f"{change.organisation.kind}/{change.organisation.code}",
        "before": sorted(before),
        "after": sorted(change.after),
    }
    chosen = frozenset(services.settings.console.second_person)
    desk = OperatorDesk(services.engine, services.settings, services.clock, chosen)
    act, _ = desk.submit_order(ActOrder("account role", told), *by)
    assert act is not None, "the act waits for a second person"
    return "", act
