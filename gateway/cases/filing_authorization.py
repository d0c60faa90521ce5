"""Who may file a submission for whom, judged by the registry's facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import DECLARANT_NOT_ALLOWED, GatewayError

__all__ = ["Filing", "FilingRegister", "authorize_filing"]


@dataclass(frozen=True, slots=True)
class Filing:
    """The persons of one submission, as the hub knows them.

    `declarant_id` and `agent_id` are Declarant/ID and Agent/ID of the declaration;
    `signer` and `sender` are parties of the register: who signed the submission, who
    signed the message that carried it.  `voucher` is the gateway that signed it once more.
    """

    declarant_id: str
    agent_id: str | None
    signer: str
    sender: str
    voucher: str | None = None


@dataclass(frozen=True, slots=True)
class FilingRegister:
    """The two questions that are asked of the register.

    `owners(value)` returns the parties that own a party identifier of that value;
    `mandated(holder, principal)` tells whether `holder` may now file for `principal`.
    """

    find_owners: Callable[[str], frozenset[str]]
    has_mandate: Callable[[str, str], bool]


def authorize_filing(filing: Filing, register: FilingRegister) -> str:
    """Return the declarant's party; raises GW405 when signer or sender may not file for it.

    The signer owns Declarant/ID, or owns Agent/ID and holds the declarant's mandate.
    The sender is the signer, the declarant, the gateway that vouches for the signer, or holds a
    mandate of the declarant too.
    """
    declarants = register.find_owners(filing.declarant_id)
    if not declarants:
        raise _make_filing_error(f"declarant {filing.declarant_id[:40]!r} is not registered", "Declarant/ID")
    declarant = _resolve_declarant(filing, declarants, register)
    known = (filing.signer, declarant, filing.voucher)
    if filing.sender not in known and not register.has_mandate(filing.sender, declarant):
        raise _make_filing_error(
            f"the sending party {filing.sender} holds no mandate of {declarant}", "Declarant/ID"
        )
    return declarant


def _resolve_declarant(filing: Filing, declarants: frozenset[str], register: FilingRegister) -> str:
    if filing.signer in declarants:
        return filing.signer
    if filing.agent_id is None:
        raise _make_filing_error(
            f"{filing.signer} signed, is not declarant {filing.declarant_id[:40]!r}, and there is no agent",
            "Declarant/ID",
        )
    if filing.signer not in register.find_owners(filing.agent_id):
        raise _make_filing_error(
            f"{filing.signer} signed, but is not agent {filing.agent_id[:40]!r}", "Agent/ID"
        )
    for declarant in sorted(declarants):
        if register.has_mandate(filing.signer, declarant):
            return declarant
    raise _make_filing_error(
        f"agent {filing.signer} holds no mandate of {filing.declarant_id[:40]!r}", "Agent/ID"
    )


def _make_filing_error(detail: str, location: str) -> GatewayError:
    return GatewayError(DECLARANT_NOT_ALLOWED, detail, location)
