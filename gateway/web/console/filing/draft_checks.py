"""Judges a draft as the hub judges a submission: every finding at once, each with its field.

A draft has no signature yet, so it is judged as if the visitor's organisation had signed it. A signed
submission is judged with its own signature.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flask import g

from gateway.errors import (
    ATTACHMENT_MISMATCH,
    CODE_UNKNOWN,
    DECLARANT_NOT_ALLOWED,
    DOCUMENT_INVALID,
    FIELD_MISSING,
    REFERENCE_REUSED,
    SOURCES_DISAGREE,
    GatewayError,
)
from gateway.harmonize import FormValues, compose_submission, index_field_places
from gateway.web.console.page_translations import translate, translate_word
from gateway.wire import serialize_element
from gateway.xmlsec import compute_unsigned_digest

if TYPE_CHECKING:
    from gateway.hub import InspectionFinding, InspectionReport
    from gateway.web.console.filing.draft_service import Draft

__all__ = ["DraftFinding", "DraftReport", "Judge", "check_draft", "check_signed", "describe_finding"]


#: Judges a submission and its files by content id, as signed (True) or as if the visitor had signed it.
Judge = Callable[[bytes, Mapping[str, bytes], bool], "InspectionReport"]


@dataclass(frozen=True, slots=True)
class DraftFinding:
    """One finding: what is wrong in a sentence, the hub's own words, and the key of the field."""

    sentence: str
    detail: str
    problem: str
    key: str | None
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class DraftReport:
    """The judgement of a draft: its findings, the submission that it makes, and its fingerprint."""

    findings: tuple[DraftFinding, ...]
    content: bytes = field(repr=False)
    fingerprint: str = ""

    @property
    def accepted(self) -> bool:
        """Return whether nothing was found that the hub refuses."""
        return not any(one.refuses for one in self.findings)

    def list_errors(self) -> dict[str, list[str]]:
        """Return what the hub refuses, as sentences at each field, by its key."""
        found: dict[str, list[str]] = {}
        for one in self.findings:
            if one.key is not None and one.refuses:
                found.setdefault(one.key, []).append(one.sentence)
        return found

    def list_warnings(self, keys: Collection[str]) -> list[DraftFinding]:
        """Return what the hub accepts with a warning about fields of these keys."""
        return [one for one in self.findings if not one.refuses and one.key in keys]


def check_draft(judge: Judge, draft: Draft, files: Mapping[str, bytes]) -> DraftReport:
    """Return the judgement of a draft that is not signed yet."""
    try:
        composed = compose_submission(draft.form, draft.values)
    except GatewayError as problem:
        found = DraftFinding(translate("The value cannot be sent."), problem.detail, problem.problem.id,
                             problem.location)  # fmt: skip
        return DraftReport((found,), b"")
    content = serialize_element(composed.root)
    places = index_field_places(draft.form, draft.values, composed)
    report = judge(content, files, False)
    told = [(one, True) for one in report.findings] + [(one, False) for one in report.warnings]
    findings = []
    for one, refuses in told:
        key = places.find_field(one.pointer, one.message)
        if key is not None and one.problem is DOCUMENT_INVALID and not draft.values.values.get(key):
            # The schema says of an empty value what the mapping says of a missing one.
            findings.append(DraftFinding(translate("This is required."), "", FIELD_MISSING.id, key))
        else:
            findings.append(_link_finding(one, key, refuses))
    return DraftReport(
        tuple(dict.fromkeys((*_check_items(draft.values), *findings))),
        content,
        compute_unsigned_digest(composed.root),
    )


def check_signed(judge: Judge, files: Mapping[str, bytes], content: bytes) -> list[DraftFinding]:
    """Return what the hub refuses in the signed submission of a draft: nothing when it is good."""
    report = judge(content, files, True)
    found = [_link_finding(one, None, True) for one in report.findings]
    if not found and report.undone:
        found.append(DraftFinding(translate("The submission cannot be judged."), report.undone[0], "", None))
    return found


def _check_items(values: FormValues) -> list[DraftFinding]:
    """Return what a submission by form needs before all: an item, and an item of each application."""
    found = []
    if not values.items:
        found.append(DraftFinding(translate("There is no goods item."), "", "", "a#1/items"))
    for number, one in enumerate(values.applications, 1):
        if values.items and not one.items:
            sentence = translate("{document} concerns no goods item.").format(document=one.document)
            found.append(DraftFinding(sentence, "", "", f"a#{number}/items"))
    return found


def _link_finding(one: InspectionFinding, key: str | None, refuses: bool) -> DraftFinding:
    # That a field is missing needs no more words where its label is.
    detail = "" if key is not None and one.problem.id == FIELD_MISSING.id else one.message
    return DraftFinding(describe_finding(one), detail, one.problem.id, key, refuses)


#: Problems that have a sentence of their own for traders.
_SENTENCES: Final = {
    FIELD_MISSING.id: lambda: translate("This is required."),
    CODE_UNKNOWN.id: lambda: translate("This is not a code of the list."),
    DECLARANT_NOT_ALLOWED.id: lambda: translate("Your organisation may not file for this declarant."),
    REFERENCE_REUSED.id: lambda: translate("This reference is in use already."),
    SOURCES_DISAGREE.id: lambda: translate("Two values contradict each other."),
    ATTACHMENT_MISMATCH.id: lambda: translate("The file is missing or another one."),
}


def describe_finding(one: InspectionFinding) -> str:
    """Return what is wrong, in the language of the request where the problem has a sentence there."""
    if one.message.endswith("may not be given here"):
        return translate("This may not be given here.")
    said = _SENTENCES.get(one.problem.id)
    if said is not None:
        return said()
    # What exactly is wrong is said in English only; its detail stands below the title.
    return one.message if g.language == "en" else translate_word(one.problem.title)
