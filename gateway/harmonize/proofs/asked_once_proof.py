"""Never asked twice: no field asks a meaning of the declaration, and only one document asks a meaning."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from gateway.harmonize.language import (
    CommonMeaning,
    DataDictionary,
    DocumentMapping,
    MappingBundle,
    UniqueField,
)
from gateway.harmonize.proofs.proof_report import BoxCount, ProofFindings

_ASKED_DECISION: Final = "asked"
#: Each field is compared with each meaning, so names and labels come again and again.
_MAX_CACHED_NAMES: Final = 4096


def prove_asked_once(bundle: MappingBundle, documents: list[DocumentMapping]) -> ProofFindings:
    """Return every field that asks a common meaning, or that two documents of one submission ask."""
    findings = ProofFindings("never_asked_twice")
    for document in documents:
        for ask in document.ask_names.values():
            findings.checked += 1
            _check_not_common(bundle, document, ask, findings)
    _check_single_questions(documents, findings)
    return findings


def _check_not_common(
    bundle: MappingBundle, document: DocumentMapping, ask: UniqueField, findings: ProofFindings
) -> None:
    """Add a finding if a document asks for `ask` although it is a common meaning, or was decided to be one.

    A field that the mapping declares as an exception is allowed.
    """
    decided = bundle.decisions.get((document.id, ask.name), "")
    if ask.name in document.overrides or decided.startswith(_ASKED_DECISION):
        return
    decision = bundle.reconciled.get((document.id, _get_tag(ask)))
    if decision is not None and ask.type != "group":
        message = f"asked, though reconciled.csv says: {decision}"
        findings.add_finding(ask.mark, ask.name, message, f"{ask.name} given twice with two values")
        return
    meaning = _find_same_meaning(bundle.dictionary, ask)
    if meaning is not None:
        message = f"asked, though it is the common meaning {meaning.name} ({meaning.mark})"
        findings.add_finding(ask.mark, ask.name, message, f"{meaning.path} = A and {ask.name} = B")


def _get_tag(ask: UniqueField) -> str:
    names = [*ask.group.split("."), ask.name.rpartition(".")[2]] if ask.group else [ask.name]
    return ".".join("".join(part[:1].upper() + part[1:] for part in name.split("_")) for name in names)


def _find_same_meaning(dictionary: DataDictionary, ask: UniqueField) -> CommonMeaning | None:
    """Return the common meaning that has the name, the meaning or the label of a field, None if none has."""
    if ask.type in ("group", "attachment"):
        return None
    for meaning in dictionary.meanings.values():
        if ask.means == meaning.name or _compact_name(ask.name) == _compact_name(meaning.name):
            return meaning
        # A label inside a group ("Name" of a batch) depends on the group, so it is not compared.
        same_labels = (_normalize_label(ask.ko) == _normalize_label(meaning.ko)) + (
            _normalize_label(ask.en) == _normalize_label(meaning.en)
        )
        if not ask.group and (same_labels > 1 or (same_labels and _have_same_type(ask, meaning))):
            return meaning
    return None


def _have_same_type(ask: UniqueField, meaning: CommonMeaning) -> bool:
    """Return whether a value of one could be a value of the other: number for number, code for code."""
    if ask.shape.codes is not None or meaning.shape.codes is not None:
        return ask.shape.codes == meaning.shape.codes
    return ask.shape.kind == meaning.shape.kind and ask.attribute == meaning.attribute


@lru_cache(_MAX_CACHED_NAMES)
def _compact_name(name: str) -> str:
    return name.replace(".", "").replace("_", "").lower()


@lru_cache(_MAX_CACHED_NAMES)
def _normalize_label(label: str) -> str:
    return " ".join(label.lower().split())


def _check_single_questions(documents: list[DocumentMapping], findings: ProofFindings) -> None:
    """Report a meaning asked by two documents that one submission may hold, unless the answer is shared."""
    first_askers: dict[tuple[str, str], tuple[DocumentMapping, UniqueField]] = {}
    for document, ask in _list_asked_fields(documents):
        first_document, first_ask = first_askers.setdefault((document.direction, ask.means), (document, ask))
        if first_document is document:
            continue
        findings.checked += 1
        if _is_shared_answer(first_document, first_ask, document, ask):
            continue
        message = f"asks the meaning {ask.means}, which {first_document.id} asks too ({first_ask.mark})"
        example = f"one submission with {first_document.id} and {document.id}: {ask.means} = A and = B"
        findings.add_finding(ask.mark, ask.name, message, example)


def _list_asked_fields(documents: list[DocumentMapping]) -> Iterator[tuple[DocumentMapping, UniqueField]]:
    """Yield the fields that state a meaning (`means`), each with its document; groups are left out."""
    for document in documents:
        for ask in document.ask_names.values():
            if ask.type != "group" and ask.means:
                yield document, ask


def _is_shared_answer(
    first_document: DocumentMapping, first_ask: UniqueField, document: DocumentMapping, ask: UniqueField
) -> bool:
    """Return whether one answer serves both: both fields, or the groups around them, are shared."""
    first_top = first_document.ask_names[first_ask.name.partition(".")[0]]
    top = document.ask_names[ask.name.partition(".")[0]]
    return first_top.shared and top.shared and first_top.means == top.means


def count_boxes(documents: list[DocumentMapping]) -> BoxCount:
    """Return the number of boxes of the paper forms, and of the distinct meanings in them."""
    common = [need.meaning.name for document in documents for need in document.needs]
    own_meanings = [ask.means for _, ask in _list_asked_fields(documents)]
    return BoxCount(len(common), len(own_meanings), len(set(common)), len(set(own_meanings)))
