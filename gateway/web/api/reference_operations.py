"""The operations on what holds for everybody: documents and their forms, rules, problems, the state."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from gateway import __version__
from gateway.errors import PROBLEMS, GatewayError, Problem
from gateway.hub import readiness_checks
from gateway.monitor import health
from gateway.web.api.api_operations import Answer, ApiAnswer, ApiCall, Operation, make_not_found_error
from gateway.web.api.model_bases import AnswerModel
from gateway.web.api.problem_answers import find_status

__all__ = ["REFERENCE_OPERATIONS"]

#: Codes of a longer list are not repeated in a form; its name is.
_MOST_CODES: Final = 500


class Document(AnswerModel):
    """One document of an agency."""

    id: str
    organisation: str
    title_ko: str
    title_en: str
    direction: str = Field(description="import, export or both.")
    laws: list[str] = Field(description="The laws under which each item is decided.")
    fee: str = Field(description="When a fee is due: none, before_forwarding or before_result.")


class DocumentList(AnswerModel):
    """The documents that can be applied for."""

    bundle: str = Field(description="SHA-256 of the mappings in force.")
    documents: list[Document]


class FormField(AnswerModel):
    """One field of a document, or a group of them."""

    name: str
    label_ko: str
    label_en: str
    type: str
    per: str = Field(description="What it is given once for: header, item or group.")
    required: str = Field(json_schema_extra={"enum": ["always", "sometimes", "never"]})
    path: str | None = Field(None, description="The path in the WCO declaration, for a common field.")
    wco_id: str | None = None
    repeat: int | None = Field(None, description="How often it may be given, where more than once.")
    longest: int | None = Field(None, description="Most characters.")
    pattern: str | None = None
    code_list: str | None = None
    codes: list[str] = Field([], description="Its codes, where they are not too many.")
    units: list[str] = Field([], description="Units or currencies.")
    media_types: list[str] = Field([], description="Of an attachment.")
    fields: list[FormField] = Field([], description="The members of a group.")


class Form(AnswerModel):
    """The fields of a document: those of the declaration that it reads, and those that it alone asks."""

    document: str
    namespace: str = Field(description="The namespace of its unique fields.")
    common: list[FormField]
    unique: list[FormField]


class DeclarationRuleView(AnswerModel):
    """A rule that every declaration is checked by."""

    id: str
    kind: str
    severity: str = Field(description="An error refuses the submission, a warning does not.")
    path: str
    text_ko: str
    text_en: str


class StatusCodeView(AnswerModel):
    """A status code that an agency, customs or the hub may set."""

    code: str
    name: str
    set_by: str
    outcome: str
    event: str | None = None


class Rules(AnswerModel):
    """The rules in force: those on declarations, and the status codes of decisions."""

    bundle: str
    declaration: list[DeclarationRuleView]
    status_codes: list[StatusCodeView]


class ProblemKind(AnswerModel):
    """One kind of problem."""

    id: str = Field(pattern="^GW[0-9]{3}$")
    title: str
    meaning: str
    cause: str
    remedy: str
    retry: bool = Field(description="Whether the same request may succeed later.")
    status: int = Field(description="The HTTP status with which the API answers it.")


class ProblemList(AnswerModel):
    """Every kind of problem."""

    problems: list[ProblemKind]


class ServiceStatus(AnswerModel):
    """Whether submissions are accepted now."""

    ready: bool
    version: str
    time: datetime
    problem: str | None = Field(None, description="Why it is not ready.")
    problem_id: str | None = Field(None, pattern="^GW[0-9]{3}$")


def _list_documents(call: ApiCall) -> ApiAnswer:
    bundle = call.services.hub.rules.bundle
    found = [
        Document(
            id=one.id,
            organisation=one.organisation,
            title_ko=one.ko,
            title_en=one.en,
            direction=one.direction,
            laws=list(one.laws),
            fee=one.fee.due,
        )
        for one in bundle.documents.values()
    ]
    return ApiAnswer(DocumentList(bundle=bundle.digest, documents=sorted(found, key=lambda one: one.id)))


def _get_form(call: ApiCall) -> ApiAnswer:
    document = call.services.hub.rules.bundle.documents.get(call.path["document"])
    if document is None:
        raise make_not_found_error("such document")
    return ApiAnswer(
        Form(
            document=document.id,
            namespace=document.namespace,
            common=[_describe_need(one) for one in document.needs],
            unique=_describe_fields(document.asks),
        )
    )


def _describe_need(need: Any) -> FormField:
    meaning = need.meaning
    return FormField(
        name=meaning.name,
        label_ko=meaning.ko,
        label_en=meaning.en,
        type=meaning.type,
        per=meaning.per,
        required=_describe_requirement(need),
        path=meaning.path,
        wco_id=meaning.wco or None,
        **_describe_shape(meaning.shape),
    )


def _describe_fields(fields: Iterable[Any]) -> list[FormField]:
    return [
        FormField(
            name=one.name,
            label_ko=one.ko,
            label_en=one.en,
            type=one.type,
            per=one.per,
            required=_describe_requirement(one.requirement),
            repeat=one.repeat[1] if one.many else None,
            units=list(one.units),
            media_types=list(one.mime),
            fields=_describe_fields(one.fields),
            **_describe_shape(one.shape),
        )
        for one in fields
    ]


def _describe_requirement(rule: Any) -> str:
    if rule.when is not None:
        return "sometimes"
    return "always" if rule.mandatory else "never"


def _describe_shape(shape: Any) -> dict[str, Any]:
    codes = shape.codes or ()
    return {
        "longest": shape.longest,
        "pattern": shape.pattern,
        "code_list": shape.list_name or None if codes else None,
        "codes": list(codes) if len(codes) <= _MOST_CODES else [],
    }


def _get_rules(call: ApiCall) -> ApiAnswer:
    rules = call.services.hub.rules
    declaration = [
        DeclarationRuleView(
            id=one.id,
            kind=one.kind,
            severity=one.severity,
            path=one.meaning.path,
            text_ko=one.ko,
            text_en=one.en,
        )
        for one in rules.bundle.rules
    ]
    codes = [
        StatusCodeView(
            code=one.code, name=one.name, set_by=one.set_by, outcome=one.outcome, event=one.event or None
        )
        for one in rules.status_codes.values()
    ]
    return ApiAnswer(Rules(bundle=rules.bundle.digest, declaration=declaration, status_codes=codes))


def _describe_kind(kind: Problem) -> ProblemKind:
    return ProblemKind(
        id=kind.id,
        title=kind.title,
        meaning=kind.meaning,
        cause=kind.cause,
        remedy=kind.remedy,
        retry=kind.retry,
        status=find_status(GatewayError(kind)),
    )


def _list_problems(call: ApiCall) -> ApiAnswer:
    del call
    return ApiAnswer(ProblemList(problems=[_describe_kind(kind) for _, kind in sorted(PROBLEMS.items())]))


def _get_problem(call: ApiCall) -> ApiAnswer:
    kind = PROBLEMS.get(call.path["problem"])
    if kind is None:
        raise make_not_found_error("such problem")
    return ApiAnswer(_describe_kind(kind))


def _get_status(call: ApiCall) -> ApiAnswer:
    services = call.services
    problem = health.find_readiness_problem(services.engine) or readiness_checks.find_unreadiness(
        services.hub
    )
    answer = ServiceStatus(
        ready=problem is None,
        version=__version__,
        time=services.clock(),
        problem=problem.problem.title if problem else None,
        problem_id=problem.problem.id if problem else None,
    )
    return ApiAnswer(answer, headers={"Cache-Control": "no-store"})


REFERENCE_OPERATIONS: Final = (
    Operation(
        id="listDocuments",
        method="GET",
        path="/documents",
        tag="reference",
        summary="List the documents of the agencies",
        handle=_list_documents,
        answers=(Answer(200, "The documents", DocumentList),),
        public=True,
    ),
    Operation(
        id="getForm",
        method="GET",
        path="/documents/{document}/form",
        tag="reference",
        summary="Get the fields of a document",
        handle=_get_form,
        answers=(Answer(200, "The form", Form),),
        problems=(404,),
        public=True,
    ),
    Operation(
        id="getRules",
        method="GET",
        path="/rules",
        tag="reference",
        summary="Get the rules on declarations, and the status codes of decisions",
        handle=_get_rules,
        answers=(Answer(200, "The rules", Rules),),
        public=True,
    ),
    Operation(
        id="listProblems",
        method="GET",
        path="/problems",
        tag="reference",
        summary="List every kind of problem",
        handle=_list_problems,
        answers=(Answer(200, "The problems", ProblemList),),
        public=True,
    ),
    Operation(
        id="getProblem",
        method="GET",
        path="/problems/{problem}",
        tag="reference",
        summary="Get one kind of problem: the type of problem details leads here",
        handle=_get_problem,
        answers=(Answer(200, "The problem", ProblemKind),),
        problems=(404,),
        public=True,
    ),
    Operation(
        id="getStatus",
        method="GET",
        path="/status",
        tag="reference",
        summary="Get whether submissions are accepted now",
        handle=_get_status,
        answers=(Answer(200, "The state", ServiceStatus),),
        public=True,
    ),
)
