"""Proposals of managers about accounts, where a second person must approve who gets access.

The second person is one of the operator, also for the people of an agency that decides with four eyes. A link
to set a password has two parts: the manager has one, and the second person sees the other when approving. So
neither of them alone can sign in as the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.accounts import Organisation, OrganisationKind, digest_token, make_token
from gateway.operations import ActOrder
from gateway.store import OperatorActSummaryRow, operator_acts, read_transaction
from gateway.web.console.act_reasons import get_operator, get_operator_desk
from gateway.web.console.page_guards import services, visitor
from gateway.web.console.people.managed_accounts import (
    TOKEN_OCTETS,
    AccountRefusedError,
    NewPerson,
    check_link,
    check_new_person,
    check_role_change,
)

_LAST_DECIDED: Final = 10
#: Proposals of one manager that wait at the same time.
MAX_PROPOSALS: Final = 50


@dataclass(frozen=True, slots=True)
class ProposedLink:
    """A proposed act by its number, and the link that is good, with its code, when the act is approved."""

    act: int
    link: str


def propose_person(person: NewPerson, reason: str) -> ProposedLink:
    """Propose a new person with the roles and a link; raises AccountRefusedError."""
    with read_transaction(services.engine) as conn:
        check_new_person(conn, person)
    parameters = {
        "name": person.name,
        "display_name": person.display_name,
        "language": person.language,
        "organisation": _name_organisation(person.organisation),
        "before": [],
        "after": sorted(person.roles),
        "created_by": visitor.name,
    }
    return _propose_with_link("account add", parameters, reason)


def propose_link(account_id: int, reason: str) -> ProposedLink:
    """Propose a link to set a new password; raises AccountRefusedError and LookupError."""
    with read_transaction(services.engine) as conn:
        account = check_link(conn, account_id)
    places = sorted(map(_name_organisation, account.roles))
    parameters = {
        "account": account_id,
        "name": account.row.name,
        "display_name": account.row.display_name,
        "organisations": places,
    }
    return _propose_with_link("account invite", parameters, reason)


def _propose_with_link(act: str, parameters: dict[str, Any], reason: str) -> ProposedLink:
    token = make_token(services.random(TOKEN_OCTETS))
    order = ActOrder(act, parameters | {"link": digest_token(token)})
    return ProposedLink(_propose(order, reason), f"{services.public_url}/console/welcome/{token}/code")


def propose_roles(account_id: int, organisation: Organisation, roles: frozenset[str], reason: str) -> int:
    """Propose roles of an account in an organisation; return the number of the act.

    Raises AccountRefusedError, and LookupError for an account that the person does not manage.
    """
    with read_transaction(services.engine) as conn:
        account, change = check_role_change(conn, account_id, organisation, roles)
    if change.roles_before == roles:
        raise AccountRefusedError("These are the roles of the person already.")
    parameters = {
        "account": account_id,
        "name": account.row.name,
        "display_name": account.row.display_name,
        "organisation": _name_organisation(organisation),
        "before": sorted(change.roles_before),
        "after": sorted(roles),
    }
    return _propose(ActOrder("account role", parameters), reason)


def _propose(order: ActOrder, reason: str) -> int:
    if visitor.organisation.kind is not OrganisationKind.OPERATOR:
        with read_transaction(services.engine) as conn:
            waiting = operator_acts.list_acts(conn, "PENDING", proposer=visitor.account, limit=MAX_PROPOSALS)
        if len(waiting) == MAX_PROPOSALS:
            raise AccountRefusedError("50 proposals of yours wait. Withdraw some, or propose more later.")
    parameters = {**order.parameters, "proposed_in": _name_organisation(visitor.organisation)}
    return get_operator_desk().propose_order(replace(order, parameters=parameters), get_operator(), reason)


def _name_organisation(organisation: Organisation) -> str:
    return f"{organisation.kind}/{organisation.code}"


def list_own_proposals() -> Sequence[OperatorActSummaryRow]:
    """Return the proposals of this manager that wait, and the last that were decided.

    Those of operators have a page of their own.
    """
    if visitor.organisation.kind is OrganisationKind.OPERATOR:
        return ()
    with read_transaction(services.engine) as conn:
        waiting = operator_acts.list_acts(conn, "PENDING", proposer=visitor.account)
        decided = [
            row
            for state in ("DONE", "REJECTED")
            for row in operator_acts.list_acts(conn, state, proposer=visitor.account, limit=_LAST_DECIDED)
        ]
    decided.sort(key=lambda row: row.id, reverse=True)
    # A head who is an operator, too, has proposed other acts there.
    organisation_text = _name_organisation(visitor.organisation)
    rows = [*waiting, *decided[:_LAST_DECIDED]]
    return [row for row in rows if row.parameters.get("proposed_in") == organisation_text]


def withdraw_proposal(act_id: int) -> None:
    """Withdraw a proposal that `list_own_proposals` has; raises LookupError for any other act.

    Raises GW705 where it was decided meanwhile.
    """
    if act_id not in {row.id for row in list_own_proposals()}:
        raise LookupError(act_id)
    get_operator_desk().end_act(act_id, get_operator(), "WITHDRAWN", "")
