"""The operations on reference data: documents and their forms, rules, problems, status, certificates."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date as Day  # noqa: N812 - a field has the name
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import Field

from gateway import __version__
from gateway.errors import PROBLEMS, REQUEST_MALFORMED, GatewayError, Problem
from gateway.store import StatisticsFilter, daily_statistics, parties, read_transaction
from gateway.web.api.api_operations import (
    Answer,
    AnswerModel,
    ApiAnswer,
    ApiCall,
    OperationSection,
    QueryModel,
    find_remedy,
    make_not_found_error,
    read_model,
)
from gateway.web.problem_status import find_status
from gateway.wire import find_day

REFERENCE: Final = OperationSection("reference")
REGISTER: Final = OperationSection("register")
STATISTICS: Final = OperationSection("statistics")

#: Codes of a longer list are not repeated in a form; its name is.
_MOST_CODES: Final = 500


class Document(AnswerModel):
    """One document of an agency."""

    id: str
    organisation: str
    title_ko: str
    title_en: str
    direction: str = Field(description="import or export.")
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


@REFERENCE.declare(
    "GET",
    "/documents",
    "listDocuments",
    "List the documents of the agencies",
    Answer(200, "The documents", DocumentList),
    public=True,
)
def _list_documents(call: ApiCall) -> ApiAnswer:
    """Answer the agency documents of the mappings in force, in the order of their ids."""
    bundle = call.services.hub.rules.bundle
    described = [
        read_model(Document, document, title_ko=document.ko, title_en=document.en, fee=document.fee.due)
        for document in bundle.documents.values()
    ]
    return ApiAnswer(
        DocumentList(bundle=bundle.digest, documents=sorted(described, key=lambda document: document.id))
    )


@REFERENCE.declare(
    "GET",
    "/documents/{document}/form",
    "getForm",
    "Get the fields of a document",
    Answer(200, "The form", Form),
    problems=(404,),
    public=True,
)
def _get_form(call: ApiCall) -> ApiAnswer:
    """Answer the fields of one document: those that documents have in common, and its own; 404 if unknown."""
    document = call.services.hub.rules.bundle.documents.get(call.path["document"])
    if document is None:
        raise make_not_found_error("such document")
    return ApiAnswer(
        Form(
            document=document.id,
            namespace=document.namespace,
            common=[_describe_need(need) for need in document.needs],
            unique=_describe_fields(document.asks),
        )
    )


def _describe_need(need: Any) -> FormField:
    """Return the form field for a common meaning that a document needs."""
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
    """Return the form fields for a document's own fields, including the fields of groups."""
    return [
        FormField(
            name=field.name,
            label_ko=field.ko,
            label_en=field.en,
            type=field.type,
            per=field.per,
            required=_describe_requirement(field.requirement),
            repeat=field.repeat.high if field.many else None,
            units=list(field.units),
            media_types=list(field.mime),
            fields=_describe_fields(field.fields),
            **_describe_shape(field.shape),
        )
        for field in fields
    ]


def _describe_requirement(rule: Any) -> str:
    if rule.when is not None:
        return "sometimes"
    return "always" if rule.mandatory else "never"


def _describe_shape(shape: Any) -> dict[str, Any]:
    """Return the length, pattern and codes of values; no codes if there are more than `_MOST_CODES`."""
    codes = shape.codes or ()
    return {
        "longest": shape.max_length,
        "pattern": shape.pattern,
        "code_list": shape.list_name or None if codes else None,
        "codes": list(codes) if len(codes) <= _MOST_CODES else [],
    }


@REFERENCE.declare(
    "GET",
    "/rules",
    "getRules",
    "Get the rules on declarations, and the status codes of decisions",
    Answer(200, "The rules", Rules),
    public=True,
)
def _get_rules(call: ApiCall) -> ApiAnswer:
    """Answer the rules for declarations and the status codes of the mappings in force."""
    rules = call.services.hub.rules
    declaration = [
        read_model(DeclarationRuleView, rule, path=rule.meaning.path, text_ko=rule.ko, text_en=rule.en)
        for rule in rules.bundle.rules
    ]
    codes = [
        read_model(StatusCodeView, status_code, event=status_code.event or None)
        for status_code in rules.status_codes.values()
    ]
    return ApiAnswer(Rules(bundle=rules.bundle.digest, declaration=declaration, status_codes=codes))


def _describe_kind(kind: Problem) -> ProblemKind:
    return read_model(ProblemKind, kind, remedy=find_remedy(kind), status=find_status(GatewayError(kind)))


@REFERENCE.declare(
    "GET",
    "/problems",
    "listProblems",
    "List every kind of problem",
    Answer(200, "The problems", ProblemList),
    public=True,
)
def _list_problems(call: ApiCall) -> ApiAnswer:
    del call
    return ApiAnswer(ProblemList(problems=[_describe_kind(kind) for _, kind in sorted(PROBLEMS.items())]))


@REFERENCE.declare(
    "GET",
    "/problems/{problem}",
    "getProblem",
    "Get one kind of problem: the type of problem details leads here",
    Answer(200, "The problem", ProblemKind),
    problems=(404,),
    public=True,
)
def _get_problem(call: ApiCall) -> ApiAnswer:
    kind = PROBLEMS.get(call.path["problem"])
    if kind is None:
        raise make_not_found_error("such problem")
    return ApiAnswer(_describe_kind(kind))


@REFERENCE.declare(
    "GET",
    "/status",
    "getStatus",
    "Get whether submissions are accepted now",
    Answer(200, "The state", ServiceStatus),
    public=True,
)
def _get_status(call: ApiCall) -> ApiAnswer:
    """Answer whether the gateway is ready; if it is not, with the problem. The status is always 200."""
    services = call.services
    problem = services.readiness.find_verdict().problem
    answer = ServiceStatus(
        ready=problem is None,
        version=__version__,
        time=services.clock(),
        problem=problem.problem.title if problem else None,
        problem_id=problem.problem.id if problem else None,
    )
    return ApiAnswer(answer, headers={"Cache-Control": "no-store"})


class RegisteredCertificate(AnswerModel):
    """A certificate that the caller may use."""

    sha256: str = Field(description="SHA-256 of its DER octets; the `kid` of an assertion by its key.")
    use: str = Field(json_schema_extra={"enum": ["signing", "encryption", "tls"]})
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    valid_from: datetime | None = Field(None, description="From when the operator accepts it, if later.")
    valid_until: datetime | None = Field(None, description="Until when the operator accepts it, if earlier.")


class CertificateList(AnswerModel):
    """The certificates of the caller."""

    certificates: list[RegisteredCertificate]


@REGISTER.declare(
    "GET",
    "/certificates",
    "listCertificates",
    "List the certificates that are registered for the caller, the one with the latest end first",
    Answer(200, "The certificates", CertificateList),
)
def _list_certificates(call: ApiCall) -> ApiAnswer:
    with read_transaction(call.services.engine) as conn:
        rows = parties.list_certificates(conn, call.party)
    certificates = [read_model(RegisteredCertificate, row) for row in rows]
    return ApiAnswer(CertificateList(certificates=certificates))


_MEASURES: Final = (
    *("case_opened", "case_outcome", "case_first_right", "case_state", "case_problem"),
    *("request_opened", "request_outcome", "request_asked", "request_state", "message_refused"),
)
_DIMENSIONS: Final = ("day", "agency", "document", "state", "outcome", "problem")
_PERIOD: Final = timedelta(days=30)


class StatisticsQuery(QueryModel):
    """The measure, the dimensions and the days of the wanted sums."""

    measure: str = Field(pattern=f"^({'|'.join(_MEASURES)})$", description="What is counted.")
    by: str = Field(
        "day",
        pattern=f"^({'|'.join(_DIMENSIONS)})(,({'|'.join(_DIMENSIONS)})){{0,5}}$",
        description="The dimensions of a row, parted by commas.",
    )
    since: Day | None = Field(None, description="First day; without it 30 days before the last one.")
    until: Day | None = Field(None, description="Last day; without it today. At most 366 days are summed.")


class StatisticsRow(AnswerModel):
    """One sum."""

    day: Day | None = None
    agency: str | None = None
    document: str | None = None
    state: str | None = None
    outcome: str | None = None
    problem: str | None = None
    number: int
    seconds: int = Field(description="The sum of the durations, where the measure has any.")


class Statistics(AnswerModel):
    """Sums of the caller's own cases."""

    measure: str
    since: Day
    until: Day
    counted_until: datetime | None = Field(None, description="Up to when everything is counted.")
    rows: list[StatisticsRow]


@STATISTICS.declare(
    "GET",
    "/statistics",
    "getStatistics",
    "Get daily sums of the caller's own cases",
    Answer(200, "The sums", Statistics),
    query=StatisticsQuery,
)
def _get_statistics(call: ApiCall) -> ApiAnswer:
    """Answer sums of the party's daily statistics for a measure, grouped by the columns in `by`.

    Without dates, the period is `_PERIOD` up to today. Raises GW110 if it ends before it begins.
    """
    query: StatisticsQuery = call.query
    services = call.services
    names = tuple(dict.fromkeys(query.by.split(",")))
    until = query.until or find_day(services.clock(), services.hub.statistics.zone)
    since = query.since or until - min(_PERIOD, until - Day.min)
    if since > until:
        raise GatewayError(REQUEST_MALFORMED, "the first day is after the last one", "since")
    with read_transaction(services.engine) as conn:
        criteria = StatisticsFilter(query.measure, since, until, call.party)
        rows = daily_statistics.sum_statistics(conn, criteria, names)
        counted = daily_statistics.read_counted_until(conn)
    statistics_rows = [
        StatisticsRow(
            **{name: getattr(row, name) for name in names}, number=row.number, seconds=row.seconds or 0
        )
        for row in rows
    ]
    return ApiAnswer(
        Statistics(
            measure=query.measure,
            since=criteria.first_day,
            until=until,
            counted_until=counted,
            rows=statistics_rows,
        )
    )
