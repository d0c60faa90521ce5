"""The types that operations of the API are declared with: one declaration serves and documents each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from gateway.errors import NOT_FOUND, GatewayError
from gateway.message_model import Body, Payload
from gateway.web.api.api_services import ApiServices
from gateway.web.api.model_bases import QueryModel

__all__ = [
    "JSON",
    "NOBODY",
    "XML",
    "ZIP",
    "Answer",
    "ApiAnswer",
    "ApiCall",
    "Caller",
    "HeaderParameter",
    "Operation",
    "RequestBody",
    "make_not_found_error",
]

JSON: Final = "application/json"
XML: Final = "application/xml"
ZIP: Final = "application/zip"


@dataclass(frozen=True, slots=True)
class Caller:
    """The party that makes a request, how it was authenticated, and by which certificate (SHA-256)."""

    party: str
    method: str
    certificate: str

    @property
    def way(self) -> Mapping[str, Any]:
        """Return how the party was authenticated, as the evidence records it."""
        return {"method": self.method, "certificate": self.certificate}


NOBODY: Final = Caller("", "none", "")


@dataclass(frozen=True, slots=True)
class HeaderParameter:
    """A request header that an operation reads; `pattern` is that of its value."""

    name: str
    description: str
    pattern: str
    example: str


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The bodies that an operation accepts: the schema of each media type, a model or a JSON Schema."""

    description: str
    content: Mapping[str, type[BaseModel] | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer: its status, and the model of its JSON, or the media type of its octets."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What a handler answers: a status, and a model or octets with their media type; a body is streamed.

    A `stream` follows the head of the answer: it returns what is to be sent, in order.
    """

    body: BaseModel | bytes | Body | None
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Any = None


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request: who makes it, and its parameters and body, all checked.

    `form` has the fields of a form, `parts` its files by the names of their fields.
    `is_still_allowed` tells, during a long answer, whether the credentials still hold.
    """

    services: ApiServices
    caller: Caller
    path: Mapping[str, str]
    query: Any
    headers: Mapping[str, str]
    body: bytes = b""
    model: Any = None
    form: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[tuple[str, Payload], ...] = ()
    is_still_allowed: Callable[[], bool] = lambda: True

    @property
    def party(self) -> str:
        """Return the party that makes the request."""
        return self.caller.party


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: where it is, what it takes and gives, and the function that does it.

    `problems` are the statuses of problems beside those that every operation may answer with. A
    `public` operation needs no credentials. With `make_error`, problems are answered in the form of
    another standard, with `error_model`.
    """

    id: str
    method: str
    path: str
    summary: str
    tag: str
    handle: Callable[[ApiCall], ApiAnswer]
    answers: tuple[Answer, ...]
    problems: tuple[int, ...] = ()
    query: type[QueryModel] | None = None
    headers: tuple[HeaderParameter, ...] = ()
    body: RequestBody | None = None
    public: bool = False
    is_stream: bool = False
    description: str = ""
    make_error: Callable[[GatewayError], ApiAnswer] | None = None
    error_model: type[BaseModel] | None = None


def make_not_found_error(what: str) -> GatewayError:
    """Return the problem of something that does not exist, or not for this caller."""
    return GatewayError(NOT_FOUND, f"there is no {what}, or it is another party's")
