"""The exchanges between an attacker and a gateway: requests, answers, and expectations.

This module has no attacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: The open endpoints of a gateway: ebMS 2.0, AS4, and the SOAP services for agencies and for customs.
FACES: Final = ("ebms2", "as4", "soap", "customs")


@dataclass(frozen=True, slots=True)
class FaceAddress:
    """Where a face of the gateway is: a path below its base URL, or a URL of its own."""

    path: str
    url: str = ""


class NotOfferedError(Exception):
    """A scenario needs something that kit or target lack: the verdict is not_yet; the text says what."""


class WrongAnswerError(Exception):
    """Raised by a scenario that compares answers: the case has failed; the text says why."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One well-formed HTTP request; `face` is one of `FACES`, and the target knows its path."""

    face: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class RawScript:
    """Octets on a connection, for attacks on HTTP itself; each is followed by a pause in seconds.

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
    """An answer; `status` is None when the connection was closed or timed out without an answer.

    `trailing_octets` are octets that followed the answer on a raw connection: a second answer, where
    the gateway read a second request. `connect_problem` says why there was no connection.
    """

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0
    timed_out: bool = False
    trailing_octets: bytes = b""
    connect_problem: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The required result of an exchange: acceptance, or one of the named refusals.

    `problems` are ids of our catalogue (looked at only where the gateway names one),
    `ebms` error codes of an ErrorList, `faults` local names of SOAP fault codes, `http`
    statuses that refuse without a message.  `silent`: closing without an answer is also allowed.
    `must_accept` is a required acceptance: unusual input that no gateway may refuse. (The refusal of a
    control leaves the case open.) With `ebms`, `http` or `silent` beside `is_acceptance`, such a refusal
    is also allowed: only the exchanges that follow count.
    """

    is_acceptance: bool = False
    problems: tuple[str, ...] = ()
    ebms: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    http: tuple[int, ...] = ()
    silent: bool = False
    must_accept: bool = False


#: The control: an honest message. If it is not accepted, the result of the case is no evidence.
ACCEPTED: Final = Expectation(is_acceptance=True)

#: Unusual input that must be accepted; a refusal is a failure of the gateway.
LAWFUL: Final = Expectation(is_acceptance=True, must_accept=True)


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
    """One step and its required result."""

    step: Step
    expected: Expectation
