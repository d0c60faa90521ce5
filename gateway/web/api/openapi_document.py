"""Writes the OpenAPI 3.1 document from the declarations of the operations: nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.web.api.api_operations import BASE_PATH, JSON, PROBLEM_TYPE, Answer, Operation, ProblemDetails

#: Octets, in the form that generators of clients read as a file.
_BINARY: Final[Mapping[str, str]] = {"type": "string", "format": "binary"}
_SCHEMA_REFERENCE: Final = "#/components/schemas/{model}"
#: The parameters of paths by their names: the pattern of the values, and the description.
PATH_PARAMETERS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("^[A-Za-z0-9-]{1,40}$", "The number of a case."),
    "id": ("^[!-;=?-~]{1,255}$", "The id of a message."),
    "document": ("^[A-Za-z0-9_-]{1,60}$", "The id of a document."),
    "problem": ("^GW[0-9]{3}$", "The id of a kind of problem."),
    "webhook": ("^[A-Za-z0-9_-]{1,40}$", "The id of a webhook."),
}
#: The statuses of the problems that every operation may answer.
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
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe_operation(
            operation, references
        )
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
    for operation in table:
        answers += [each.model for each in operation.answers if each.model is not None]
        answers += [operation.error_model] if operation.error_model is not None else []
        for kind in operation.body.content.values() if operation.body else ():
            if isinstance(kind, type):
                questions.append(kind)
    model_modes: list[Any] = [(model, "serialization") for model in dict.fromkeys(answers)]
    model_modes += [(model, "validation") for model in dict.fromkeys(questions)]
    keys, definitions = models_json_schema(model_modes, ref_template=_SCHEMA_REFERENCE)
    return definitions["$defs"], {model: str(keys[model, mode]["$ref"]) for model, mode in model_modes}


def _describe_operation(operation: Operation, references: Mapping[type[BaseModel], str]) -> dict[str, Any]:
    """Return the OpenAPI Operation Object; `references` gives the `$ref` of each model's schema."""
    operation_object: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _describe_answers(operation, references),
    }
    parameters = [*_describe_path(operation), *_describe_query(operation), *_describe_headers(operation)]
    if parameters:
        operation_object["parameters"] = parameters
    if operation.description:
        operation_object["description"] = operation.description
    if operation.body is not None:
        operation_object["requestBody"] = {
            "required": True,
            "description": operation.body.description,
            "content": {
                kind: {"schema": {"$ref": references[schema]} if isinstance(schema, type) else dict(schema)}
                for kind, schema in operation.body.content.items()
            },
        }
    if operation.public:
        operation_object["security"] = []
    return operation_object


def _describe_path(operation: Operation) -> list[dict[str, Any]]:
    """Return the OpenAPI Parameter Objects of the names in the path."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name][1],
            "schema": {"type": "string", "pattern": PATH_PARAMETERS[name][0]},
        }
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _describe_query(operation: Operation) -> list[dict[str, Any]]:
    """Return the OpenAPI Parameter Objects of the query's model."""
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(mode="validation", ref_template=_SCHEMA_REFERENCE)
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
    kinds = [alternative for alternative in schema.get("anyOf", ()) if alternative != {"type": "null"}]
    if len(kinds) == 1:
        schema = {**schema, **kinds[0]}
        del schema["anyOf"]
    return {name: value for name, value in schema.items() if name != "title" and value is not None}


def _describe_headers(operation: Operation) -> list[dict[str, Any]]:
    """Return the OpenAPI Parameter Objects of the headers, including If-None-Match for a GET."""
    parameters = [
        {
            "name": each.name,
            "in": "header",
            "required": False,
            "description": each.description,
            "schema": {"type": "string", "pattern": each.pattern},
            "example": each.example,
        }
        for each in operation.headers
    ]
    if operation.method == "GET" and not operation.is_stream:
        text = "The ETag of an earlier answer: if nothing has changed, the answer is 304."
        parameters.append(
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": text,
                "schema": {"type": "string"},
            }
        )
    return parameters


def _describe_answers(operation: Operation, references: Mapping[type[BaseModel], str]) -> dict[str, Any]:
    """Return the OpenAPI Responses Object by status: answers, 304, and each problem that can occur."""
    responses = {
        str(each.status): _describe_answer(each, operation, references) for each in operation.answers
    }
    if operation.method == "GET" and not operation.is_stream:
        responses["304"] = {"description": "Nothing has changed"}
    for status in list_problem_statuses(operation):
        model = operation.error_model if operation.error_model is not None else ProblemDetails
        kinds = {JSON: {"schema": {"$ref": references[model]}}} if operation.error_model is not None else {}
        kinds[PROBLEM_TYPE] = {"schema": {"$ref": references[ProblemDetails]}}
        responses[str(status)] = {
            "description": _TEXTS.get(status, HTTPStatus(status).phrase),
            "headers": _describe_problem_headers(status),
            "content": kinds,
        }
    return responses


def list_problem_statuses(operation: Operation) -> list[int]:
    """Return the statuses of the problems that an operation may answer."""
    statuses = {*_ALWAYS, *operation.problems}
    if not operation.public or operation.error_model is not None:
        statuses |= {*_WITH_CREDENTIALS}
    if operation.body is not None:
        statuses |= {*_WITH_BODY}
    return sorted(statuses)


def _describe_problem_headers(status: int) -> dict[str, Any]:
    if status not in (429, 503):
        return {}
    return {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def _describe_content(answer: Answer, references: Mapping[type[BaseModel], str]) -> dict[str, Any]:
    """Return the schema of an answer's body: of its model, else of text or octets.

    It is never left out, because a generated client returns no content for an answer without a schema.
    """
    if answer.model is not None:
        return {"$ref": references[answer.model]}
    return {"type": "string"} if answer.media_type.startswith("text/") else dict(_BINARY)


def _describe_answer(
    answer: Answer, operation: Operation, references: Mapping[type[BaseModel], str]
) -> dict[str, Any]:
    """Return the OpenAPI Response Object of one declared answer."""
    response: dict[str, Any] = {"description": answer.description}
    if answer.status != HTTPStatus.NO_CONTENT:
        response["content"] = {answer.media_type: {"schema": _describe_content(answer, references)}}
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
    }
    if operation.method == "GET" and not operation.is_stream:
        headers["ETag"] = {"description": "The version of this answer.", "schema": {"type": "string"}}
    if headers:
        response["headers"] = headers
    return response
