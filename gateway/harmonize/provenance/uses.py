"""What a document does with each field and meaning: where it is written, and what it decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.harmonize.backwards.undoing import line_loss
from gateway.harmonize.language.alike import Alike
from gateway.harmonize.language.documents import Document
from gateway.harmonize.language.readset import read_set
from gateway.harmonize.language.sources import (
    Concat,
    Convert,
    Converted,
    Default,
    Product,
    Serial,
    Source,
    Step,
    Via,
    Where,
)
from gateway.harmonize.language.targets import AttributePut, Target
from gateway.harmonize.language.totals import GroupCount, Sum
from gateway.harmonize.terms.asks import Ask, flatten
from gateway.harmonize.terms.conditions import AnyOf, Condition, Not, Test, guards
from gateway.harmonize.terms.dictionary import Dictionary, Meaning
from gateway.harmonize.terms.marks import Mark

__all__ = ["Line", "Use", "condition_words", "lines_of", "plain_path", "uses_of"]

_POSITION: Final = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a mapping: what it writes (`path`, without positions) and from what.

    `when` are the conditions on the line and around it, `each` what it is repeated over.
    """

    path: str
    target: Target
    put: AttributePut | None
    when: tuple[Condition, ...]
    each: tuple[str, ...]
    rule: Mark

    @property
    def content(self) -> Converted | None:
        """Return where the line's own value comes from; None: it is an attribute of the element's value."""
        return self.target.content if self.put is None else self.put.content

    @property
    def fields(self) -> tuple[Ask | Meaning, ...]:
        """Return the fields and meanings whose value, or whose attribute, the line writes."""
        if self.content is not None:
            return tuple({one.name: one for one in self.content.forwards()}.values())
        carrier = None if self.target.content is None else self.target.content.source.carries()
        return () if carrier is None else (carrier,)

    @property
    def attribute(self) -> str:
        """Return the attribute of the field that is written, empty when it is its text."""
        return (self.put.of_value or "") if self.put is not None else ""

    @property
    def loss(self) -> str:
        """Return what the line loses: exact, residue or lossy."""
        if self.content is not None:
            return line_loss(self.content)
        via = self.put.via if self.put is not None else None
        return "exact" if via is None or via.direction == "both" else "lossy"

    @property
    def transforms(self) -> tuple[str, ...]:
        """Return what the line does to a value, in order and in words."""
        words: list[str] = []
        if self.content is not None:
            words = [_source_words(self.content.source), *map(_step_words, self.content.steps)]
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
class Use:
    """One thing that a document does with a field: `role` is value, attribute, guard, key, count or check."""

    name: str
    role: str
    words: str
    rule: Mark


def lines_of(document: Document) -> Mapping[str, Line]:
    """Return every line of a document by the path that it writes, positions left out."""
    return {line.path: line for line in _lines(document.root, document.root.name, (), ())}


def plain_path(path: str) -> str:
    """Return a path of a request without positions: the key of its line."""
    return _POSITION.sub("", path)


def _lines(target: Target, path: str, when: tuple[Condition, ...], each: tuple[str, ...]) -> Iterator[Line]:
    if target.when is not None:
        when = (*when, target.when)
    if target.each is not None:
        each = (*each, target.each.group)
        when = when if target.each.when is None else (*when, target.each.when)
    if target.content is not None:
        yield Line(path, target, None, when, each, target.mark)
    for put in target.attributes:
        yield Line(f"{path}/@{put.name}", target, put, when, each, put.mark)
    for child in target.children:
        yield from _lines(child, f"{path}/{child.name}{child.predicates}", when, each)


def uses_of(document: Document, dictionary: Dictionary) -> Iterator[Use]:
    """Yield everything that `document` does with fields and meanings, values first.

    Whatever the read set names and no words are found for is told by its role alone.
    """
    told: set[tuple[str, Mark]] = set()
    reads = read_set(document, dictionary).reads.values()
    for use in (*_written(document), *_chosen(document), *_guards(document), *_repeated(document)):
        told.add((use.name, use.rule))
        yield use
    checks = {check.mark: check.id for check in document.checks}
    own = {ask.mark for ask in flatten(document.asks)} | {need.mark for need in document.needs}
    for read in reads:
        for one in read.uses:
            key = (read.source.name, one.mark)
            if one.mark in own or key in told or one.how in ("value", "attribute"):
                continue
            told.add(key)
            check = checks.get(one.mark)
            words = "read by this line" if check is None else f"compared by the check {check}"
            yield Use(read.source.name, one.how if check is None else "check", words, one.mark)


def _written(document: Document) -> Iterator[Use]:
    for line in lines_of(document).values():
        role = "attribute" if line.attribute else "value"
        for field in line.fields:
            yield Use(field.name, role, f"written to {line.path}", line.rule)


def _chosen(document: Document) -> Iterator[Use]:
    """Yield what only chooses or counts: keys of a choice, what a code is looked up with, counted groups."""
    for line in lines_of(document).values():
        if line.content is None:
            continue
        names = {field.name for field in line.fields}
        for field in line.content.reads():
            if field.name not in names:
                yield Use(field.name, "key", f"chooses what {line.path} holds", line.rule)
        if isinstance(line.content.source, GroupCount):
            yield Use(line.content.source.group.name, "count", f"counted by {line.path}", line.rule)


def _repeated(document: Document) -> Iterator[Use]:
    for target in document.root.leaves():
        if target.each is not None and target.each.key is not None:
            words = f"the key of each {target.each.group} in {target.name}"
            yield Use(target.each.key.name, "key", words, target.each.mark)
        elif target.each is not None:
            words = f"one {target.name} for each"
            yield Use(target.each.group, "count", words, target.each.mark)


def _guards(document: Document) -> Iterator[Use]:
    found = [
        (target.when, f"decides whether {target.name} is written", target.mark)
        for target in document.root.leaves()
    ]
    found += [
        (target.each.when, f"decides which {target.name} are written", target.each.mark)
        for target in document.root.leaves()
        if target.each is not None
    ]
    found += [
        (ask.requirement.when, f"decides whether {ask.name} must be given", ask.mark)
        for ask in flatten(document.asks)
    ]
    found += [
        (need.when, f"decides whether {need.meaning.name} must be there", need.mark)
        for need in document.needs
    ]
    for condition, words, mark in found:
        for test in guards(condition) if condition is not None else ():
            yield Use(test.source.name, "guard", words, mark)


def condition_words(condition: Condition) -> str:
    """Return a condition in words, as ``drug_class is one of 1AG, 1BG``."""
    if isinstance(condition, Test):
        return _test_words(condition)
    if isinstance(condition, Not):
        return f"not ({condition_words(condition.part)})"
    joint = " or " if isinstance(condition, AnyOf) else " and "
    return joint.join(
        f"({condition_words(part)})" if not isinstance(part, Test) else condition_words(part)
        for part in condition.parts
    )


def _test_words(test: Test) -> str:
    if test.operator == "present":
        return f"{test.name} is {'given' if test.values[0] == 'yes' else 'not given'}"
    if test.listed is not None:
        return f"{test.name} is in {test.listed.name}@{test.listed.version}"
    if test.operator == "in":
        return f"{test.name} is one of {', '.join(test.values)}"
    return f"{test.name} is {test.operator.replace('_', ' ').removeprefix('is')} {test.values[0]}".replace(
        "  ", " "
    )


def _source_words(source: Source) -> str:
    """Return in words what a source does beside taking a value, empty when nothing."""
    if isinstance(source, Product):
        return f"multiply, {source.rounding} to {source.decimals} decimals"
    if isinstance(source, Serial):
        return f"serial {source.prefix}%0{source.width}d"
    if isinstance(source, Concat):
        return f"put together with {source.separator!r}"
    if isinstance(source, Default):
        return f"{source.text} where there is none"
    if isinstance(source, Sum):
        return f"sum over {source.over}"
    if isinstance(source, Alike):
        return "the one value of all items"
    if isinstance(source, Where):
        keys = (
            f"{match.key.name} is {match.constant if match.other is None else match.other.name}"
            for match in source.matches
        )
        return "where " + " and ".join(keys)
    return ""


def _step_words(step: Step) -> str:
    if isinstance(step, Via):
        beside = "" if step.beside is None else f" with {step.beside.name}"
        return f"via {step.codes.name}@{step.codes.version}{beside}"
    if isinstance(step, Convert):
        return f"convert to {step.to}, {step.rounding} to {step.decimals} decimals"
    unknown = f", {step.unknown} where the time is unknown" if step.unknown else ""
    return f"form {step.name}{unknown}"
