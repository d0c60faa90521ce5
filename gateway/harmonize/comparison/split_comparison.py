"""Compares the results of two mapping bundles for one submission: its problems, agencies and requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.readback import read_request
from gateway.harmonize.split import (
    AgencyRequest,
    SubmissionIndex,
    find_broken_rules,
    index_submission,
    make_placeholder_numbers,
    write_requests,
)

#: The text between the parts of a source that has several.
_BETWEEN: Final = " × "


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A value of a request that becomes another one, is new (`before` is None) or gone (`after` is None).

    `path` is its place in the request. `field` is the kind and name of its source, such as
    ``common:importer.name`` or ``ask:drug_class``, `ko` and `en` are the labels of that field.
    """

    path: str
    field: str
    ko: str
    en: str
    before: str | None
    after: str | None

    @property
    def sentence(self) -> str:
        """Return the change in the words of a comparison of mappings, without the document."""
        subject = f"{self.en} ({self.path})" if self.en else self.path
        if self.before is None:
            return f"sends {subject}, {self.after}"
        if self.after is None:
            return f"no longer sends {subject}, {self.before}"
        return f"sends {subject} in another way: {self.before} becomes {self.after}"


@dataclass(frozen=True, slots=True)
class RequestChange:
    """The request of one application that is `added`, `removed` or `changed`.

    A request is removed where its document is gone or a problem keeps it back. `laws` are the law codes
    before and after. A changed request without values has them in another order.
    """

    change: str
    application: str
    document: str
    organisation: str
    laws: tuple[tuple[str, ...], tuple[str, ...]]
    values: tuple[ValueChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ProblemChange:
    """A problem that is `added` or `removed`; `refuses` is False for a warning."""

    change: str
    problem: str
    text: str
    pointer: str
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class SubmissionChange:
    """The changes for one submission; `refused` says whether it is refused before, and after."""

    refused: tuple[bool, bool]
    problems: tuple[ProblemChange, ...] = ()
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    requests: tuple[RequestChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.problems or self.added or self.dropped or self.requests)


@dataclass(frozen=True, slots=True)
class _Problem:
    """A problem that one bundle reports: its id, its text, its place, and whether it refuses."""

    problem: str
    text: str
    pointer: str
    refuses: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one bundle for a submission."""

    bundle: MappingBundle
    problems: tuple[_Problem, ...]
    agencies: tuple[str, ...]
    requests: Mapping[str, AgencyRequest]

    @property
    def is_refused(self) -> bool:
        return any(problem.refuses for problem in self.problems)


def compare_submission(
    root: etree._Element, before: MappingBundle, after: MappingBundle, received: datetime | None
) -> SubmissionChange:
    """Return the changes for the submission `root`, received at a time, from one bundle to another.

    Both bundles read the submission afresh, with the same numbers of the hub.
    """
    facts = index_submission(root)
    old, new = (_apply_bundle(facts, bundle, received) for bundle in (before, after))
    return SubmissionChange(
        (old.is_refused, new.is_refused),
        tuple(_compare_problems(old.problems, new.problems)),
        tuple(organisation for organisation in new.agencies if organisation not in old.agencies),
        tuple(organisation for organisation in old.agencies if organisation not in new.agencies),
        tuple(_compare_requests(old, new)),
    )


def _apply_bundle(
    submission_index: SubmissionIndex, bundle: MappingBundle, received: datetime | None
) -> _Outcome:
    """Return the problems and requests that the mappings `bundle` make of a submission.

    Without `received`, the rules about the day of receipt are left out.
    """
    problems: list[_Problem] = [
        _Problem(finding.problem.id, finding.detail, finding.pointer, finding.is_error)
        for finding in find_broken_rules(submission_index, bundle, received)
    ]
    requests: dict[str, AgencyRequest] = {}
    try:
        written = write_requests(submission_index, bundle, make_placeholder_numbers(submission_index.root))
    except GatewayError as error:
        # The mapping is wrong: a request that it makes is invalid under its own schema.
        problems.append(_Problem(error.problem.id, error.detail, error.location, True))
    else:
        problems += [
            _Problem(problem.problem.id, problem.sentence, problem.pointer, True)
            for problem in written.problems
        ]
        requests = {request.application: request for request in written.requests}
    return _Outcome(bundle, tuple(problems), tuple(_list_agencies(submission_index, bundle)), requests)


def _list_agencies(submission_index: SubmissionIndex, bundle: MappingBundle) -> dict[str, None]:
    """Return the organisations that the applications go to, each once, in their order."""
    documents = (
        bundle.documents.get(str(application.get("document", "")))
        for application in submission_index.applications
    )
    return {document.organisation: None for document in documents if document is not None}


def _compare_problems(old: tuple[_Problem, ...], new: tuple[_Problem, ...]) -> Iterator[ProblemChange]:
    """Yield the problems that only `new` has (added), then those that only `old` has (removed)."""
    before, after = Counter(old), Counter(new)
    for change, problems_with, problems_without in (("added", after, before), ("removed", before, after)):
        yield from (
            ProblemChange(change, problem.problem, problem.text, problem.pointer, problem.refuses)
            for problem in (problems_with - problems_without).elements()
        )


def _compare_requests(old: _Outcome, new: _Outcome) -> Iterator[RequestChange]:
    """Yield the requests that are added, removed or changed from `old` to `new`, by their applications."""
    for name in {**old.requests, **new.requests}:
        old_request, new_request = old.requests.get(name), new.requests.get(name)
        if old_request is None or new_request is None:
            any_request = new_request or old_request
            assert any_request is not None, "one of the two is there"
            laws = (
                () if old_request is None else old_request.laws,
                () if new_request is None else new_request.laws,
            )
            change = "added" if old_request is None else "removed"
            yield RequestChange(change, name, any_request.document, any_request.organisation, laws)
        else:
            yield from _compare_request(name, old.bundle, old_request, new.bundle, new_request)


def _compare_request(
    name: str, old: MappingBundle, old_request: AgencyRequest, new: MappingBundle, new_request: AgencyRequest
) -> Iterator[RequestChange]:
    """Yield the change of an application's request, if `old_request` (by `old`) and `new_request` differ."""
    laws = old_request.laws, new_request.laws
    same = old_request.written_element == new_request.written_element
    if same and laws[0] == laws[1] and old_request.organisation == new_request.organisation:
        return
    values = () if same else tuple(_compare_values(old, old_request, new, new_request))
    yield RequestChange("changed", name, new_request.document, new_request.organisation, laws, values)


def _compare_values(
    old: MappingBundle, old_request: AgencyRequest, new: MappingBundle, new_request: AgencyRequest
) -> Iterator[ValueChange]:
    """Yield the values that differ, in the order of the new request; removed values come last."""
    documents = old.documents[old_request.document], new.documents[new_request.document]
    before, after = _read_values(documents[0], old_request), _read_values(documents[1], new_request)
    for path, (source, text) in after.items():
        former = before.get(path)
        if former is None or former[1] != text:
            labels = _find_labels(new, documents[1], source)
            yield ValueChange(path, source, *labels, None if former is None else former[1], text)
    for path, (source, text) in before.items():
        if path not in after:
            yield ValueChange(path, source, *_find_labels(old, documents[0], source), text, None)


def _read_values(document: DocumentMapping, request: AgencyRequest) -> dict[str, tuple[str, str]]:
    """Return the sources and the text of every value by its path, as the mapping reads it back."""
    values: dict[str, tuple[str, str]] = {}
    for value in read_request(document, request.xml).values:
        earlier = values.get(value.path)
        values[value.path] = (
            value.source if earlier is None else f"{earlier[0]}{_BETWEEN}{value.source}",
            value.written,
        )
    return values


def _find_labels(bundle: MappingBundle, document: DocumentMapping, source: str) -> tuple[str, str]:
    """Return the Korean and English labels of the fields of a source; empty for a constant."""
    labels = []
    for part in dict.fromkeys(source.split(_BETWEEN)):
        kind, _, name = part.partition(":")
        fields = document.ask_names if kind == "ask" else bundle.dictionary.meanings
        field = fields.get(name) if kind in ("ask", "common") else None
        if field is not None:
            labels.append((field.ko, field.en))
    return ", ".join(ko for ko, _ in labels), ", ".join(en for _, en in labels)
