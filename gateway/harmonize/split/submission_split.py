"""Splits one submission into a request for each application, with the fate ledger of all its leaves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.errors import MAPPING_MISSING, REQUEST_INVALID, RULE_BROKEN, GatewayError
from gateway.harmonize.carriers.carried_documents import get_carrier_format, list_uncarried_values
from gateway.harmonize.language import DocumentMapping, MappingBundle, find_sharing_applications
from gateway.harmonize.schemas import get_request_schema
from gateway.harmonize.split.check_evaluation import evaluate_checks
from gateway.harmonize.split.evaluation_scope import (
    MAX_DIAGNOSTICS,
    Diagnostic,
    EvaluationTrace,
    RequestTrace,
    Scope,
    ValueOrigin,
)
from gateway.harmonize.split.request_renderer import render_request
from gateway.harmonize.split.request_writer import FateLedger, build_fate_ledger, read_request
from gateway.harmonize.split.required_fields import ProblemPlace, check_common_meanings, check_unique_fields
from gateway.harmonize.split.submission_index import Leaf, SubmissionIndex, index_submission
from gateway.harmonize.split.unique_field_reader import read_field_values
from gateway.wire import (
    SUB,
    PackedElement,
    WrittenElement,
    compile_schema,
    find_violation,
    make_written_element,
    pack_element,
    read_declared_direction,
    release_memory,
)

_CONDITION: Final = re.compile(r"\[[^\]]*\]")
_NAME: Final = re.compile(r"(?<=/)([A-Za-z_])")


def find_value_origins(
    xml: etree._Element, origins: Iterable[ValueOrigin], problems: Sequence[GatewayError]
) -> Iterator[ValueOrigin | None]:
    """Yield for each problem the origin of the value at its place in the request, None without any."""
    problem_paths = {_CONDITION.sub("", problem.location) for problem in problems}
    origins_by_path: dict[str, list[ValueOrigin]] = {}
    for origin in origins:
        bare = _CONDITION.sub("", f"/{origin.target}")
        if bare in problem_paths:
            origins_by_path.setdefault(bare, []).append(origin)
    nodes: dict[str, Mapping[Any, ValueOrigin]] = {}
    for bare, path_origins in origins_by_path.items():
        nodes[bare] = {_find_element(xml, f"/{origin.target}"): origin for origin in reversed(path_origins)}
    for problem in problems:
        element_origins = nodes.get(_CONDITION.sub("", problem.location), {})
        yield element_origins.get(_find_element(xml, problem.location))


def _find_element(xml: etree._Element, path: str) -> etree._Element | None:
    """Return the element of a path, or that of its attribute."""
    element = path.partition("/@")[0]
    steps = _NAME.sub(r"d:\1", element)
    try:
        selected: Any = xml.xpath(steps, namespaces={"d": str(etree.QName(xml).namespace)})
    except etree.XPathError:  # a mapping may fix an attribute to what no XPath can quote
        return None
    return next((node for node in selected if isinstance(node, etree._Element)), None)


_SUB: Final = f"{{{SUB}}}"
#: The number of goods items from which a request is a long one.
_LONG: Final = 100
_DIRECTION_NAMES: Final = {"import": "import (수입)", "export": "export (수출)"}


@dataclass(frozen=True, slots=True)
class AgencyRequest:
    """One request, ready to be sent: its XML, and the origin of each value in it.

    Without a ledger the origins are not known, and a long request is held packed.
    """

    organisation: str
    document: str
    application: str
    items: tuple[str, ...]
    laws: tuple[str, ...]
    attachments: tuple[str, ...]
    content: etree._Element | PackedElement = field(repr=False)
    origins: tuple[ValueOrigin, ...] = field(repr=False)

    @property
    def xml(self) -> etree._Element:
        """Return the root of the request; the caller of a long one gets a tree of its own."""
        if isinstance(self.content, PackedElement):
            return read_request(self.content.unpack().octets)
        return self.content

    @property
    def written_element(self) -> WrittenElement:
        """Return the request as its octets; a long one without a tree."""
        return (
            self.content.unpack()
            if isinstance(self.content, PackedElement)
            else make_written_element(self.content)
        )


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The result of a split: the requests, the fate ledger, and the problems of the submission."""

    requests: tuple[AgencyRequest, ...]
    ledger: FateLedger
    problems: tuple[Diagnostic, ...]
    bundle: str
    submission_index: SubmissionIndex = field(repr=False)

    @property
    def unaccounted_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves without a fate for some document; a correct mapping leaves none."""
        return self.ledger.unaccounted_leaves


def split_submission(
    root: etree._Element, bundle: MappingBundle, hub_values: Mapping[str, Mapping[str, str]]
) -> SplitResult:
    """Split the submission `root`; `hub_values` gives the hub's own values by application id.

    A problem of the submission is listed with its pointer, not raised; the application
    concerned gets no request, and its leaves still have their fates.  Raise DOCUMENT_INVALID (GW402)
    for a root that is no submission, GW504 for a request that is invalid under its own schema.
    """
    written = _write_requests(index_submission(root), bundle, hub_values, EvaluationTrace)
    documents = [bundle.documents[name] for name in written.traces]
    accounts = build_fate_ledger(written.submission_index, documents, written.traces, written.unmapped)
    return SplitResult(written.requests, accounts, written.problems, bundle.digest, written.submission_index)


@dataclass(frozen=True, slots=True)
class WrittenRequests:
    """The requests of a submission, and its problems; the same as in a split, without the ledger."""

    requests: tuple[AgencyRequest, ...]
    problems: tuple[Diagnostic, ...]
    submission_index: SubmissionIndex = field(repr=False)
    traces: Mapping[str, EvaluationTrace] = field(repr=False)
    unmapped: tuple[str, ...] = ()


def write_requests(
    submission_index: SubmissionIndex,
    bundle: MappingBundle,
    hub_values: Mapping[str, Mapping[str, str]],
    *,
    discards_fields: bool = False,
) -> WrittenRequests:
    """Return the requests and problems of `split_submission` without the ledger, in less time.

    `submission_index` is the index of the submission. Where it does not keep the unique fields, long ones are
    in the tree only while their application is written; with `discards_fields` they are not put back at the
    end. Raises GW504 as `split_submission` does.
    """
    try:
        return _write_requests(submission_index, bundle, hub_values, RequestTrace)
    finally:
        if not discards_fields:
            submission_index.stowed.put_all_back()


def _write_requests(
    submission_index: SubmissionIndex,
    bundle: MappingBundle,
    hub_values: Mapping[str, Mapping[str, str]],
    make_trace: type[EvaluationTrace],
) -> WrittenRequests:
    """Write the request of every application; `make_trace` makes the trace of each document.

    Applications that share answers come first: their fields have to be in the tree together.
    """
    function = (submission_index.root.findtext(f"{_SUB}Function") or "").strip() or "9"
    names = {str(application.get("document", "")): None for application in submission_index.applications}
    mapped = [document for document in map(bundle.documents.get, names) if document is not None]
    traces = {document.id: make_trace(document.id, document.organisation) for document in mapped}
    unmapped = tuple(name for name in names if name not in traces)
    sharing, others = _order_applications(submission_index, bundle)
    requests: dict[int, AgencyRequest] = {}

    def write_application(position: int) -> _RequestDraft | None:
        """Write the request of the application at `position`, while its long fields are in the tree."""
        application = submission_index.applications[position]
        document = bundle.documents[str(application.get("document", ""))]
        application_values = {"function": function, **hub_values.get(str(application.get("id", "")), {})}
        trace = traces[document.id]
        if not submission_index.stowed.are_long:
            return _write_request(submission_index, bundle, document, trace, application, application_values)
        with submission_index.stowed.put_back([position]):
            return _write_request(submission_index, bundle, document, trace, application, application_values)

    def build_request(position: int, draft: _RequestDraft | None) -> None:
        if draft is not None:
            document = bundle.documents[str(submission_index.applications[position].get("document", ""))]
            is_short = traces[document.id].keeps_fates
            requests[position] = _build_request(bundle, document, draft, is_short=is_short)

    with submission_index.stowed.put_back(sharing):
        # The drafts become requests after this block, when the fields (whose trees are as large) are
        # removed from the tree again.
        drafts = [(position, write_application(position)) for position in sharing]
        if sharing:
            # The shared answers would keep their trees in memory.
            submission_index.shared_answers.clear()
    while drafts:
        build_request(*drafts.pop())
    for position in others:
        build_request(position, write_application(position))
    troubles = (trouble for trace in traces.values() for trouble in trace.diagnostics)
    problems = (*islice(_list_unmapped_applications(submission_index, traces), MAX_DIAGNOSTICS), *troubles)
    written = tuple(requests[position] for position in sorted(requests))
    return WrittenRequests(written, problems, submission_index, traces, unmapped)


def _list_unmapped_applications(
    submission_index: SubmissionIndex, mapped_documents: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield a problem for each application of a document that no mapping knows."""
    for application in submission_index.applications:
        name, identity = str(application.get("document", "")), str(application.get("id", ""))
        if name not in mapped_documents:
            detail = f"no mapping for the document {name[:70]!r}"
            yield Diagnostic(
                MAPPING_MISSING, detail, submission_index.get_pointer(application), name, identity
            )


def describe_opposite_direction(document: DocumentMapping, declared_direction: str | None) -> str | None:
    """Return why a declaration of this direction has no application of a document; None where it may.

    A declaration whose type says neither import nor export (None) may have applications of every document.
    """
    if declared_direction is None or declared_direction == document.direction:
        return None
    served, declared = _DIRECTION_NAMES[document.direction], _DIRECTION_NAMES[declared_direction]
    return f"{document.id} is for {served}, and the declaration is for {declared}"


def _order_applications(
    submission_index: SubmissionIndex, bundle: MappingBundle
) -> tuple[Collection[int], Collection[int]]:
    """Return the positions of the applications to write first, and of the others; each has a mapping.

    Those that may share answers come first where fields are not kept: the fields of all of them are in the
    tree until the last one is written, and none of theirs afterwards. All applications of a document share,
    or none does, so the order within a document is that of the submission.
    """
    sharing = (
        {} if submission_index.keeps_fields else find_sharing_applications(submission_index, bundle.documents)
    )
    names = [str(application.get("document", "")) for application in submission_index.applications]
    mapped = [position for position, name in enumerate(names) if name in bundle.documents]
    return sharing, [position for position in mapped if position not in sharing]


class _RequestDraft(NamedTuple):
    """A written request; it is read and validated after the fields, which are as large, left the tree.

    One that its agency gets in another form than XML was read before, and has its `tree`.
    """

    application: str
    items: tuple[str, ...]
    attachments: tuple[str, ...]
    octets: bytes
    origins: tuple[ValueOrigin, ...]
    tree: etree._Element | None = None


def _build_request(
    bundle: MappingBundle, document: DocumentMapping, draft: _RequestDraft, *, is_short: bool
) -> AgencyRequest:
    """Return a request that is valid under its schema, as a tree where it is short."""
    xml = draft.tree
    if xml is None:
        xml = _read_valid_request(bundle, document, draft.application, draft.octets)
    held: etree._Element | PackedElement = xml
    if not is_short and len(draft.items) >= _LONG:
        held = pack_element(xml)
        # The next request needs memory blocks of other sizes than this tree.
        del xml
        release_memory()
    identity = document.organisation, document.id, draft.application
    return AgencyRequest(*identity, draft.items, document.laws, draft.attachments, held, draft.origins)


def _write_request(
    submission_index: SubmissionIndex,
    bundle: MappingBundle,
    document: DocumentMapping,
    trace: EvaluationTrace,
    application: etree._Element,
    hub_values: Mapping[str, str],
) -> _RequestDraft | None:
    """Return the request of `application` as octets, None where it has problems."""
    identity = str(application.get("id", ""))
    numbers = submission_index.list_item_numbers(application)
    opposite = describe_opposite_direction(document, read_declared_direction(submission_index.declaration))
    if opposite is not None:
        pointer = submission_index.get_pointer(application)
        trace.report_problem(RULE_BROKEN, opposite, pointer, identity, document.mark)
    answers = read_field_values(submission_index, document, bundle, trace, application)
    scope = Scope(submission_index, bundle.dictionary, answers, trace, identity, numbers, hub_values)
    for number in numbers:
        if number not in submission_index.items or number in submission_index.repeated_items:
            finding = "does not have" if number not in submission_index.items else "has more than once"
            detail = f"the application names goods item {number[:20]!r}, which the declaration {finding}"
            pointer = f"{submission_index.get_pointer(application)}/Items"
            trace.report_problem(RULE_BROKEN, detail, pointer, identity, document.mark)
    if not numbers:
        detail, pointer = "the application names no goods item", submission_index.get_pointer(application)
        trace.report_problem(RULE_BROKEN, detail, pointer, identity, document.mark)
    check_common_meanings(scope, document)
    problem_place = ProblemPlace(application, f"/{document.id}")
    check_unique_fields(scope, document, problem_place)
    evaluate_checks(scope, document, problem_place)
    octets, origins = render_request(document, scope)
    is_carried_otherwise = get_carrier_format(bundle, document.organisation).syntax != "xml"
    if identity in trace.failed_applications:
        if is_carried_otherwise:
            # Values that no record can carry are reported in the same answer.
            _check_carrier(bundle, document, scope, read_request(octets), origins, is_complete=False)
        return None
    xml = None
    if is_carried_otherwise:
        xml = _read_valid_request(bundle, document, identity, octets)
        if not _check_carrier(bundle, document, scope, xml, origins):
            return None
    cids = _list_named_attachments(submission_index, application, origins)
    return _RequestDraft(identity, numbers, cids, octets, origins if trace.keeps_fates else (), xml)


def _check_carrier(
    bundle: MappingBundle,
    document: DocumentMapping,
    scope: Scope,
    xml: etree._Element,
    origins: Sequence[ValueOrigin],
    *,
    is_complete: bool = True,
) -> bool:
    """Return whether the carrier format of the agency can hold a request; report each value that it cannot.

    Without `is_complete` (values of the request are missing or wrong), each value is checked alone.
    """
    problems = list_uncarried_values(bundle, document, xml, is_complete=is_complete)
    if not problems:
        return True
    if not scope.trace.keeps_fates:
        trace = EvaluationTrace(document.id, document.organisation)
        scope_parts = (
            scope.submission_index,
            scope.dictionary,
            scope.answers,
            trace,
            scope.application,
            scope.item_numbers,
            scope.hub_values,
        )
        _, origins = render_request(document, Scope(*scope_parts))
    application = next(
        candidate
        for candidate in scope.submission_index.applications
        if candidate.get("id") == scope.application
    )
    value_origins = find_value_origins(xml, origins, problems)
    for problem, origin in zip(problems, value_origins, strict=True):
        leaves = origin.leaves if origin is not None else ()
        pointer = (
            scope.submission_index.get_leaf_pointer(leaves[0])
            if leaves
            else scope.submission_index.get_pointer(application)
        )
        detail = f"{problem.location.rpartition('/')[2]}: {problem.detail}"
        mark = origin.rule if origin is not None else document.mark
        scope.trace.report_problem(problem.problem, detail, pointer, scope.application, mark)
    return False


def _list_named_attachments(
    submission_index: SubmissionIndex, application: etree._Element, origins: Iterable[ValueOrigin]
) -> tuple[str, ...]:
    """Return the content ids of the attachments that the request names, in the order of the application."""
    cids = [str(a.get("cid", "")) for a in application.iterchildren(f"{_SUB}Attachment")]
    if not cids:
        return ()
    leaves = [leaf for origin in origins if origin.source.endswith("/@cid") for leaf in origin.leaves]
    named_cids = {submission_index.get_attribute(leaf, "cid") for leaf in leaves}
    return tuple(cid for cid in cids if cid in named_cids)


def _read_valid_request(
    bundle: MappingBundle, document: DocumentMapping, application: str, octets: bytes
) -> etree._Element:
    """Return the tree of a request, written for an application; raise GW504 where it is invalid."""
    xml = read_request(octets)
    _validate_request(bundle, document, application, xml, len(octets))
    return xml


def _validate_request(
    bundle: MappingBundle, document: DocumentMapping, application: str, xml: etree._Element, octets: int
) -> None:
    """Raise GW504 for a request that is invalid under its own schema: the mapping is wrong then.

    `octets` is the length of the request.
    """
    reason = find_violation(_get_request_schema(bundle, document), xml, octet_count=octets)
    if reason is not None:
        raise GatewayError(
            REQUEST_INVALID,
            f"{reason.message[:300]} "
            f"(application {application[:40]}: {document.id} of {document.organisation})",
            reason.path or str(document.mark),
        )


def _get_request_schema(bundle: MappingBundle, document: DocumentMapping) -> Any:
    return bundle.get_compiled(
        f"request:{document.id}", lambda: compile_schema(get_request_schema(bundle, document))
    )


def compile_request_schemas(bundle: MappingBundle) -> None:
    """Compile the request schema of every document, so that the first split does not wait for it."""
    for document in bundle.documents.values():
        _get_request_schema(bundle, document)


def make_placeholder_numbers(root: etree._Element) -> dict[str, dict[str, str]]:
    """Return hub values for a trial split: application numbers from 1."""
    numbers = {}
    for number, application in enumerate(root.findall(f"{_SUB}Application"), 1):
        numbers[str(application.get("id", ""))] = {"application_number": f"T{number:012d}"}
    return numbers
