"""Writes the OpenAPI 3.1 document from the declarations of the operations: nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.web.api.api_operations import JSON, Answer, Operation
from gateway.web.api.api_services import BASE_PATH
from gateway.web.api.problem_answers import PROBLEM_TYPE, ProblemDetails

__all__ = ["PATH_PARAMETERS", "list_problem_statuses", "make_openapi_document"]

_PLACE: Final = "#/components/schemas/{model}"
#: What each name in a path stands for: the pattern of its values, and its description.
PATH_PARAMETERS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("^[A-Za-z0-9-]{1,40}$", "The number of a case."),
    "id": ("^[!-;=?-~]{1,255}$", "The id of a message."),
    "document": ("^[A-Za-z0-9_-]{1,60}$", "The id of a document."),
    "problem": ("^GW[0-9]{3}$", "The id of a kind of problem."),
    "webhook": ("^[A-Za-z0-9_-]{1,40}$", "The id of a webhook."),
}
#: What every operation may answer.
_ALWAYS: Final = (400, 429, 500, 503)
_WITH_CREDENTIALS: Final = (401, 403)
_WITH_BODY: Final = (408, 413, 415)
_TEXTS: Final = {
    400: "The request is malformed",
    401: "The credentials are missing or not accepted",
    403: "The caller may not do this",
    404: "There is nothing here for this caller",
    409: "It conflicts with what is stored",
    422: "The content is not accepted",
    429: "Too many requests of this caller at once",
    500: "A mistake of the gateway",
    503: "Not available now",
}


def make_openapi_document(operations: Iterable[Operation], server: str) -> dict[str, Any]:
    """Return the document of these operations, served at the URL `server`."""
    table = tuple(operations)
    schemas, references = _collect_schemas(table)
    paths: dict[str, Any] = {}
    for one in table:
        paths.setdefault(one.path, {})[one.method.lower()] = _describe_operation(one, references)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Single-window gateway",
            "version": __version__,
            "summary": "The interface for the software of traders and brokers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "oauth2",
                    "description": "Client credentials with private_key_jwt.",
                    "flows": {"clientCredentials": {"tokenUrl": f"{BASE_PATH}/token", "scopes": {}}},
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A TLS client certificate that is registered for the party.",
                },
            },
        },
    }


def _collect_schemas(table: Iterable[Operation]) -> tuple[dict[str, Any], dict[type[BaseModel], str]]:
    """Return the schemas of all models by name, and the reference to each model."""
    answers: list[type[BaseModel]] = [ProblemDetails]
    questions: list[type[BaseModel]] = []
    for one in table:
        answers += [each.model for each in one.answers if each.model is not None]
        answers += [one.error_model] if one.error_model is not None else []
        for kind in one.body.content.values() if one.body else ():
            if isinstance(kind, type):
                questions.append(kind)
    wanted: list[Any] = [(one, "serialization") for one in dict.fromkeys(answers)]
    wanted += [(one, "validation") for one in dict.fromkeys(questions)]
    keys, definitions = models_json_schema(wanted, ref_template=_PLACE)
    return definitions["$defs"], {one: str(keys[one, mode]["$ref"]) for one, mode in wanted}


def _describe_operation(one: Operation, references: Mapping[type[BaseModel], str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "tags": [one.tag],
        "responses": _describe_answers(one, references),
    }
    parameters = [*_describe_path(one), *_describe_query(one), *_describe_headers(one)]
    if parameters:
        told["parameters"] = parameters
    if one.description:
        told["description"] = one.description
    if one.body is not None:
        told["requestBody"] = {
            "required": True,
            "description": one.body.description,
            "content": {
                kind: {"schema": {"$ref": references[schema]} if isinstance(schema, type) else dict(schema)}
                for kind, schema in one.body.content.items()
            },
        }
    if one.public:
        told["security"] = []
    return told


def _describe_path(one: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name][1],
            "schema": {"type": "string", "pattern": PATH_PARAMETERS[name][0]},
        }
        for name in re.findall(r"\{(\w+)\}", one.path)
    ]


def _describe_query(one: Operation) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    schema = one.query.model_json_schema(mode="validation", ref_template=_PLACE)
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": described.pop("description", ""),
            "schema": _drop_null(described),
        }
        for name, described in schema["properties"].items()
    ]


def _drop_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: its value is never null."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:
        schema = {**schema, **kinds[0]}
        del schema["anyOf"]
    return {name: value for name, value in schema.items() if name != "title" and value is not None}


def _describe_headers(one: Operation) -> list[dict[str, Any]]:
    found = [
        {
            "name": each.name,
            "in": "header",
            "required": False,
            "description": each.description,
            "schema": {"type": "string", "pattern": each.pattern},
            "example": each.example,
        }
        for each in one.headers
    ]
    if one.method == "GET" and not one.is_stream:
        text = "The ETag of an earlier answer: if nothing has changed, the answer is 304."
        found.append(
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": text,
                "schema": {"type": "string"},
            }
        )
    return found


def _describe_answers(one: Operation, references: Mapping[type[BaseModel], str]) -> dict[str, Any]:
    told = {str(each.status): _describe_answer(each, one, references) for each in one.answers}
    if one.method == "GET" and not one.is_stream:
        told["304"] = {"description": "Nothing has changed"}
    for status in list_problem_statuses(one):
        model = one.error_model if one.error_model is not None else ProblemDetails
        kinds = {JSON: {"schema": {"$ref": references[model]}}} if one.error_model is not None else {}
        kinds[PROBLEM_TYPE] = {"schema": {"$ref": references[ProblemDetails]}}
        told[str(status)] = {
            "description": _TEXTS.get(status, HTTPStatus(status).phrase),
            "headers": _describe_problem_headers(status),
            "content": kinds,
        }
    return told


def list_problem_statuses(one: Operation) -> list[int]:
    """Return the statuses of the problems that an operation may answer."""
    found = {*_ALWAYS, *one.problems}
    if not one.public or one.error_model is not None:
        found |= {*_WITH_CREDENTIALS}
    if one.body is not None:
        found |= {*_WITH_BODY}
    return sorted(found)


def _describe_problem_headers(status: int) -> dict[str, Any]:
    if status not in (429, 503):
        return {}
    return {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def _describe_answer(
    each: Answer, one: Operation, references: Mapping[type[BaseModel], str]
) -> dict[str, Any]:
    schema: dict[str, Any] = {} if each.model is None else {"$ref": references[each.model]}
    told: dict[str, Any] = {"description": each.description}
    if each.status != HTTPStatus.NO_CONTENT:
        told["content"] = {each.media_type: {"schema": schema} if schema else {}}
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in each.headers.items()
    }
    if one.method == "GET" and not one.is_stream:
        headers["ETag"] = {"description": "The version of this answer.", "schema": {"type": "string"}}
    if headers:
        told["headers"] = headers
    return told
