"""The usual play: an honest message that must be taken, then the attack made of another one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

from gateway.conformance.hostile.attack_case import Scenario
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    Expectation,
    HttpRequest,
    expect_refusal_codes,
)
from gateway.errors import PROBLEMS

__all__ = ["SOAP_REFUSALS", "RequestMaker", "expect_refusal", "make_control_scenario"]

#: Makes a request of what a bench has.
RequestMaker = Callable[["AttackerKit"], HttpRequest]

#: Faults by which a SOAP stack may refuse what is wrong in WS-Security or in the envelope.
SOAP_REFUSALS: Final = (
    "FailedCheck",
    "InvalidSecurity",
    "InvalidSecurityToken",
    "FailedAuthentication",
    "Client",
)


def expect_refusal(*problems: str, http: tuple[int, ...] = (), silent: bool = False) -> Expectation:
    """Return the expectation of a refusal by `problems`, with their codes in ErrorLists and faults.

    A gateway that sees the forgery only when it checks the signature says SecurityFailure;
    one that sees that the structure is wrong may say that first.
    """
    rows = [PROBLEMS[one] for one in problems]
    codes = dict.fromkeys(["SecurityFailure", *(row.ebms2 for row in rows if row.ebms2)])
    own = ((row.soap or "Client").rpartition(":")[2] for row in rows)
    return expect_refusal_codes(
        *problems,
        ebms=tuple(codes),
        faults=tuple(dict.fromkeys([*own, *SOAP_REFUSALS])),
        http=http,
        silent=silent,
    )


def make_control_scenario(control: RequestMaker, attack: RequestMaker, expected: Expectation) -> Scenario:
    """Return the play of an honest request and then an attack."""

    def run_scenario(bench: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(control(bench), ACCEPTED)
        yield Exchange(attack(bench), expected)

    return run_scenario
