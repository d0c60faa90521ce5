"""The bases of the models of requests and answers; a model describes itself in the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["AnswerModel", "QueryModel"]


class QueryModel(BaseModel):
    """The query parameters, or the body, of an operation: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnswerModel(BaseModel):
    """A JSON answer, or a part of one; a member without a value is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)
