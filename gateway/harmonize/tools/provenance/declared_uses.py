"""The uses of a place by the mappings, without a submission: by which documents, as what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.harmonize.inverse import format_names, read_path
from gateway.harmonize.language import DocumentMapping, MappingBundle
from gateway.harmonize.tools.provenance.field_uses import (
    FieldUse,
    MappingLine,
    describe_condition,
    list_lines,
    list_uses,
)
from gateway.harmonize.tools.provenance.place_meanings import (
    convert_pointer_to_path,
    find_common_meanings,
    find_field_by_names,
    parse_field_pointer,
)
from gateway.harmonize.types import CommonMeaning, SourceMark, UniqueField, to_element_name, walk_fields

__all__ = ["DocumentUse", "FieldFinder", "FieldStory"]


@dataclass(frozen=True, slots=True)
class DocumentUse:
    """The use of a field or meaning by one document.

    `needed` is a text that says whether it must be given, `needed_rule` the rule for that;
    `lines` are those that write it, `reasons` the other uses, with their rules.
    """

    organisation: str
    document: str
    needed: str
    needed_rule: SourceMark
    lines: tuple[MappingLine, ...]
    reasons: tuple[tuple[str, SourceMark], ...]


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
    rule: SourceMark
    documents: tuple[DocumentUse, ...]


class FieldFinder:
    """Finds the fields and meanings at places, with their uses by the documents of a bundle.

    The lines and the uses of a document are listed once, when the first field of it is found.
    """

    def __init__(self, bundle: MappingBundle) -> None:
        self._bundle = bundle
        self._lines: dict[str, Mapping[str, MappingLine]] = {}
        self._uses: dict[str, tuple[FieldUse, ...]] = {}

    def find_at(self, place: str, document: str = "") -> tuple[FieldStory, ...]:
        """Return the stories for a pointer, a path of names, or a name: meanings first, then asked fields.

        With `document`, only the uses and the fields of that document are included.
        """
        documents = [one for name, one in self._bundle.documents.items() if document in ("", name)]
        meanings = _list_meanings(self._bundle, place)
        stories = [self._make_common_story(meaning, documents) for meaning in meanings]
        asked = parse_field_pointer(place)
        for one in documents:
            found = [
                ask for ask in walk_fields(one.asks) if place in (ask.name, ask.means, f"{one.id}/{ask.name}")
            ]
            if asked is not None and asked[0] == one.id:
                by_tags = find_field_by_names(one, asked[1])
                found += [by_tags] if by_tags is not None else []
            stories += [self._make_field_story(ask, one) for ask in found]
        return tuple(stories)

    def find_in_request(self, path: str, document: str = "") -> tuple[FieldStory, ...]:
        """Return the stories of the fields that the lines at a request path read; raise GW404 for no path."""
        names = format_names(read_path(path))
        stories = []
        for name, one in self._bundle.documents.items():
            if document not in ("", name):
                continue
            whole = names if names.partition("/")[0] == one.root.name else f"{one.root.name}/{names}"
            lines = [
                line
                for at, line in self._get_lines(one).items()
                if at == whole or at.startswith((f"{whole}/", f"{whole}["))
            ]
            for field in {field.name: field for line in lines for field in line.read_fields}.values():
                if isinstance(field, CommonMeaning):
                    stories.append(self._make_common_story(field, [one]))
                else:
                    stories.append(self._make_field_story(field, one))
        return tuple(stories)

    def _make_common_story(self, meaning: CommonMeaning, documents: list[DocumentMapping]) -> FieldStory:
        uses = []
        for document in documents:
            need = next((one for one in document.needs if one.meaning.name == meaning.name), None)
            if need is None:
                continue
            words = "mandatory" if need.mandatory else "optional"
            if need.when is not None:
                words = f"mandatory where {describe_condition(need.when)}"
            uses.append(self._make_use((document, meaning), words, need.mark))
        place = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
        return FieldStory(
            meaning.name, "common", meaning.ko, meaning.en, meaning.name, place, meaning.mark, tuple(uses)
        )

    def _make_field_story(self, ask: UniqueField, document: DocumentMapping) -> FieldStory:
        requirement = ask.requirement
        words = "mandatory" if requirement.mandatory else "optional"
        if requirement.when is not None:
            otherwise = "forbidden" if requirement.forbidden_otherwise else "optional"
            words = f"mandatory where {describe_condition(requirement.when)}, else {otherwise}"
        tags = "/".join(to_element_name(part) for part in ask.name.split("."))
        place = f"APP[n]/{document.id}/" + ("ITEM[s]/" if ask.home == "item" else "") + tags
        use = self._make_use((document, ask), words, ask.mark)
        return FieldStory(ask.name, "asked", ask.ko, ask.en, ask.means, place, ask.mark, (use,))

    def _make_use(
        self, what: tuple[DocumentMapping, UniqueField | CommonMeaning], words: str, rule: SourceMark
    ) -> DocumentUse:
        document, field = what
        kind = type(field)
        lines = tuple(
            line
            for line in self._get_lines(document).values()
            if any(one.name == field.name and isinstance(one, kind) for one in line.read_fields)
        )
        reasons = tuple(
            (f"{use.role}: {use.words}", use.rule)
            for use in self._get_uses(document)
            if use.name == field.name and use.role not in ("value", "attribute")
        )
        return DocumentUse(document.organisation, document.id, words, rule, lines, reasons)

    def _get_lines(self, document: DocumentMapping) -> Mapping[str, MappingLine]:
        if document.id not in self._lines:
            self._lines[document.id] = list_lines(document)
        return self._lines[document.id]

    def _get_uses(self, document: DocumentMapping) -> tuple[FieldUse, ...]:
        if document.id not in self._uses:
            self._uses[document.id] = tuple(list_uses(document, self._bundle.dictionary))
        return self._uses[document.id]


def _list_meanings(bundle: MappingBundle, place: str) -> Iterator[CommonMeaning]:
    if place in bundle.dictionary.meanings:
        yield bundle.dictionary.meanings[place]
        return
    path = place if place.startswith("Declaration/") else convert_pointer_to_path(place)
    exact = list(find_common_meanings(bundle.dictionary, path)) if path else []
    inside = [one for one in bundle.dictionary.meanings.values() if path and _is_inside(one, path)]
    yield from exact or inside


def _is_inside(meaning: CommonMeaning, path: str) -> bool:
    whole = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    return whole.startswith(f"{path}/")
