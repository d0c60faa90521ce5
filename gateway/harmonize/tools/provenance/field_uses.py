"""The uses of each field and meaning by a document: where it is written, and what it decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.inverse import compute_line_loss
from gateway.harmonize.language import (
    Concatenation,
    ConversionStep,
    ConvertedSource,
    DefaultValue,
    DocumentMapping,
    GroupCount,
    OccurrenceLookup,
    Product,
    SerialNumber,
    SourceExpression,
    Sum,
    TargetAttribute,
    TargetElement,
    TranslationStep,
    UniformItemValue,
    UnitConversion,
    build_read_set,
)
from gateway.harmonize.types import (
    AnyOf,
    CommonMeaning,
    Condition,
    DataDictionary,
    Negation,
    SourceMark,
    UniqueField,
    ValueTest,
    list_guard_tests,
    walk_fields,
)

__all__ = ["FieldUse", "MappingLine", "describe_condition", "list_lines", "list_uses", "remove_positions"]

_POSITION: Final = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One line of a mapping: the target that it writes (`path`, without positions) and its source.

    `when` are the conditions on the line and around it, `each` the repetitions around it.
    """

    path: str
    target: TargetElement
    put: TargetAttribute | None
    when: tuple[Condition, ...]
    each: tuple[str, ...]
    rule: SourceMark

    @property
    def own_content(self) -> ConvertedSource | None:
        """Return the source of the line's own value, None for an attribute of the element's value."""
        return self.target.content if self.put is None else self.put.content

    @property
    def read_fields(self) -> tuple[UniqueField | CommonMeaning, ...]:
        """Return the fields and meanings whose value, or whose attribute, the line writes."""
        if self.own_content is not None:
            return tuple({one.name: one for one in self.own_content.list_forwarded_sources()}.values())
        carrier = None if self.target.content is None else self.target.content.source.find_attribute_carrier()
        return () if carrier is None else (carrier,)

    @property
    def read_attribute(self) -> str:
        """Return the attribute of the field that is written, empty where it is its text."""
        return (self.put.of_value or "") if self.put is not None else ""

    @property
    def loss(self) -> str:
        """Return what the line loses: exact, residue or lossy."""
        if self.own_content is not None:
            return compute_line_loss(self.own_content)
        via = self.put.via if self.put is not None else None
        return "exact" if via is None or via.direction == "both" else "lossy"

    @property
    def transform_words(self) -> tuple[str, ...]:
        """Return the conversions of the line in order, as texts."""
        words: list[str] = []
        if self.own_content is not None:
            words = [_describe_source(self.own_content.source), *map(_describe_step, self.own_content.steps)]
            words = [one for one in words if one]
        if self.put is not None and self.put.via is not None:
            words.append(f"via {self.put.via.name}@{self.put.via.version}")
        part = self.target.part if self.put is None else None
        if part is not None:
            size = f"{part.chars} characters" if part.octets is None else f"{part.octets} octets"
            charset = "" if part.octets is None else f" of {part.charset}"
            words.append(f"split, piece {part.number + 1} of {part.of}, {size}{charset}")
        return tuple(words)


@dataclass(frozen=True, slots=True)
class FieldUse:
    """One use of a field by a document: `role` is value, attribute, guard, key, count or check."""

    name: str
    role: str
    words: str
    rule: SourceMark


def list_lines(document: DocumentMapping) -> Mapping[str, MappingLine]:
    """Return every line of a document by the path that it writes, without positions."""
    return {line.path: line for line in _walk_lines(document.root, document.root.name, (), ())}


def remove_positions(path: str) -> str:
    """Return a path of a request without positions: the key of its line."""
    return _POSITION.sub("", path)


def _walk_lines(
    target: TargetElement, path: str, when: tuple[Condition, ...], each: tuple[str, ...]
) -> Iterator[MappingLine]:
    if target.when is not None:
        when = (*when, target.when)
    if target.each is not None:
        each = (*each, target.each.group)
        when = when if target.each.when is None else (*when, target.each.when)
    if target.content is not None:
        yield MappingLine(path, target, None, when, each, target.mark)
    for put in target.attributes:
        yield MappingLine(f"{path}/@{put.name}", target, put, when, each, put.mark)
    for child in target.children:
        yield from _walk_lines(child, f"{path}/{child.name}{child.path_predicates}", when, each)


def list_uses(document: DocumentMapping, dictionary: DataDictionary) -> Iterator[FieldUse]:
    """Yield every use of fields and meanings by `document`, values first.

    An entry of the read set without a specific text is described by its role alone.
    """
    told: set[tuple[str, SourceMark]] = set()
    reads = build_read_set(document, dictionary).reads.values()
    for use in (
        *_list_written_uses(document),
        *_list_choice_uses(document),
        *_list_guard_uses(document),
        *_list_repetition_uses(document),
    ):
        told.add((use.name, use.rule))
        yield use
    checks = {check.mark: check.id for check in document.checks}
    own = {ask.mark for ask in walk_fields(document.asks)} | {need.mark for need in document.needs}
    for read in reads:
        for one in read.uses:
            key = (read.source.name, one.mark)
            if one.mark in own or key in told or one.how in ("value", "attribute"):
                continue
            told.add(key)
            check = checks.get(one.mark)
            words = "read by this line" if check is None else f"compared by the check {check}"
            yield FieldUse(read.source.name, one.how if check is None else "check", words, one.mark)


def _list_written_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    for line in list_lines(document).values():
        role = "attribute" if line.read_attribute else "value"
        for field in line.read_fields:
            yield FieldUse(field.name, role, f"written to {line.path}", line.rule)


def _list_choice_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    """Yield the uses as key or count: keys of a look-up, second keys of a translation, counted groups."""
    for line in list_lines(document).values():
        if line.own_content is None:
            continue
        names = {field.name for field in line.read_fields}
        for field in line.own_content.list_read_sources():
            if field.name not in names:
                yield FieldUse(field.name, "key", f"chooses what {line.path} holds", line.rule)
        if isinstance(line.own_content.source, GroupCount):
            yield FieldUse(line.own_content.source.group.name, "count", f"counted by {line.path}", line.rule)


def _list_repetition_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    for target in document.root.walk_elements():
        if target.each is not None and target.each.key is not None:
            words = f"the key of each {target.each.group} in {target.name}"
            yield FieldUse(target.each.key.name, "key", words, target.each.mark)
        elif target.each is not None:
            words = f"one {target.name} for each"
            yield FieldUse(target.each.group, "count", words, target.each.mark)


def _list_guard_uses(document: DocumentMapping) -> Iterator[FieldUse]:
    found = [
        (target.when, f"decides whether {target.name} is written", target.mark)
        for target in document.root.walk_elements()
    ]
    found += [
        (target.each.when, f"decides which {target.name} are written", target.each.mark)
        for target in document.root.walk_elements()
        if target.each is not None
    ]
    found += [
        (ask.requirement.when, f"decides whether {ask.name} must be given", ask.mark)
        for ask in walk_fields(document.asks)
    ]
    found += [
        (need.when, f"decides whether {need.meaning.name} must be there", need.mark)
        for need in document.needs
    ]
    for condition, words, mark in found:
        for test in list_guard_tests(condition) if condition is not None else ():
            yield FieldUse(test.source.name, "guard", words, mark)


def describe_condition(condition: Condition) -> str:
    """Return a condition as a text, such as ``drug_class is one of 1AG, 1BG``."""
    if isinstance(condition, ValueTest):
        return _describe_test(condition)
    if isinstance(condition, Negation):
        return f"not ({describe_condition(condition.part)})"
    joint = " or " if isinstance(condition, AnyOf) else " and "
    return joint.join(
        f"({describe_condition(part)})" if not isinstance(part, ValueTest) else describe_condition(part)
        for part in condition.parts
    )


def _describe_test(test: ValueTest) -> str:
    if test.operator == "present":
        return f"{test.name} is {'given' if test.values[0] == 'yes' else 'not given'}"
    if test.listed is not None:
        return f"{test.name} is in {test.listed.name}@{test.listed.version}"
    if test.operator == "in":
        return f"{test.name} is one of {', '.join(test.values)}"
    unit = "" if test.unit is None else f" {test.unit}"
    words = f"{test.name} is {test.operator.replace('_', ' ').removeprefix('is')} {test.values[0]}{unit}"
    return words.replace("  ", " ")


def _describe_source(source: SourceExpression) -> str:
    """Return the text for a source that does more than take a value, else an empty text."""
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
            f"{match.key.name} is {match.constant if match.other is None else match.other.name}"
            for match in source.matches
        )
        return "where " + " and ".join(keys)
    return ""


def _describe_step(step: ConversionStep) -> str:
    if isinstance(step, TranslationStep):
        beside = "" if step.beside is None else f" with {step.beside.name}"
        return f"via {step.codes.name}@{step.codes.version}{beside}"
    if isinstance(step, UnitConversion):
        return f"convert to {step.to}, {step.rounding} to {step.decimals} decimals"
    unknown = f", {step.unknown} where the time is unknown" if step.unknown else ""
    return f"form {step.name}{unknown}"
