"""The type of a problem, and the exception that contains one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GatewayError", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure.

    ``ours`` is true when the gateway or its operator is at fault, false when the sender is.
    ``retry`` says whether the same octets may succeed later. ``ebms2`` is an ``eb:errorCode``
    (None: the problem has no ErrorList form, and a SOAP Fault is sent), ``ebms3`` an AS4
    code, ``soap`` a fault code, ``http`` the status of a bare fault.
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
    """A problem that occurred: its kind (`problem`), its text (`detail`), its place (`location`).

    ``location`` is an XPath, a content id, a WCO pointer or a file position; it is empty only
    where no place exists. `heard` is what was read of a message before it was refused, as a
    type of the protocol that read it, so that the answer needs no second reading.
    """

    def __init__(self, problem: Problem, detail: str = "", location: str = "") -> None:
        super().__init__(f"{problem.id} {detail or problem.title}" + (f" at {location}" if location else ""))
        self.problem = problem
        self.detail = detail or problem.title
        self.location = location
        self.heard: object = None
