"""What the mappings say about a place, whatever a submission holds there: who uses it, as what, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.harmonize.backwards.requestpaths import names_of, read_path
from gateway.harmonize.language.bundle import Bundle
from gateway.harmonize.language.documents import Document
from gateway.harmonize.provenance.meanings import asked_by_pointer, asked_by_tags, common_at, path_of_pointer
from gateway.harmonize.provenance.uses import Line, condition_words, lines_of, uses_of
from gateway.harmonize.terms.asks import Ask, flatten, tag_of
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark

__all__ = ["DocumentUse", "FieldStory", "fields_at", "fields_in_request"]


@dataclass(frozen=True, slots=True)
class DocumentUse:
    """What one document does with a field or meaning.

    `needed` says in words whether it must be given, `needed_rule` where that is said;
    `lines` are those that write it, `reasons` what else it is read for, with the rule.
    """

    organisation: str
    document: str
    needed: str
    needed_rule: Mark
    lines: tuple[Line, ...]
    reasons: tuple[tuple[str, Mark], ...]


@dataclass(frozen=True, slots=True)
class FieldStory:
    """A common meaning or an asked field, and every document that uses it.

    `place` is the path of a meaning, or the pattern of pointers to an asked field.
    """

    name: str
    kind: str
    ko: str
    en: str
    means: str
    place: str
    rule: Mark
    documents: tuple[DocumentUse, ...]


def fields_at(bundle: Bundle, place: str, document: str = "") -> tuple[FieldStory, ...]:
    """Return what a pointer, a path by names, or a name means: meanings first, then asked fields.

    With `document` only that document's use is told, and only its fields are looked at.
    """
    documents = [one for name, one in bundle.documents.items() if document in ("", name)]
    stories = [_common(bundle, meaning, documents) for meaning in _meanings(bundle, place)]
    asked = asked_by_pointer(place)
    for one in documents:
        found = [ask for ask in flatten(one.asks) if place in (ask.name, ask.means, f"{one.id}/{ask.name}")]
        if asked is not None and asked[0] == one.id:
            by_tags = asked_by_tags(one, asked[1])
            found += [by_tags] if by_tags is not None else []
        stories += [_asked(bundle, ask, one) for ask in found]
    return tuple(stories)


def fields_in_request(bundle: Bundle, path: str, document: str = "") -> tuple[FieldStory, ...]:
    """Return what the lines at a path of requests take; raises GW404 when `path` is no path."""
    names = names_of(read_path(path))
    stories = []
    for name, one in bundle.documents.items():
        if document not in ("", name):
            continue
        whole = names if names.partition("/")[0] == one.root.name else f"{one.root.name}/{names}"
        lines = [
            line
            for at, line in lines_of(one).items()
            if at == whole or at.startswith((f"{whole}/", f"{whole}["))
        ]
        for field in {field.name: field for line in lines for field in line.fields}.values():
            if isinstance(field, Meaning):
                stories.append(_common(bundle, field, [one]))
            else:
                stories.append(_asked(bundle, field, one))
    return tuple(stories)


def _meanings(bundle: Bundle, place: str) -> Iterator[Meaning]:
    if place in bundle.dictionary.meanings:
        yield bundle.dictionary.meanings[place]
        return
    path = place if place.startswith("Declaration/") else path_of_pointer(place)
    exact = list(common_at(bundle.dictionary, path)) if path else []
    inside = [one for one in bundle.dictionary.meanings.values() if path and _is_inside(one, path)]
    yield from exact or inside


def _is_inside(meaning: Meaning, path: str) -> bool:
    whole = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    return whole.startswith(f"{path}/")


def _common(bundle: Bundle, meaning: Meaning, documents: list[Document]) -> FieldStory:
    uses = []
    for document in documents:
        need = next((one for one in document.needs if one.meaning.name == meaning.name), None)
        if need is None:
            continue
        words = "mandatory" if need.mandatory else "optional"
        if need.when is not None:
            words = f"mandatory where {condition_words(need.when)}"
        uses.append(_use(bundle, (document, meaning), words, need.mark))
    place = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    return FieldStory(
        meaning.name, "common", meaning.ko, meaning.en, meaning.name, place, meaning.mark, tuple(uses)
    )


def _asked(bundle: Bundle, ask: Ask, document: Document) -> FieldStory:
    requirement = ask.requirement
    words = "mandatory" if requirement.mandatory else "optional"
    if requirement.when is not None:
        otherwise = "forbidden" if requirement.forbidden_otherwise else "optional"
        words = f"mandatory where {condition_words(requirement.when)}, else {otherwise}"
    tags = "/".join(tag_of(part) for part in ask.name.split("."))
    place = f"APP[n]/{document.id}/" + ("ITEM[s]/" if ask.home == "item" else "") + tags
    use = _use(bundle, (document, ask), words, ask.mark)
    return FieldStory(ask.name, "asked", ask.ko, ask.en, ask.means, place, ask.mark, (use,))


def _use(bundle: Bundle, what: tuple[Document, Ask | Meaning], words: str, rule: Mark) -> DocumentUse:
    document, field = what
    kind = type(field)
    lines = tuple(
        line
        for line in lines_of(document).values()
        if any(one.name == field.name and isinstance(one, kind) for one in line.fields)
    )
    reasons = tuple(
        (f"{use.role}: {use.words}", use.rule)
        for use in uses_of(document, bundle.dictionary)
        if use.name == field.name and use.role not in ("value", "attribute")
    )
    return DocumentUse(document.organisation, document.id, words, rule, lines, reasons)
