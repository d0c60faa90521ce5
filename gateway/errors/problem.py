"""The type of a problem, and the exception that contains one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_WORD_BOUNDARY: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class ProtocolCodes:
    """How each protocol reports a problem.

    ``ebms2`` is an ``eb:errorCode`` (None: the problem has no ErrorList form, and a SOAP Fault is
    sent), ``ebms3`` an AS4 code, ``soap`` a fault code, ``http`` the status of a bare fault.
    """

    ebms2: str | None = None
    ebms3: str | None = None
    soap: str | None = None
    http: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure.

    ``ours`` is true when the gateway or its operator is at fault, false when the sender is.
    ``retry`` says whether the same octets may succeed later.
    """

    id: str
    title: str
    meaning: str
    cause: str
    remedy: str
    ours: bool = False
    retry: bool = False
    codes: ProtocolCodes = ProtocolCodes()


class GatewayError(Exception):
    """A problem that occurred: its kind (`problem`), its text (`detail`), its place (`location`).

    ``location`` is an XPath, a content id, a WCO pointer or a file position; it is empty only
    where no place exists. `theirs` is the error text of the partner, unchanged, and is not part
    of our text. `message_part` has the parts of a message that were read before it was refused, as
    a type of the protocol that read them, so that the answer needs no second reading. `code` is the
    code of ebMS 3.0, where the standard has several for one problem; by default it is the code of
    `problem`. `public_text` is what the public status page says instead of the title, without any address.
    """

    public_text = ""

    def __init__(
        self, problem: Problem, detail: str = "", location: str = "", *, theirs: str = "", code: str = ""
    ) -> None:
        """Store the problem; by default its title is the `detail`, and its code of ebMS 3.0 the `code`.

        `theirs` is the error text of the partner.
        """
        text = detail or problem.title
        # The location is not appended to a detail that contains it already.
        suffix = f" at {location}" if location and location not in text else ""
        super().__init__(f"{problem.id} {text}{suffix}")
        self.problem = problem
        self.detail = detail or problem.title
        self.location = location
        self.theirs = theirs
        self.code = code or problem.codes.ebms3
        # A reader of messages sets this later, when it refuses a message of which it has read a part.
        self.message_part: object = None


def describe_exception(error: BaseException, limit: int = 200) -> str:
    """Return the text of a library's exception, in at most `limit` characters; never an empty text.

    Many exceptions have no text. Then the words of the type are given: ``InvalidSignature`` becomes
    "invalid signature".
    """
    text = " ".join(str(error).split())
    type_text = _WORD_BOUNDARY.sub(" ", type(error).__name__).lower()
    if isinstance(error, UnicodeDecodeError):
        return f"octet {error.start} is no text in UTF-8"
    if isinstance(error, KeyError):
        return f"{text} is missing"[:limit] if text else type_text
    return (text or type_text)[:limit].rstrip(": ") or type_text
