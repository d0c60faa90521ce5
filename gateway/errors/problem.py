"""The form of a problem, and the exception that carries one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GatewayError", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One way to fail.

    ``ours`` is true when the gateway or its keeper is at fault, false when the sender
    is.  ``retry`` says whether the same bytes may succeed later.  ``ebms2`` is an
    ``eb:errorCode`` (None: the problem has no ErrorList face, a SOAP Fault is sent),
    ``ebms3`` an AS4 code, ``soap`` a fault code, ``http`` the status of a bare fault.
    """

    id: str
    title: str
    meaning: str
    cause: str
    remedy: str
    ours: bool = False
    retry: bool = False
    ebms2: str | None = None
    ebms3: str | None = None
    soap: str | None = None
    http: int | None = None


class GatewayError(Exception):
    """A problem that happened: what (`problem`), in which words (`detail`), where (`location`).

    ``location`` is an XPath, a content id, a WCO pointer or a file position; it is empty
    only where no place exists.  `heard` is what was read of a refused message before it was
    refused, in the type of the protocol that read it: whoever answers need not read it again.
    """

    def __init__(self, problem: Problem, detail: str = "", location: str = "") -> None:
        super().__init__(f"{problem.id} {detail or problem.title}" + (f" at {location}" if location else ""))
        self.problem = problem
        self.detail = detail or problem.title
        self.location = location
        self.heard: object = None
