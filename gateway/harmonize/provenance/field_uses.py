"""The uses of fields and meanings by the mappings: the document, the role, the condition, the purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.harmonize.language import (
    CommonMeaning,
    Concatenation,
    ConversionStep,
    DataDictionary,
    DefaultValue,
    DocumentMapping,
    Field,
    GroupCount,
    MappingBundle,
    MappingLine,
    OccurrenceLookup,
    Product,
    SerialNumber,
    SourceExpression,
    Sum,
    TranslationStep,
    UniformItemValue,
    UniqueField,
    UnitConversion,
    build_read_set,
    list_guard_tests,
    list_mapping_lines,
    to_element_name,
    walk_fields,
)
from gateway.harmonize.readback import compute_line_loss, format_names, read_path
from gateway.harmonize.schemas import describe_condition
from gateway.wire import SUB, SourceMark, load_wco_elements

_NUMBER: Final = re.compile(r"\[[^\]]*\]")
_SUPPLEMENT: Final = "SUP/"
_APPLICATION: Final = re.compile(r"APP(?:\[[0-9]+\])?/([^/]+)/(?:ITEM(?:\[[0-9]+\])?/)?(.+)")


def find_common_meanings(dictionary: DataDictionary, path: str) -> Iterator[CommonMeaning]:
    """Yield the meanings whose value, or selecting sibling, is the leaf at `path` (as in the ledger)."""
    leaf_path = path.removeprefix(_SUPPLEMENT).partition("/@")[0].removesuffix("/DateTimeString")
    for meaning in dictionary.meanings.values():
        if meaning.supplement == path.startswith(_SUPPLEMENT) and leaf_path in (
            meaning.path,
            _get_sibling_path(meaning),
        ):
            yield meaning


def _get_sibling_path(meaning: CommonMeaning) -> str:
    """Return the path of the sibling that selects a meaning among elements of one name, empty if none."""
    if meaning.selector is None:
        return ""
    return f"{meaning.path.rpartition('/')[0]}/{meaning.selector.element}"


def find_field_by_element(document: DocumentMapping, element: etree._Element) -> UniqueField | None:
    """Return the field that an element inside ``Fields`` answers, None where it answers none."""
    names: list[str] = []
    current: etree._Element | None = element
    while current is not None and current.tag != f"{{{SUB}}}Fields":
        names.insert(0, etree.QName(current).localname)
        current = current.getparent()
    if names[:1] == ["Item"]:
        names = names[1:]
    return find_field_by_names(document, names)


def parse_field_pointer(pointer: str) -> tuple[str, list[str]] | None:
    """Return the document and the element names in the pointer of a unique field, None for other pointers."""
    match = _APPLICATION.fullmatch(_remove_values(pointer))
    return None if match is None else (match[1], match[2].split("/"))


def find_field_by_names(document: DocumentMapping, names: list[str]) -> UniqueField | None:
    """Return the field for the names of nested elements, None where there is none."""
    asks: tuple[UniqueField, ...] = document.asks
    field: UniqueField | None = None
    for name in names:
        field = next((ask for ask in asks if ask.tag == name), None)
        if field is None:
            return None
        asks = field.fields
    return field


def _remove_values(pointer: str) -> str:
    return _NUMBER.sub("", pointer.partition("/@")[0])


def convert_pointer_to_path(pointer: str) -> str:
    """Return the path of names for a pointer (``SUP/…`` in the supplement), empty for an unknown one."""
    plain_pointer = _remove_values(pointer)
    if plain_pointer.startswith(_SUPPLEMENT):
        return plain_pointer
    path = ""
    for segment in plain_pointer.split("/"):
        candidates = [
            tag
            for tag in load_wco_elements().values()
            if tag.path.rpartition("/")[0] == path and tag.kind != ""
        ]
        best = next((tag for tag in candidates if tag.wco_id == segment), None)
        best = best or next((tag for tag in candidates if tag.path.rpartition("/")[2] == segment), None)
        if best is None:
            return f"{path}/{segment}" if path and segment == "DateTimeString" else ""
        path = best.path
    return path


_POSITION: Final = re.compile(r"\[[0-9]+\]")


def get_line_loss(line: MappingLine) -> str:
    """Return the loss of a line: exact, residue or lossy."""
    if line.content is not None:
        return compute_line_loss(line.content)
    via = line.attribute.via if line.attribute is not None else None
    return "exact" if via is None or via.direction == "both" else "lossy"


def list_transforms(line: MappingLine) -> tuple[str, ...]:
    """Return the conversions of a line in order, as texts."""
    texts: list[str] = []
    if line.content is not None:
        texts = [_describe_source(line.content.source), *map(_describe_step, line.content.steps)]
        texts = [text for text in texts if text]
    if line.attribute is not None and line.attribute.via is not None:
        texts.append(f"via {line.attribute.via.name}@{line.attribute.via.version}")
    part = line.target.text_piece if line.attribute is None else None
    if part is not None:
        size = f"{part.max_characters} characters" if part.octets is None else f"{part.octets} octets"
        charset = "" if part.octets is None else f" of {part.charset}"
        texts.append(f"split, piece {part.piece_number + 1} of {part.piece_count}, {size}{charset}")
    return tuple(texts)


@dataclass(frozen=True, slots=True)
class FieldUse:
    """One use of a field by a document: `role` is value, attribute, guard, key, count or check."""

    name: str
    role: str
    description: str
    rule: SourceMark


def remove_positions(path: str) -> str:
    """Return a path of a request without positions: the key of its line."""
    return _POSITION.sub("", path)


def list_uses(document: DocumentMapping, dictionary: DataDictionary) -> Iterator[FieldUse]:
    """Yield every use of fields and meanings by `document`, values first.

    An entry of the read set without a specific text is described by its role alone.
    """
    reported: set[tuple[str, SourceMark]] = set()
    reads = build_read_set(document, dictionary).entries_by_key.values()
    for use in (
        *_list_written_uses(document),
        *_list_choice_uses(document),
        *_list_guard_uses(document),
        *_list_repetition_uses(document),
    ):
        reported.add((use.name, use.rule))
        yield use
    checks = {check.mark: check.id for check in document.checks}
    own_marks = {ask.mark for ask in walk_fields(document.asks)} | {need.mark for need in document.needs}
    for read in reads:
        for read_use in read.uses:
            key = (read.source.name, read_use.mark)
            if read_use.mark in own_marks or key in reported or read_use.read_kind in ("value", "attribute"):
                continue
            reported.add(key)
            check = checks.get(read_use.mark)
            description = "read by this line" if check is None else f"compared by the check {check}"
            yield FieldUse(
                read.source.name, read_use.read_kind if check is None else "check", description, read_use.mark
            )


def _list_written_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    for line in list_mapping_lines(document):
        role = "attribute" if line.read_attribute else "value"
        for field in line.read_fields:
            yield FieldUse(field.name, role, f"written to {line.path}", line.mark)


def _list_choice_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    """Yield the uses as key or count: keys of a look-up, second keys of a translation, counted groups."""
    for line in list_mapping_lines(document):
        if line.content is None:
            continue
        names = {field.name for field in line.read_fields}
        for field in line.content.list_read_sources():
            if field.name not in names:
                yield FieldUse(field.name, "key", f"chooses what {line.path} holds", line.mark)
        if isinstance(line.content.source, GroupCount):
            yield FieldUse(line.content.source.group.name, "count", f"counted by {line.path}", line.mark)


def _list_repetition_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    """Yield the uses of fields by repeated elements: as the key of occurrences, or for their number."""
    for target in document.root.walk_elements():
        if target.repetition is not None and target.repetition.key is not None:
            description = f"the key of each {target.repetition.group} in {target.name}"
            yield FieldUse(target.repetition.key.name, "key", description, target.repetition.mark)
        elif target.repetition is not None:
            description = f"one {target.name} for each"
            yield FieldUse(target.repetition.group, "count", description, target.repetition.mark)


def _list_guard_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    """Yield the uses of fields by conditions: of elements, of repetitions and of requirements."""
    guards = [
        (target.when, f"decides whether {target.name} is written", target.mark)
        for target in document.root.walk_elements()
    ]
    guards += [
        (target.repetition.when, f"decides which {target.name} are written", target.repetition.mark)
        for target in document.root.walk_elements()
        if target.repetition is not None
    ]
    guards += [
        (ask.requirement.when, f"decides whether {ask.name} must be given", ask.mark)
        for ask in walk_fields(document.asks)
    ]
    guards += [
        (need.when, f"decides whether {need.meaning.name} must be there", need.mark)
        for need in document.needs
    ]
    for condition, description, mark in guards:
        for test in list_guard_tests(condition) if condition is not None else ():
            yield FieldUse(test.source.name, "guard", description, mark)


def _describe_source(source: SourceExpression) -> str:
    """Return a text for a source that computes or selects its value; empty for any other source."""
    if isinstance(source, Product):
        return f"multiply, {source.rounding} to {source.decimals} decimals"
    if isinstance(source, SerialNumber):
        return f"serial {source.prefix}%0{source.width}d"
    if isinstance(source, Concatenation):
        return f"put together with {source.separator!r}"
    if isinstance(source, DefaultValue):
        return f"{source.text} where there is none"
    if isinstance(source, Sum):
        return f"sum over {source.over}"
    if isinstance(source, UniformItemValue):
        return "the one value of all items"
    if isinstance(source, OccurrenceLookup):
        keys = (
            f"{match.key.name} is "
            f"{match.constant if match.compared_field is None else match.compared_field.name}"
            for match in source.matches
        )
        return "where " + " and ".join(keys)
    return ""


def _describe_step(step: ConversionStep) -> str:
    """Return a conversion step in words, such as `via LIST@VERSION` or `form NAME`."""
    if isinstance(step, TranslationStep):
        second_key = "" if step.paired_field is None else f" with {step.paired_field.name}"
        return f"via {step.code_list.name}@{step.code_list.version}{second_key}"
    if isinstance(step, UnitConversion):
        return f"convert to {step.target_unit}, {step.rounding} to {step.decimals} decimals"
    unknown = f", {step.unknown} where the time is unknown" if step.unknown else ""
    return f"form {step.format_name}{unknown}"


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

    `location` is the path of a meaning, or the pattern of pointers to an asked field.
    """

    name: str
    kind: str
    ko: str
    en: str
    means: str
    location: str
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

    def find_by_location(self, location: str, document: str = "") -> tuple[FieldStory, ...]:
        """Return the stories for a pointer, a path of names, or a name: meanings first, then asked fields.

        With `document`, only the uses and the fields of that document are included.
        """
        documents = [
            candidate for name, candidate in self._bundle.documents.items() if document in ("", name)
        ]
        meanings = _list_meanings(self._bundle, location)
        stories = [self._make_common_story(meaning, documents) for meaning in meanings]
        field_pointer = parse_field_pointer(location)
        for candidate in documents:
            asks = [
                ask
                for ask in walk_fields(candidate.asks)
                if location in (ask.name, ask.means, f"{candidate.id}/{ask.name}")
            ]
            if field_pointer is not None and field_pointer[0] == candidate.id:
                by_tags = find_field_by_names(candidate, field_pointer[1])
                asks += [by_tags] if by_tags is not None else []
            stories += [self._make_field_story(ask, candidate) for ask in asks]
        return tuple(stories)

    def find_in_request(self, path: str, document: str = "") -> tuple[FieldStory, ...]:
        """Return the stories of the fields that the lines at a request path read; raise GW404 for no path."""
        names = format_names(read_path(path))
        stories = []
        for name, candidate in self._bundle.documents.items():
            if document not in ("", name):
                continue
            whole = (
                names if names.partition("/")[0] == candidate.root.name else f"{candidate.root.name}/{names}"
            )
            lines = [
                line
                for at, line in self._get_lines(candidate).items()
                if at == whole or at.startswith((f"{whole}/", f"{whole}["))
            ]
            for field in {field.name: field for line in lines for field in line.read_fields}.values():
                if isinstance(field, CommonMeaning):
                    stories.append(self._make_common_story(field, [candidate]))
                else:
                    stories.append(self._make_field_story(field, candidate))
        return tuple(stories)

    def _make_common_story(self, meaning: CommonMeaning, documents: list[DocumentMapping]) -> FieldStory:
        """Return all uses of a common meaning by those of `documents` that need it."""
        uses = []
        for document in documents:
            need = next(
                (
                    document_need
                    for document_need in document.needs
                    if document_need.meaning.name == meaning.name
                ),
                None,
            )
            if need is None:
                continue
            description = "mandatory" if need.mandatory else "optional"
            if need.when is not None:
                description = f"mandatory where {describe_condition(need.when)}"
            uses.append(self._make_use(document, meaning, description, need.mark))
        path = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
        return FieldStory(
            meaning.name, "common", meaning.ko, meaning.en, meaning.name, path, meaning.mark, tuple(uses)
        )

    def _make_field_story(self, ask: UniqueField, document: DocumentMapping) -> FieldStory:
        """Return the use of a field that only `document` asks, with its place in the submission."""
        requirement = ask.requirement
        description = "mandatory" if requirement.mandatory else "optional"
        if requirement.when is not None:
            otherwise = "forbidden" if requirement.forbidden_otherwise else "optional"
            description = f"mandatory where {describe_condition(requirement.when)}, else {otherwise}"
        tags = "/".join(to_element_name(part) for part in ask.name.split("."))
        path = f"APP[n]/{document.id}/" + ("ITEM[s]/" if ask.home == "item" else "") + tags
        use = self._make_use(document, ask, description, ask.mark)
        return FieldStory(ask.name, "asked", ask.ko, ask.en, ask.means, path, ask.mark, (use,))

    def _make_use(
        self,
        document: DocumentMapping,
        field: Field,
        requirement: str,
        rule: SourceMark,
    ) -> DocumentUse:
        """Return the uses of a field by a document; `rule` is the place that declares its requirement."""
        kind = type(field)
        lines = tuple(
            line
            for line in self._get_lines(document).values()
            if any(source.name == field.name and isinstance(source, kind) for source in line.read_fields)
        )
        reasons = tuple(
            (f"{use.role}: {use.description}", use.rule)
            for use in self._get_uses(document)
            if use.name == field.name and use.role not in ("value", "attribute")
        )
        return DocumentUse(document.organisation, document.id, requirement, rule, lines, reasons)

    def _get_lines(self, document: DocumentMapping) -> Mapping[str, MappingLine]:
        if document.id not in self._lines:
            self._lines[document.id] = {line.path: line for line in list_mapping_lines(document)}
        return self._lines[document.id]

    def _get_uses(self, document: DocumentMapping) -> tuple[FieldUse, ...]:
        if document.id not in self._uses:
            self._uses[document.id] = tuple(list_uses(document, self._bundle.dictionary))
        return self._uses[document.id]


def _list_meanings(bundle: MappingBundle, location: str) -> Iterator[CommonMeaning]:
    """Yield the meanings named by `location` (name, path or pointer); else those inside that element."""
    if location in bundle.dictionary.meanings:
        yield bundle.dictionary.meanings[location]
        return
    path = location if location.startswith("Declaration/") else convert_pointer_to_path(location)
    exact = list(find_common_meanings(bundle.dictionary, path)) if path else []
    inner = [meaning for meaning in bundle.dictionary.meanings.values() if path and _is_inside(meaning, path)]
    yield from exact or inner


def _is_inside(meaning: CommonMeaning, path: str) -> bool:
    whole = f"SUP/{meaning.path}" if meaning.supplement else meaning.path
    return whole.startswith(f"{path}/")
