"""Authorization of a filing: which party may file a submission for which, by the party register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import DECLARANT_NOT_ALLOWED, GatewayError


@dataclass(frozen=True, slots=True)
class Filing:
    """The parties of one submission.

    `declarant_id` and `agent_id` are Declarant/ID and Agent/ID of the declaration; `signer`
    and `sender` are parties of the register: the signer of the submission, and the signer of
    the message that carried it.  `voucher` is the gateway that also signed the submission.
    """

    declarant_id: str
    agent_id: str | None
    signer: str
    sender: str
    voucher: str | None = None


@dataclass(frozen=True, slots=True)
class FilingRegister:
    """The two queries to the party register.

    `find_owners(value)` returns the parties that own a party identifier of that value;
    `has_mandate(holder, principal)` returns whether `holder` may now file for `principal`.
    """

    find_owners: Callable[[str], frozenset[str]]
    has_mandate: Callable[[str, str], bool]


def authorize_filing(filing: Filing, register: FilingRegister) -> str:
    """Return the declarant's party; raise GW405 where signer or sender may not file for it.

    The signer must own Declarant/ID, or own Agent/ID and hold the declarant's mandate.
    The sender must be the signer, the declarant or the gateway that vouches for the signer, or
    hold a mandate of the declarant.
    """
    declarants = register.find_owners(filing.declarant_id)
    if not declarants:
        raise _make_filing_error(f"declarant {filing.declarant_id[:40]!r} is not registered", "Declarant/ID")
    declarant = _resolve_declarant(filing, declarants, register)
    entitled_parties = (filing.signer, declarant, filing.voucher)
    if filing.sender not in entitled_parties and not register.has_mandate(filing.sender, declarant):
        raise _make_filing_error(
            f"the sending party {filing.sender} holds no mandate of {declarant}", "Declarant/ID"
        )
    return declarant


def _resolve_declarant(filing: Filing, declarants: frozenset[str], register: FilingRegister) -> str:
    """Return the signer if it is one of `declarants`, else the declarant for which it may file as agent.

    Raise GW405 if the signer does not own Agent/ID, or holds no mandate of any of `declarants`.
    """
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
