"""Reads parameters and body of a request, and checks them by the declaration of the operation."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Final, cast

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import FileStorage

from gateway.errors import MEDIA_TYPE_REFUSED, REQUEST_MALFORMED, TOO_LARGE, GatewayError
from gateway.message_model import Body, DigestedBody, Payload, PositionedStream
from gateway.web.api.api_operations import ApiCall, Operation

__all__ = ["read_request"]

_FORM: Final = "application/x-www-form-urlencoded"
_PARTS: Final = "multipart/form-data"
_LARGEST_SMALL: Final = 64 * 1024
#: Octets of a file of a form that are held in memory.
_MOST_HELD: Final = 1024 * 1024


def read_request(operation: Operation, call: ApiCall) -> ApiCall:
    """Return the call with everything that the request carries; raises GW110, GW101 or GW102."""
    call = replace(call, query=_read_query(operation), headers=_read_headers(operation))
    return call if operation.body is None else _read_body(operation, call)


def _read_query(operation: Operation) -> Any:
    given = request.args.to_dict(flat=False)
    for name, values in given.items():
        if operation.query is None or len(values) > 1:
            words = "occurs twice" if operation.query is not None else "is not known here"
            raise GatewayError(REQUEST_MALFORMED, f"the parameter {words}", name[:60])
    if operation.query is None:
        return None
    return _validate(operation.query, {name: values[0] for name, values in given.items()})


def _validate(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _make_validation_error(error) from None


def _make_validation_error(error: ValidationError) -> GatewayError:
    """Return the first thing wrong, in the words of the checker, without the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "/".join(str(one) for one in first["loc"])[:120]
    return GatewayError(REQUEST_MALFORMED, str(first["msg"])[:300], place or "body")


def _read_headers(operation: Operation) -> dict[str, str]:
    found = {}
    for one in operation.headers:
        value = request.headers.get(one.name)
        if value is None:
            continue
        if re.fullmatch(one.pattern.removeprefix("^").removesuffix("$"), value) is None:
            raise GatewayError(REQUEST_MALFORMED, "the value of the header is not accepted", one.name)
        found[one.name.lower()] = value
    return found


def _read_body(operation: Operation, call: ApiCall) -> ApiCall:
    content = operation.body.content if operation.body is not None else {}
    kind = request.mimetype
    if kind not in content:
        expected = " or ".join(content)
        raise GatewayError(MEDIA_TYPE_REFUSED, f"the body must be {expected}", "Content-Type")
    if kind == _PARTS:
        files = tuple((name, _read_file(one)) for name, one in request.files.items(multi=True))
        return replace(call, form=dict(request.form.items()), parts=files)
    model = content[kind]
    if not isinstance(model, type):
        return replace(call, body=request.get_data(cache=False))
    if (request.content_length or 0) > _LARGEST_SMALL:
        raise GatewayError(TOO_LARGE, f"the body has more than {_LARGEST_SMALL} octets", "body")
    if kind == _FORM:
        return replace(call, model=_validate(model, _read_form()))
    return replace(call, model=_read_json(model))


def _read_form() -> dict[str, str]:
    given = request.form.to_dict(flat=False)
    for name, values in given.items():
        if len(values) > 1:
            raise GatewayError(REQUEST_MALFORMED, "the field occurs twice", name[:60])
    return {name: values[0] for name, values in given.items()}


def _read_json(model: type[BaseModel]) -> BaseModel:
    try:
        return model.model_validate_json(request.get_data(cache=False), strict=True)
    except ValidationError as error:
        raise _make_validation_error(error) from None


def _read_file(one: FileStorage) -> Payload:
    """Return a file of a form; its name is the content id."""
    name = (one.filename or "").strip("<>").removeprefix("cid:")
    return Payload(name, one.mimetype or "application/octet-stream", _read_upload(one.stream))


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
