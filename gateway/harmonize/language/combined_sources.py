"""The sources that combine: a default, texts put together; and a source with its conversions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import VALUE_DOES_NOT_FIT
from gateway.harmonize.language.conversion_steps import ConversionStep, TranslationStep, UnitConversion
from gateway.harmonize.language.evaluated_value import ConversionError, EvaluatedValue, SourceExpression
from gateway.harmonize.language.occurrence_lookup import (
    KeyMatch,
    OccurrenceLookup,
    enter_repetition,
    is_inside_repetition,
    list_enclosing_repetitions,
)
from gateway.harmonize.language.simple_sources import Constant, FieldValue
from gateway.harmonize.submission.evaluation_scope import Scope
from gateway.harmonize.types.data_dictionary import CommonMeaning
from gateway.harmonize.types.strict_yaml import SourceMark
from gateway.harmonize.types.unique_fields import UniqueField
from gateway.harmonize.types.value_shapes import ValueShape

__all__ = [
    "Concatenation",
    "ConvertedSource",
    "DefaultValue",
    "KeyMatch",
    "OccurrenceLookup",
    "enter_repetition",
    "is_inside_repetition",
    "list_enclosing_repetitions",
    "split_by_separator",
]

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class DefaultValue:
    """What a source gives, and a constant where it gives nothing: reads back as "absent or that"."""

    source: FieldValue | OccurrenceLookup
    text: str
    loss = "residue"

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the values of the source, or the constant."""
        return self.source.evaluate_values(scope, rule) or [
            EvaluatedValue(self.text, (), "const", ("default",))
        ]

    def infer_shape(self) -> ValueShape:
        """Return the form of the value: the constant has that of the source."""
        return self.source.infer_shape()

    def is_always_present(self) -> bool:
        """Return whether there is always a value: yes."""
        return True

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what the source forwards."""
        yield from self.source.list_forwarded_sources()

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what the source reads."""
        yield from self.source.list_read_sources()

    def list_key_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what chooses the value."""
        yield from self.source.list_key_sources() if isinstance(self.source, OccurrenceLookup) else ()

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return nothing: the constant has no attribute."""
        return None

    def invert_value(self, text: str) -> str | None:
        """Return the value; the constant is what was absent, or given as that."""
        return self.source.invert_value(text)


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Texts put together by a separator that none of them holds, so that they can be taken apart again.

    A part without a value is an empty piece; where only constants would stand there is no value.
    """

    parts: tuple[ConvertedSource, ...]
    separator: str

    @property
    def loss(self) -> str:
        """Return what is lost: the worst of the parts."""
        order = ("exact", "residue", "lossy")
        return max((part.loss for part in self.parts), key=order.index)

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> list[EvaluatedValue]:
        """Return the text; raises `MisfitError` where a part cannot be told from its neighbours."""
        found, misfit = self._evaluate_parts(scope, rule)
        leaves = tuple(leaf for value in found if value is not None for leaf in value.leaves)
        if misfit is not None:
            raise ConversionError(misfit.problem, misfit.detail, (*misfit.leaves, *leaves))
        if all(
            value is None or isinstance(part.source, Constant)
            for part, value in zip(self.parts, found, strict=True)
        ):
            return []
        pieces = [value.text if value is not None else "" for value in found]
        text = self.separator.join(pieces)
        if text.split(self.separator) != pieces:
            raise self._make_separator_error([value for value in found if value is not None], leaves)
        given = [value for value in found if value is not None]
        notes = tuple(note for value in given for note in value.transforms)
        return [EvaluatedValue(text, leaves, " + ".join(value.origin for value in given), (*notes, "concat"))]

    def _evaluate_parts(
        self, scope: Scope, rule: SourceMark
    ) -> tuple[list[EvaluatedValue | None], ConversionError | None]:
        """Return the value of each part, and the first refusal of one; the others are read all the same."""
        found: list[EvaluatedValue | None] = []
        first: ConversionError | None = None
        for part in self.parts:
            try:
                found.append(next(iter(part.evaluate_values(scope, rule)), None))
            except ConversionError as misfit:
                found.append(None)
                first = first or misfit
        return found, first

    def _make_separator_error(self, given: list[EvaluatedValue], leaves: tuple[int, ...]) -> ConversionError:
        held = [value for value in given if self.separator in value.text]
        culprit = (held or [value for value in given if value.leaves])[0]
        detail = f"{culprit.text[:_SHOWN]!r} cannot be told apart by {self.separator!r}"
        return ConversionError(VALUE_DOES_NOT_FIT, detail, (*culprit.leaves, *leaves))

    def invert_parts(self, text: str) -> tuple[str | None, ...] | None:
        """Return the parts of a text, each read back: empty where there was none, None where it cannot be.

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
        known = [size for size in sizes if size is not None]
        total = sum(known) + len(self.separator) * (len(self.parts) - 1)
        return ValueShape("text", longest=total if len(known) == len(sizes) else None)

    def is_always_present(self) -> bool:
        """Return whether there is always a text: where a part that is no constant always has one."""
        return any(part.is_always_present() and not isinstance(part.source, Constant) for part in self.parts)

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what the parts forward."""
        for part in self.parts:
            yield from part.list_forwarded_sources()

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what the parts read, that which they forward first."""
        yield from self.list_forwarded_sources()
        yield from self.list_key_sources()

    def list_key_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield what only chooses the value of a part, and is none of the parts itself."""
        forwarded = list(self.list_forwarded_sources())
        for part in self.parts:
            yield from (one for one in part.list_read_sources() if one not in forwarded)

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return nothing: a text of several has no attribute."""
        return None

    def invert_value(self, _text: str) -> str | None:
        """Return nothing: there are several values (see `invert_parts`)."""
        return None


def split_by_separator(text: str, separator: str, count: int) -> list[str] | None:
    """Return the `count` pieces that were put together by `separator`, None where there are not so many."""
    pieces = text.split(separator)
    return pieces if len(pieces) == count else None


@dataclass(frozen=True, slots=True)
class ConvertedSource:
    """A source with its conversions, in order."""

    source: SourceExpression
    steps: tuple[ConversionStep, ...]

    @property
    def loss(self) -> str:
        """Return what is lost: the worst of the source and the steps."""
        order = ("exact", "residue", "lossy")
        return max((self.source.loss, *(step.loss for step in self.steps)), key=order.index)

    @property
    def converted_unit(self) -> str | None:
        """Return the unit that all values are converted to, None where they keep theirs."""
        return next((step.to for step in self.steps if isinstance(step, UnitConversion)), None)

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> Iterable[EvaluatedValue]:
        """Return the converted values; raises `MisfitError` where one cannot be converted."""
        return (
            self._evaluate_converted_values(scope, rule)
            if self.steps
            else self.source.evaluate_values(scope, rule)
        )

    def _evaluate_converted_values(self, scope: Scope, rule: SourceMark) -> Iterator[EvaluatedValue]:
        beside = self.read_second_key(scope, rule)
        for value in self.source.evaluate_values(scope, rule):
            if self.converted_unit is not None and value.measured is not None:
                scope.trace.record_fate(value.measured[1], "consumed", rule)
            result = self._convert_value(value, beside)
            if result is not None:
                yield result

    def read_second_key(self, scope: Scope, rule: SourceMark) -> str:
        """Return the value that a translation needs beside the code, noted as read; else an empty text."""
        for step in self.steps:
            if isinstance(step, TranslationStep) and step.beside is not None:
                found = scope.read_values(step.beside, rule)
                return found[0].text.strip() if len(found) == 1 else ""
        return ""

    def _convert_value(self, value: EvaluatedValue, beside: str) -> EvaluatedValue | None:
        result: EvaluatedValue | None = value
        try:
            for step in self.steps:
                result = step.convert_value(result, beside) if result is not None else None
        except ConversionError as misfit:
            leaves = tuple(dict.fromkeys((*misfit.leaves, *value.leaves)))
            raise ConversionError(misfit.problem, misfit.detail, leaves) from None
        return result

    def invert_value(self, text: str) -> str | None:
        """Return the value of the source that was written as `text`; None where it cannot be read back."""
        result: str | None = text
        for step in reversed(self.steps):
            result = step.invert_value(result) if result is not None else None
        return self.source.invert_value(result) if result is not None else None

    def infer_shape(self) -> ValueShape:
        """Return the form of the values."""
        shape = self.source.infer_shape()
        for step in self.steps:
            shape = step.infer_shape()
        return shape

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.source.is_always_present() and not any(
            isinstance(step, TranslationStep) and step.omit for step in self.steps
        )

    def list_forwarded_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield the fields and meanings whose values reach the target."""
        yield from self.source.list_forwarded_sources()

    def list_read_sources(self) -> Iterator[UniqueField | CommonMeaning]:
        """Yield every field and meaning that can change the outcome, those forwarded first."""
        yield from self.source.list_read_sources()
        for step in self.steps:
            yield from step.list_read_sources()

    def find_attribute_carrier(self) -> UniqueField | CommonMeaning | None:
        """Return the field or meaning whose attribute the value carries."""
        return self.source.find_attribute_carrier()
