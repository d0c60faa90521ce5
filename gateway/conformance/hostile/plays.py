"""The usual play: an honest message that must be taken, then the attack made of another one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from gateway.conformance.hostile.case import ACCEPTED, Answer, Exchange, Expected, Play, Post, refused
from gateway.errors import PROBLEMS

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["SOAP_REFUSALS", "Maker", "after_control", "refusal"]

#: Makes a request of what a bench has.
Maker = Callable[["Bench"], Post]

#: Faults by which a SOAP stack may refuse what is wrong in WS-Security or in the envelope.
SOAP_REFUSALS: Final = (
    "FailedCheck",
    "InvalidSecurity",
    "InvalidSecurityToken",
    "FailedAuthentication",
    "Client",
)


def refusal(*problems: str, http: tuple[int, ...] = (), silent: bool = False) -> Expected:
    """Return the expectation of a refusal by `problems`, with their codes in ErrorLists and faults.

    A gateway that sees the forgery only when it checks the signature says SecurityFailure;
    one that sees that the structure is wrong may say that first.
    """
    rows = [PROBLEMS[one] for one in problems]
    codes = dict.fromkeys(["SecurityFailure", *(row.ebms2 for row in rows if row.ebms2)])
    own = ((row.soap or "Client").rpartition(":")[2] for row in rows)
    return refused(
        *problems,
        ebms=tuple(codes),
        faults=tuple(dict.fromkeys([*own, *SOAP_REFUSALS])),
        http=http,
        silent=silent,
    )


def after_control(control: Maker, attack: Maker, expected: Expected) -> Play:
    """Return the play of an honest request and then an attack."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        yield Exchange(control(bench), ACCEPTED)
        yield Exchange(attack(bench), expected)

    return play
