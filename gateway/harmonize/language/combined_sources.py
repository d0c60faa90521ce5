"""The combined sources: a default value, a concatenation, and the lookup of an occurrence by its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import SOURCES_DISAGREE, VALUE_DOES_NOT_FIT
from gateway.harmonize.language.conversion_steps import (
    ConvertedSource,
)
from gateway.harmonize.language.unique_fields import Field
from gateway.harmonize.language.value_shapes import ValueShape
from gateway.harmonize.language.value_sources import (
    Constant,
    ConversionError,
    EvaluatedValue,
    FieldValue,
    SourceExpression,
)
from gateway.harmonize.split import Leaves, Scope, parse_sequence_number
from gateway.wire import SourceMark

_MAX_QUOTED_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class DefaultValue(SourceExpression):
    """The value of a source, or a constant where there is none; it reads back as "absent or the constant"."""

    source: FieldValue | OccurrenceLookup
    text: str
    loss = "residue"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the values of the source, or the constant."""
        return self.source.evaluate_values(scope, rule) or [
            EvaluatedValue(self.text, (), "const", ("default",))
        ]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value: the constant has the form of the source."""
        return self.source.infer_shape()

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings that the source forwards."""
        yield from self.source.list_forwarded_sources()

    def list_key_sources(self) -> Iterator[Field]:
        """Yield the keys that select the value."""
        yield from self.source.list_key_sources()

    def invert_value(self, text: str) -> str | None:
        """Return the value; the constant means that the value was absent, or given with this text."""
        return self.source.invert_value(text)


@dataclass(frozen=True, slots=True)
class Concatenation(SourceExpression):
    """Texts joined by a separator that none of them contains, so that they can be split again.

    A part without a value is an empty piece; where only constants would remain, there is no value.
    """

    parts: tuple[ConvertedSource, ...]
    separator: str

    @property
    def loss(self) -> str:
        """Return the loss: the worst loss of the parts."""
        order = ("exact", "residue", "lossy")
        return max((part.loss for part in self.parts), key=order.index)

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the text; raise `ConversionError` where the text could not be split into the same parts."""
        part_values, misfit = self._evaluate_parts(scope, rule)
        leaves = tuple(leaf for value in part_values if value is not None for leaf in value.leaves)
        if misfit is not None:
            raise ConversionError(misfit.problem, misfit.detail, (*misfit.leaves, *leaves))
        if all(
            value is None or isinstance(part.source, Constant)
            for part, value in zip(self.parts, part_values, strict=True)
        ):
            return []
        pieces = [value.text if value is not None else "" for value in part_values]
        text = self.separator.join(pieces)
        if text.split(self.separator) != pieces:
            raise self._make_separator_error([value for value in part_values if value is not None], leaves)
        present_values = [value for value in part_values if value is not None]
        notes = tuple(note for value in present_values for note in value.transforms)
        return [
            EvaluatedValue(
                text, leaves, " + ".join(value.origin for value in present_values), (*notes, "concat")
            )
        ]

    def _evaluate_parts(
        self, scope: Scope, rule: SourceMark
    ) -> tuple[list[EvaluatedValue | None], ConversionError | None]:
        """Return the value of each part, and the first conversion error; all parts are evaluated."""
        part_values: list[EvaluatedValue | None] = []
        first: ConversionError | None = None
        for part in self.parts:
            try:
                part_values.append(next(iter(part.evaluate_values(scope, rule)), None))
            except ConversionError as misfit:
                part_values.append(None)
                first = first or misfit
        return part_values, first

    def _make_separator_error(self, values: list[EvaluatedValue], leaves: Leaves) -> ConversionError:
        held = [value for value in values if self.separator in value.text]
        culprit = (held or [value for value in values if value.leaves])[0]
        detail = f"{culprit.text[:_MAX_QUOTED_CHARACTERS]!r} cannot be told apart by {self.separator!r}"
        return ConversionError(VALUE_DOES_NOT_FIT, detail, (*culprit.leaves, *leaves))

    def invert_parts(self, text: str) -> tuple[str | None, ...] | None:
        """Return the parts of a text, each inverted: empty for a missing part, None without an inverse.

        None for a text that this line does not write.
        """
        pieces = split_by_separator(text, self.separator, len(self.parts))
        if pieces is None:
            return None
        return tuple(
            part.invert_value(piece) if piece else "" for part, piece in zip(self.parts, pieces, strict=True)
        )

    def infer_shape(self) -> ValueShape:
        """Return the form of the text: as long as all parts together."""
        sizes = [part.infer_shape().get_max_length() for part in self.parts]
        bounded_sizes = [size for size in sizes if size is not None]
        total = sum(bounded_sizes) + len(self.separator) * (len(self.parts) - 1)
        return ValueShape("text", max_length=total if len(bounded_sizes) == len(sizes) else None)

    def is_always_present(self) -> bool:
        """Return whether there is always a text: a part that is not constant always has a value."""
        return any(part.is_always_present() and not isinstance(part.source, Constant) for part in self.parts)

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings that the parts forward."""
        for part in self.parts:
            yield from part.list_forwarded_sources()

    def list_key_sources(self) -> Iterator[Field]:
        """Yield the sources that only select the value of a part and are not forwarded."""
        forwarded = list(self.list_forwarded_sources())
        for part in self.parts:
            yield from (source for source in part.list_read_sources() if source not in forwarded)

    def invert_value(self, _text: str) -> str | None:
        """Return None: there are several values (see `invert_parts`)."""
        return None


def split_by_separator(text: str, separator: str, count: int) -> list[str] | None:
    """Return the `count` pieces of `text` between separators, None where their number is different."""
    pieces = text.split(separator)
    return pieces if len(pieces) == count else None


_MAX_QUOTED_KEY: Final = 60


@dataclass(frozen=True, slots=True)
class KeyMatch:
    """The expected value of one key of an occurrence: a constant, or the value of another field."""

    key: Field
    constant: str | None
    compared_field: Field | None
    is_numeric: bool

    def normalize_key(self, text: str) -> str:
        """Return a key in the form in which keys are compared: ``01`` and ``1`` are one number."""
        text = text.strip()
        return (parse_sequence_number(text) or text) if self.is_numeric else text

    def find_expected_key(self, scope: Scope, rule: SourceMark) -> str | None:
        """Return the expected key in `scope`, None where it has no single value."""
        if self.compared_field is None:
            return self.normalize_key(self.constant or "")
        key_values = scope.read_values(self.compared_field, rule)
        return self.normalize_key(key_values[0].text) if len(key_values) == 1 else None


@dataclass(frozen=True, slots=True)
class _KeyedOccurrence:
    """An occurrence with the leaves of its keys."""

    scope: Scope
    leaves: Leaves


_Index = Mapping[tuple[str, ...], list[_KeyedOccurrence]]


@dataclass(frozen=True, slots=True, eq=False)
class OccurrenceLookup(SourceExpression):
    """The value of the one occurrence of a repetition whose keys match.

    `repetitions` are the repetitions around the value; the keys belong to the last of the first
    `key_depth` of them.  All its occurrences are searched, while the repetitions outside it stay
    at the occurrences that contain the line.  No match means no value; several are GW505.
    """

    value_source: FieldValue
    matches: tuple[KeyMatch, ...]
    repetitions: tuple[str, ...]
    key_depth: int

    @property
    def loss(self) -> str:
        """Return the loss of the lookup: none with constant keys, since these are known."""
        return "exact" if all(match.compared_field is None for match in self.matches) else "residue"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the value of the one matching occurrence; raise `ConversionError` where several match."""
        index = self._get_key_index(scope, rule)
        expected_keys = [match.find_expected_key(scope, rule) for match in self.matches]
        hits = index.get(tuple(text for text in expected_keys if text is not None), [])
        if None in expected_keys or not hits:
            return []
        if len(hits) > 1:
            key_text = ", ".join(str(text)[:_MAX_QUOTED_KEY] for text in expected_keys)
            detail = f"{len(hits)} occurrences have {self._format_key_names()} {key_text}"
            raise ConversionError(SOURCES_DISAGREE, detail, (*hits[1].leaves, *hits[0].leaves))
        values = self._evaluate_inside(hits[0].scope, rule)
        if len(values) > 1:
            leaves = tuple(leaf for value in reversed(values) for leaf in value.leaves)
            raise ConversionError(
                SOURCES_DISAGREE, f"{self.value_source.source.name} has {len(values)} values", leaves
            )
        return values

    def _format_key_names(self) -> str:
        return ", ".join(match.key.name for match in self.matches)

    def _evaluate_inside(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        scopes = [scope]
        for level in self.repetitions[self.key_depth :]:
            scopes = [inner for outer in scopes for inner in outer.enter_repetition(level)]
        return [value for inner in scopes for value in self.value_source.evaluate_values(inner, rule)]

    def _get_key_index(self, scope: Scope, rule: SourceMark) -> _Index:
        """Return the occurrences by their keys, indexed once for all lines in one place."""
        outer = [
            level for level in self.repetitions[: self.key_depth - 1] if scope.is_inside_repetition(level)
        ]
        marks = [_identify_occurrence(scope, level) for level in outer]
        # The tuple of item numbers is one and the same object in all scopes of one place.
        key = (id(self), id(scope.item_numbers), *marks)
        indexed = scope.answers.indexes.get(key)
        if indexed is None:
            indexed = (scope, self._build_key_index(scope, rule))
            scope.answers.indexes[key] = indexed
        index: _Index = indexed[1]
        return index

    def _build_key_index(self, scope: Scope, rule: SourceMark) -> _Index:
        """Return the occurrences within `scope` by their keys; each key must have one value.

        Record the values of all occurrences as withheld by `rule`.
        """
        scopes = [scope]
        for position, level in enumerate(self.repetitions[: self.key_depth], 1):
            if position == self.key_depth or not scope.is_inside_repetition(level):
                scopes = [inner for outer in scopes for inner in outer.enter_repetition(level)]
        index: dict[tuple[str, ...], list[_KeyedOccurrence]] = {}
        for inner in scopes:
            for value in self._evaluate_inside(inner, rule):
                # The selected value becomes forwarded later; this rule withholds the others.
                scope.trace.record_fate(value.leaves, "withheld", rule)
            key_values = [inner.read_values(match.key, rule) for match in self.matches]
            if all(len(values) == 1 for values in key_values):
                key = tuple(
                    m.normalize_key(values[0].text)
                    for m, values in zip(self.matches, key_values, strict=True)
                )
                leaves = tuple(leaf for values in key_values for leaf in values[0].leaves)
                index.setdefault(key, []).append(_KeyedOccurrence(inner, leaves))
        return index

    def infer_shape(self) -> ValueShape:
        """Return the form of the value."""
        return self.value_source.infer_shape()

    def is_always_present(self) -> bool:
        """Return False: an occurrence may be missing."""
        return False

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the field or meaning whose value is taken."""
        yield self.value_source.source

    def list_key_sources(self) -> Iterator[Field]:
        """Yield the keys and the sources that they are compared with: these select the occurrence."""
        for match in self.matches:
            yield match.key
            if match.compared_field is not None:
                yield match.compared_field

    def find_attribute_carrier(self) -> Field | None:
        """Return the field or meaning whose value is taken."""
        return self.value_source.source


def _identify_occurrence(scope: Scope, level: str) -> object:
    """Return the identity of the occurrence of a repetition that `scope` is in."""
    if level == "item":
        return scope.item
    kind, _, name = level.partition(":")
    return (scope.unique_occurrences if kind == "asked" else scope.common_occurrences)[name]
