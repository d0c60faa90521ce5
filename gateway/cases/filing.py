"""Who may file a submission for whom, judged by the registry's facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import DECLARANT_NOT_ALLOWED, GatewayError

__all__ = ["Filing", "Register", "check_filing"]


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
class Register:
    """The two questions that are asked of the register.

    `owners(value)` returns the parties that own a party identifier of that value;
    `mandated(holder, principal)` tells whether `holder` may now file for `principal`.
    """

    owners: Callable[[str], frozenset[str]]
    mandated: Callable[[str, str], bool]


def check_filing(filing: Filing, register: Register) -> str:
    """Return the declarant's party; raises GW405 when signer or sender may not file for it.

    The signer owns Declarant/ID, or owns Agent/ID and holds the declarant's mandate.
    The sender is the signer, the declarant, the gateway that vouches for the signer, or holds a
    mandate of the declarant too.
    """
    declarants = register.owners(filing.declarant_id)
    if not declarants:
        raise _refusal(f"declarant {filing.declarant_id[:40]!r} is not registered", "Declarant/ID")
    declarant = _declarant_of(filing, declarants, register)
    known = (filing.signer, declarant, filing.voucher)
    if filing.sender not in known and not register.mandated(filing.sender, declarant):
        raise _refusal(f"the sending party {filing.sender} holds no mandate of {declarant}", "Declarant/ID")
    return declarant


def _declarant_of(filing: Filing, declarants: frozenset[str], register: Register) -> str:
    if filing.signer in declarants:
        return filing.signer
    if filing.agent_id is None:
        raise _refusal(
            f"{filing.signer} signed, is not declarant {filing.declarant_id[:40]!r}, and there is no agent",
            "Declarant/ID",
        )
    if filing.signer not in register.owners(filing.agent_id):
        raise _refusal(f"{filing.signer} signed, but is not agent {filing.agent_id[:40]!r}", "Agent/ID")
    for declarant in sorted(declarants):
        if register.mandated(filing.signer, declarant):
            return declarant
    raise _refusal(f"agent {filing.signer} holds no mandate of {filing.declarant_id[:40]!r}", "Agent/ID")


def _refusal(detail: str, location: str) -> GatewayError:
    return GatewayError(DECLARANT_NOT_ALLOWED, detail, location)
