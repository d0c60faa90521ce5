"""What passes between an attacker and a gateway: requests, answers, and what must come of them.

Nothing here knows an attack, or who makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: The open faces of a gateway: ebMS 2.0, and the SOAP service for agencies.
FACES: Final = ("ebms2", "soap")


@dataclass(frozen=True, slots=True)
class FaceAddress:
    """Where a face of the gateway is: a path below its base URL, or a URL of its own."""

    path: str
    url: str = ""


class NotOfferedError(Exception):
    """A scenario needs what kit or target have not: the case is not yet, never passed; the words say what."""


class WrongAnswerError(Exception):
    """Raised by a scenario that holds answers against each other: the case has failed; the words say why."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request in good form; `face` is ``ebms2`` or ``soap``, the target knows its path."""

    face: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class RawScript:
    """Octets on a connection, where HTTP itself is the attack; each followed by a pause in seconds.

    The same script runs on `connections` connections at once.  `half_close` ends our side
    after the last octet; `wait` is how long an answer may take.  ``{path}`` and ``{host}``
    in the octets are replaced by those of the face.
    """

    face: str
    script: tuple[tuple[bytes, float], ...]
    connections: int = 1
    half_close: bool = False
    wait: float = 10.0


Step = HttpRequest | RawScript


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` is None when the connection was closed, or timed out, without an answer.

    `more` are octets that followed the answer on a raw connection: a second answer, where
    the gateway read a second request.
    """

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0
    timed_out: bool = False
    more: bytes = b""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come of an exchange: accepted, or one of the refusals named.

    `problems` are ids of our catalogue (looked at only where the gateway names one),
    `ebms` error codes of an ErrorList, `faults` local names of SOAP fault codes, `http`
    statuses that refuse without a message.  `silent`: closing without an answer is good too.
    `lawful` is an acceptance that the case demands: not a control, whose refusal leaves the
    case open, but odd input that no gateway may refuse.  With `ebms`, `http` or `silent` beside
    `accepted`, such a refusal is as good: what counts is what comes afterwards.
    """

    accepted: bool = False
    problems: tuple[str, ...] = ()
    ebms: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    http: tuple[int, ...] = ()
    silent: bool = False
    lawful: bool = False


#: The control: an honest message, which must be taken, or the case proves nothing.
ACCEPTED: Final = Expectation(accepted=True)

#: What must be taken although it looks odd: its refusal is a failure of the gateway.
LAWFUL: Final = Expectation(accepted=True, lawful=True)


def expect_refusal_codes(
    *problems: str,
    ebms: tuple[str, ...] = (),
    faults: tuple[str, ...] = (),
    http: tuple[int, ...] = (),
    silent: bool = False,
) -> Expectation:
    """Return the expectation of a refusal by any of `problems`, in any of the faces given."""
    return Expectation(False, problems, ebms, faults, http, silent)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One step and what must come of it."""

    step: Step
    expected: Expectation
