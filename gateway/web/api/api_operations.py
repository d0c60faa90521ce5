"""Defines the operations of the API: how a request is read, its caller, and how problems are answered."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, BinaryIO, Final, TypeVar, cast

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import Engine
from werkzeug.datastructures import FileStorage

from gateway.config import Settings
from gateway.errors import (
    MEDIA_TYPE_REFUSED,
    NOT_FOUND,
    PROBLEMS,
    REQUEST_MALFORMED,
    TOO_LARGE,
    GatewayError,
    Problem,
)
from gateway.hub import Hub
from gateway.message_model import Body, DigestedBody, Payload, PositionedStream
from gateway.web.hub_readiness import HubReadiness, build_hub_readiness
from gateway.web.problem_status import find_status
from gateway.web.request_texts import check_texts
from gateway.web.server import GateRejection


class QueryModel(BaseModel):
    """The query parameters, or the body, of an operation: unknown names are errors.

    Texts that cannot be stored are refused with GW110 before anything is made of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_texts(cls, content: Any) -> Any:
        check_texts(content)
        return content


class AnswerModel(BaseModel):
    """A JSON answer, or a part of one; a member without a value is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Model = TypeVar("_Model", bound=AnswerModel)


def read_model(model: type[_Model], row: object, **values: Any) -> _Model:
    """Return the model of a row or a dictionary: its members have the same names, but for `values`.

    A member that the dictionary does not have is left out.
    """
    names = [name for name in model.model_fields if name not in values]
    if isinstance(row, Mapping):
        members = {name: row[name] for name in names if name in row}
    else:
        members = {name: getattr(row, name) for name in names}
    return model(**members, **values)


BASE_PATH: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The services of the API; `readiness` tells whether it accepts submissions, `random` gives octets."""

    hub: Hub
    settings: Settings
    clock: Callable[[], datetime]
    readiness: HubReadiness
    random: Callable[[int], bytes] = os.urandom

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.hub.engine

    @property
    def public_url(self) -> str:
        """Return the URL of the API as clients see it, with its version, without a slash at its end."""
        api = self.settings.api
        return str(api.public_url or f"http://localhost:{api.port}").rstrip("/") + BASE_PATH


def build_api_services(hub: Hub, settings: Settings) -> ApiServices:
    """Return the services of a hub with these settings."""
    return ApiServices(hub, settings, hub.clock, build_hub_readiness(hub))


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
    def authentication(self) -> Mapping[str, Any]:
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
    """The answer of a handler: a status, and a model or octets with their media type; a `Body` is streamed.

    A `stream` follows the head of the answer: it returns the octets to send, in order.
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


Handler = Callable[[ApiCall], ApiAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: its method and path, its input and its answers, and the function that performs it.

    `problems` are the statuses of problems beside those that every operation may answer with. A
    `public` operation needs no credentials. With `make_error`, problems are answered in the form of
    another standard, with `error_model`.
    """

    id: str
    method: str
    path: str
    summary: str
    tag: str
    handle: Handler
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


class OperationSection:
    """The operations of one tag, in the order in which their handlers are declared."""

    def __init__(self, tag: str) -> None:
        self.operations: list[Operation] = []
        self._tag = tag

    def declare(
        self, method: str, path: str, operation_id: str, summary: str, *answers: Answer, **details: Any
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that declares a handler: the operation's place, its name, and good answers.

        `details` are those fields of `Operation` that not every operation has.
        """

        def declare_handler(handle: Handler) -> Handler:
            operation = Operation(
                id=operation_id,
                method=method,
                path=path,
                summary=summary,
                tag=self._tag,
                handle=handle,
                answers=answers,
                **details,
            )
            self.operations.append(operation)
            return handle

        return declare_handler


def make_not_found_error(subject: str) -> GatewayError:
    """Return the problem of something that does not exist, or not for this caller."""
    return GatewayError(NOT_FOUND, f"there is no {subject}, or it is another party's")


_CURSOR_PATTERN: Final = re.compile(r"([a-z]+):([0-9]{1,18})")


def write_cursor(list_name: str, last_row_id: int) -> str:
    """Return the cursor of a list of a kind, after its row `last_row_id`."""
    return base64.urlsafe_b64encode(f"{list_name}:{last_row_id}".encode()).decode().rstrip("=")


def read_cursor(list_name: str, cursor: str | None, location: str = "cursor") -> int | None:
    """Return the row that a cursor names, None without a cursor; raises GW110 for another list's."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    match = _CURSOR_PATTERN.fullmatch(text)
    if match is None or match[1] != list_name:
        raise GatewayError(REQUEST_MALFORMED, "this is no cursor of this list", location)
    return int(match[2])  # bounded: by the pattern


_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_PARTS: Final = "multipart/form-data"
_LARGEST_SMALL: Final = 64 * 1024
#: Octets of a file of a form that are held in memory.
_MOST_HELD: Final = 1024 * 1024


def read_request(operation: Operation, call: ApiCall) -> ApiCall:
    """Return the call with everything that the request carries; raises GW110, GW101 or GW102."""
    call = replace(call, query=_read_query(operation), headers=_read_headers(operation))
    return call if operation.body is None else _read_body(operation, call)


def _read_query(operation: Operation) -> Any:
    """Return the query parameters as the operation's model; None if it has none.

    Raises GW110 for a parameter that is unknown or occurs twice.
    """
    arguments = request.args.to_dict(flat=False)
    for name, values in arguments.items():
        if operation.query is None or len(values) > 1:
            problem = "occurs twice" if operation.query is not None else "is not known here"
            raise GatewayError(REQUEST_MALFORMED, f"the parameter {problem}", name[:60])
    if operation.query is None:
        return None
    return _validate(operation.query, {name: values[0] for name, values in arguments.items()})


def _validate(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _make_validation_error(error) from None


def _make_validation_error(error: ValidationError) -> GatewayError:
    """Return the first error of the validation as GW110, with the text of pydantic, without the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    location = "/".join(str(part) for part in first["loc"])[:120]
    return GatewayError(REQUEST_MALFORMED, str(first["msg"])[:300], location or "body")


def _read_headers(operation: Operation) -> dict[str, str]:
    """Return the operation's headers in the request, by lower-case name; raise GW110 for a wrong value."""
    headers = {}
    for header in operation.headers:
        value = request.headers.get(header.name)
        if value is None:
            continue
        if re.fullmatch(header.pattern.removeprefix("^").removesuffix("$"), value) is None:
            raise GatewayError(REQUEST_MALFORMED, "the value of the header is not accepted", header.name)
        headers[header.name.lower()] = value
    return headers


def _read_body(operation: Operation, call: ApiCall) -> ApiCall:
    """Return `call` with the body of the request: as parts and form, as octets, or as a validated model.

    Raises GW101 for another media type, and GW102 for a form or JSON that is too long.
    """
    content = operation.body.content if operation.body is not None else {}
    media_type = request.mimetype
    if media_type not in content:
        expected = " or ".join(content)
        raise GatewayError(MEDIA_TYPE_REFUSED, f"the body must be {expected}", "Content-Type")
    if media_type == _PARTS:
        files = tuple((name, _read_file(upload)) for name, upload in request.files.items(multi=True))
        form = dict(request.form.items())
        check_texts(form)
        check_texts([name for name, _ in files], "the name of a file's field")
        return replace(call, form=form, parts=files)
    model = content[media_type]
    if not isinstance(model, type):
        return replace(call, body=request.get_data(cache=False))
    if (request.content_length or 0) > _LARGEST_SMALL:
        raise GatewayError(TOO_LARGE, f"the body has more than {_LARGEST_SMALL} octets", "body")
    if media_type == _FORM_TYPE:
        return replace(call, model=_validate(model, _read_form()))
    return replace(call, model=_read_json(model))


def _read_form() -> dict[str, str]:
    fields = request.form.to_dict(flat=False)
    for name, values in fields.items():
        if len(values) > 1:
            raise GatewayError(REQUEST_MALFORMED, "the field occurs twice", name[:60])
    return {name: values[0] for name, values in fields.items()}


def _read_json(model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate_json(request.get_data(cache=False), strict=True)
    except ValidationError as error:
        raise _make_validation_error(error) from None


def _read_file(upload: FileStorage) -> Payload:
    """Return a file of a form; its name is the content id."""
    name = (upload.filename or "").strip("<>").removeprefix("cid:")
    check_texts(name, "filename")
    check_texts(dict(upload.headers.items()))
    return Payload(name, upload.mimetype or "application/octet-stream", _read_upload(upload.stream))


def _read_upload(stream: Any) -> bytes | Body:
    """Return the octets of a file of a form: as they are in its file on disk where the form is large."""
    octets = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return stream.read() if octets <= _MOST_HELD else _UploadedFile(stream, octets)


class _UploadedFile(DigestedBody):
    """A large file of a form. werkzeug has written it to the folder of TMPDIR, without a name.

    It is there until the request is answered.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Any, octets: int) -> None:
        super().__init__(octets)
        self._stream = stream
        stream.flush()

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", PositionedStream(self._stream.fileno()))


PROBLEM_TYPE: Final = "application/problem+json"

_LONGEST: Final = 2000
#: What helps a client of the API, where the catalogue says what helps partners by ebXML, or operators.
_REMEDIES: Final[Mapping[str, str]] = {
    "GW101": "Send the media type that the description of the API names for this operation.",
    "GW102": "Send less at once: the detail names the limit. Ask the operator for a higher one.",
    "GW103": "Send a form as RFC 7578 says: the boundary in Content-Type is the one in the body.",
    "GW110": "Correct what the location names, as the description of the API says.",
    "GW111": "Send the request again, over a faster connection or with less in it.",
    "GW112": "Compare the number with the answer in which it was given, and use the client of the owner.",
    "GW113": "Send a shorter value: a limit counts octets in UTF-8.",
    "GW206": "Check the clock. Renew the certificate, and ask the operator to register the new one.",
    "GW212": "Use the client of the party that owns the data.",
    "GW213": "Connect with the TLS client certificate that the operator registered for the party.",
    "GW302": "Ask the operator whether the party is suspended.",
    "GW312": "Use a new Idempotency-Key for every new or changed submission. Repeat only identical ones.",
    "GW320": "Ask the operator: the evidence states the digest, and when the octets were removed.",
    "GW803": "Send the same request again later.",
    "GW804": "Send the same request again later.",
    "GW805": "Tell the operator the time of the request: a repeat alone does not help.",
    "GW806": "Send the same request again later.",
    "GW807": "Send the same request again after the seconds in Retry-After, and fewer at once.",
    "GW809": "Ask again after some minutes.",
    "GW810": "Send the same request again later.",
    "GW811": "Send the same request again later.",
    "GW901": "Send the same request again later. If it persists, tell the operator the time of the request.",
}


class ProblemDetails(AnswerModel):
    """A problem: what kind it is, what happened here, where, and what helps."""

    type: str = Field(
        description="Where the kind of problem is described.", examples=["/api/v1/problems/GW112"]
    )
    title: str = Field(description="The kind of problem, in few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened with this request.")
    id: str = Field(description="The id of the kind of problem.", pattern="^GW[0-9]{3}$", examples=["GW112"])
    location: str | None = Field(None, description="Where in the request: a parameter, a header, an XPath.")
    remedy: str | None = Field(None, description="What helps.")


def find_remedy(kind: Problem) -> str:
    """Return the remedy for a client of the API when this kind of problem occurs."""
    return _REMEDIES.get(kind.id, kind.remedy)


def make_problem_details(problem: GatewayError) -> ProblemDetails:
    """Return the details of a problem."""
    problem_kind = PROBLEMS[problem.problem.id]
    return ProblemDetails(
        type=f"{BASE_PATH}/problems/{problem_kind.id}",
        title=problem_kind.title,
        status=find_status(problem),
        detail=problem.detail[:_LONGEST],
        id=problem_kind.id,
        location=problem.location[:_LONGEST] or None,
        remedy=find_remedy(problem_kind),
    )


def make_gate_rejection(problem: GatewayError, _fields: Mapping[str, str]) -> GateRejection:
    """Return the answer to a request that the gate refuses."""
    details = make_problem_details(problem)
    return GateRejection(details.status, PROBLEM_TYPE, details.model_dump_json(exclude_none=True).encode())
