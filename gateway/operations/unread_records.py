"""Findings about stored agreements and certificates that this version of the program does not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.errors import AGREEMENT_UNREAD, GatewayError, raise_resource_problem
from gateway.hub import RegisterSnapshot
from gateway.pki import read_certificate

#: How much of a name a finding repeats.
_MAX_NAME: Final = 80


def find_unread_agreements(register: RegisterSnapshot, own_party: str) -> Iterator[GatewayError]:
    """Yield GW906 for each agreement in force that this version does not read, with its partner."""
    for agreement, problem in register.book.list_unread_agreements().items():
        partners = _list_partners(register, agreement, own_party)
        partner_text = f" (with {', '.join(partners)[:200]})" if partners else ""
        yield GatewayError(AGREEMENT_UNREAD, f"{problem.detail}{partner_text}", problem.location)


def _list_partners(register: RegisterSnapshot, agreement: str, own_party: str) -> list[str]:
    """Return the names of the partners in an agreement; an id that is not registered stands for itself."""
    names = set()
    for party_id in register.book.list_agreement_parties(agreement):
        inactive_name, _ = register.inactive_parties.get(party_id, (party_id.value, ""))
        names.add(register.by_id.get(party_id, inactive_name)[:_MAX_NAME])
    return sorted(names - {own_party})


def find_unread_certificates(register: RegisterSnapshot) -> Iterator[GatewayError]:
    """Yield GW205 for each certificate that a party is registered with and that this version refuses."""
    for purpose, assignments in (("signing", register.by_certificate), ("encryption", register.receivers)):
        for sha256, assignment in assignments.items():
            try:
                read_certificate(assignment.der)
            except GatewayError as refusal:
                raise_resource_problem(refusal)
                party = assignment.party[:_MAX_NAME]
                detail = (
                    f"this version refuses certificate {sha256[:16]} of {party}, which is registered for "
                    f"{purpose}, and leaves it out: {refusal.detail}"
                )
                yield GatewayError(refusal.problem, detail, f"party {party}")
