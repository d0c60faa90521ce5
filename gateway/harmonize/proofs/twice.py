"""Never asked twice: what the declaration holds is not asked, and one meaning is asked by one document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.proofs.report import Boxes, Findings
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Dictionary, Meaning

__all__ = ["count_boxes", "prove_once"]

_ASKED: Final = "asked"


def prove_once(bundle: Bundle, documents: list[Document]) -> Findings:
    """Return every field that is asked though it is known, or asked by two documents of one submission."""
    findings = Findings("never_asked_twice")
    for document in documents:
        for ask in document.ask_names.values():
            findings.checked += 1
            _not_common(bundle, document, ask, findings)
    _one_each(documents, findings)
    return findings


def _not_common(bundle: Bundle, document: Document, ask: Ask, findings: Findings) -> None:
    decided = bundle.decisions.get((document.id, ask.name), "")
    if ask.name in document.overrides or decided.startswith(_ASKED):
        return
    decision = bundle.reconciled.get((document.id, _tag(ask)))
    if decision is not None and ask.type != "group":
        message = f"asked, though reconciled.csv says: {decision}"
        findings.add(ask.mark, ask.name, message, f"{ask.name} given twice with two values")
        return
    meaning = _same(bundle.dictionary, ask)
    if meaning is not None:
        message = f"asked, though it is the common meaning {meaning.name} ({meaning.mark})"
        findings.add(ask.mark, ask.name, message, f"{meaning.path} = A and {ask.name} = B")


def _tag(ask: Ask) -> str:
    names = [*ask.group.split("."), ask.name.rpartition(".")[2]] if ask.group else [ask.name]
    return ".".join("".join(part[:1].upper() + part[1:] for part in name.split("_")) for name in names)


def _same(dictionary: Dictionary, ask: Ask) -> Meaning | None:
    """Return the common meaning that a field is by its name, its meaning's name or its label."""
    if ask.type in ("group", "attachment"):
        return None
    for meaning in dictionary.meanings.values():
        if ask.means == meaning.name or _compact(ask.name) == _compact(meaning.name):
            return meaning
        # A label inside a group is short for more ("Name" of a batch) and says nothing alone.
        alike = (_words(ask.ko) == _words(meaning.ko)) + (_words(ask.en) == _words(meaning.en))
        if not ask.group and (alike > 1 or (alike and _one_type(ask, meaning))):
            return meaning
    return None


def _one_type(ask: Ask, meaning: Meaning) -> bool:
    """Return whether a value of one could be a value of the other: number for number, code for code."""
    if ask.shape.codes is not None or meaning.shape.codes is not None:
        return ask.shape.codes == meaning.shape.codes
    return ask.shape.kind == meaning.shape.kind and ask.attribute == meaning.attribute


def _compact(name: str) -> str:
    return name.replace(".", "").replace("_", "").lower()


def _words(label: str) -> str:
    return " ".join(label.lower().split())


def _one_each(documents: list[Document], findings: Findings) -> None:
    """Refuse a meaning asked by two documents that one submission may hold, unless they share the answer."""
    asked: dict[tuple[str, str], tuple[Document, Ask]] = {}
    for document, ask in _asked(documents):
        first = asked.setdefault((document.direction, ask.means), (document, ask))
        if first[0] is document:
            continue
        findings.checked += 1
        if _shared(first, (document, ask)):
            continue
        message = f"asks the meaning {ask.means}, which {first[0].id} asks too ({first[1].mark})"
        example = f"one submission with {first[0].id} and {document.id}: {ask.means} = A and = B"
        findings.add(ask.mark, ask.name, message, example)


def _asked(documents: list[Document]) -> Iterator[tuple[Document, Ask]]:
    for document in documents:
        for ask in document.ask_names.values():
            if ask.type != "group" and ask.means:
                yield document, ask


def _shared(first: tuple[Document, Ask], second: tuple[Document, Ask]) -> bool:
    """Return whether one answer counts for both: both fields, or the groups around them, are shared."""
    tops = [document.ask_names[ask.name.partition(".")[0]] for document, ask in (first, second)]
    return tops[0].shared and tops[1].shared and tops[0].means == tops[1].means


def count_boxes(documents: list[Document]) -> Boxes:
    """Return the boxes of the paper forms and the distinct things that stand in them."""
    common = [need.meaning.name for document in documents for need in document.needs]
    own = [ask.means for _, ask in _asked(documents)]
    return Boxes(len(common), len(own), len(set(common)), len(set(own)))
