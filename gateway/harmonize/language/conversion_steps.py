"""The conversion steps of a value and their inverses: date format, code translation, unit conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import CODE_UNKNOWN, FIELD_MISSING, RULE_BROKEN, VALUE_DOES_NOT_FIT
from gateway.harmonize.language.code_lists import DEFAULT_ZONE, CodeList, localize_moment
from gateway.harmonize.language.unique_fields import Field
from gateway.harmonize.language.unit_table import UnitTable, format_decimal, parse_fraction, round_fraction
from gateway.harmonize.language.value_shapes import DECIMAL, ValueShape
from gateway.harmonize.language.value_sources import ConversionError, EvaluatedValue, SourceExpression
from gateway.harmonize.split import Leaves, Scope
from gateway.wire import (
    SourceMark,
    describe_choices,
    describe_wrong_moment,
    is_calendar_text,
    quote_value,
)

_MAX_QUOTED_CHARACTERS: Final = 60
FORMATS: Final = {
    "iso": ValueShape("moment"),
    "date": ValueShape("date"),
    "CCYYMMDD": ValueShape("day"),
    "CCYYMM": ValueShape("digits", max_length=6, is_fixed_length=True),
    "CCYYMMDDHHMMSS": ValueShape("digits", max_length=14, is_fixed_length=True),
    "digits": ValueShape("digits"),
    "digits10": ValueShape("digits", max_length=10, is_fixed_length=True),
}
DATE_FORMATS: Final = ("iso", "date", "CCYYMMDD", "CCYYMM", "CCYYMMDDHHMMSS")
_LOSSY: Final = ("date", "CCYYMMDD", "CCYYMM", "CCYYMMDDHHMMSS")


@dataclass(frozen=True, slots=True)
class FormatStep:
    """Writes a date (or checks a code) in a named format; `unknown` is written where no time was given.

    A time that equals `unknown` is rejected: it would read back as "no time given". Of an
    instant, the text keeps the day and the time in `zone`, whichever zone the original text names.
    """

    format_name: str
    unknown: str
    zone: str = DEFAULT_ZONE

    @property
    def loss(self) -> str:
        """Return the loss of the format: it may drop the time, the day, or the zone and fractions (lossy)."""
        return "lossy" if self.format_name in _LOSSY else "exact"

    @property
    def is_check(self) -> bool:
        """Return whether the format leaves every value as it is, and only a value of this format is right."""
        return self.format_name in ("iso", "digits", "digits10")

    @property
    def format_note(self) -> str:
        """Return the note on this step in the `transforms` of a value: ``form NAME``."""
        return f"form {self.format_name}"

    def convert_value(self, value: EvaluatedValue, _beside: str = "") -> EvaluatedValue | None:
        """Return the value in this format."""
        if self.is_check:
            return value
        return value._replace(
            text=self._format_text(value.text), transforms=(*value.transforms, self.format_note)
        )

    def find_formatted_text(self, text: str) -> str | None:
        """Return a text in this format, None where it cannot be written in it."""
        try:
            return self._format_text(text)
        except ConversionError:
            return None

    def _format_text(self, text: str) -> str:
        """Return a moment in this format; raise ConversionError if it is not in the calendar."""
        if not is_calendar_text(text, "moment"):
            # The digits of a day that does not exist look like a date, too.
            raise ConversionError(RULE_BROKEN, describe_wrong_moment(text))
        text = self._localize(text)
        if self.format_name == "CCYYMMDDHHMMSS":
            return self._format_date_and_time(text)
        size = 7 if self.format_name == "CCYYMM" else 10
        return text[:size] if self.format_name == "date" else text[:size].replace("-", "")

    def _localize(self, text: str) -> str:
        try:
            return localize_moment(text, self.zone)
        except OverflowError:
            detail = f"{quote_value(text)} has no day in the zone {self.zone}"
            raise ConversionError(VALUE_DOES_NOT_FIT, detail) from None

    def invert_value(self, text: str) -> str | None:
        """Return the date that `text` was written from, in ISO 8601; None where `text` is no date.

        A time equal to `unknown` reads back as a date without time, never as midnight.
        """
        if FORMATS[self.format_name].find_violation(text) is not None or self.format_name == "CCYYMM":
            return None
        if self.format_name in ("iso", "date", "digits", "digits10"):
            return text
        day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
        if self.format_name == "CCYYMMDDHHMMSS" and text[8:] != self.unknown:
            day = f"{day}T{text[8:10]}:{text[10:12]}:{text[12:14]}"
        return day if is_calendar_text(day, "moment") else None

    def _format_date_and_time(self, text: str) -> str:
        """Return a local moment as CCYYMMDDHHMMSS, with the digits `unknown` for a missing time.

        Raise ConversionError if there are no such digits, or if the time is the same as these.
        """
        day, _, time = text.partition("T")
        if not time and not self.unknown:
            raise ConversionError(VALUE_DOES_NOT_FIT, "the time is not known and the form demands one")
        digits = time[:8].replace(":", "") if time else self.unknown
        if time and digits == self.unknown:
            detail = f"the time {time[:8]} cannot be told from a time that is not known ({self.unknown})"
            raise ConversionError(VALUE_DOES_NOT_FIT, detail)
        return day.replace("-", "") + digits

    def infer_shape(self) -> ValueShape:
        """Return the format of the result."""
        return FORMATS[self.format_name]

    def list_read_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings that the format reads beside the value: none."""
        yield from ()


@dataclass(frozen=True, slots=True)
class TranslationStep:
    """Translates a code by a list; an unknown code is an error unless `omits_unknown_codes` is declared.

    With `paired_field`, the code is looked up together with the value of that field or meaning.
    """

    code_list: CodeList
    omits_unknown_codes: bool
    paired_field: Field | None = None

    @property
    def loss(self) -> str:
        """Return the loss of the translation."""
        if self.code_list.direction != "both":
            return "lossy"
        return "exact" if self.paired_field is None else "residue"

    def convert_value(self, value: EvaluatedValue, second_key: str = "") -> EvaluatedValue | None:
        """Return the translated value, None for an unknown code that may be omitted."""
        text = self.code_list.translate_code(value.text, second_key)
        if text is None and self.omits_unknown_codes:
            return None
        if text is None:
            detail = f"{quote_value(value.text)} is not in the list {self.code_list.name}"
            if self.paired_field is not None:
                detail += f" beside {quote_value(second_key)} ({self.paired_field.name})"
            choices = self.code_list.list_codes_beside(second_key)
            raise ConversionError(CODE_UNKNOWN, f"{detail}; expected is {describe_choices(choices)}")
        step = self.code_list.translation_note
        if self.paired_field is not None:
            step += f" with {second_key}"
        return value._replace(text=text, transforms=(*value.transforms, step))

    def invert_value(self, text: str, second_key: str | None = None) -> str | None:
        """Return the one code that becomes `text`, given the `second_key` beside it; else None."""
        return self.code_list.invert_code(text, second_key)

    def infer_shape(self) -> ValueShape:
        """Return the format of the result."""
        return ValueShape("text", codes=self.code_list.result_codes, list_name=self.code_list.name)

    def list_read_sources(self) -> Iterator[Field]:
        """Yield the field or meaning that the translation reads beside the value, if it has one."""
        if self.paired_field is not None:
            yield self.paired_field


@dataclass(frozen=True, slots=True)
class UnitConversion:
    """Converts a quantity exactly to another unit of its dimension, then rounds it as declared.

    `source_unit` is the unit of all values where there is only one.  The given quantity is recorded
    in the note of the transform, and so in the provenance.
    """

    units: UnitTable
    target_unit: str
    decimals: int
    rounding: str
    source_unit: str | None

    @property
    def loss(self) -> str:
        """Return the loss of the conversion: none where it may not round and the unit is known."""
        return "exact" if self.rounding == "exact" and self.source_unit is not None else "lossy"

    def convert_value(self, value: EvaluatedValue, _beside: str = "") -> EvaluatedValue | None:
        """Return the value in the other unit."""
        unit, leaves = value.stated_unit or (self.source_unit, ())
        if unit is None:
            raise ConversionError(
                FIELD_MISSING, f"{value.text[:_MAX_QUOTED_CHARACTERS]!r} has no unit", value.leaves
            )
        if not DECIMAL.fullmatch(value.text.strip()):
            raise ConversionError(
                RULE_BROKEN, f"{value.text[:_MAX_QUOTED_CHARACTERS]!r} is not a number", value.leaves
            )
        number = parse_fraction(value.text)
        exact = self.units.convert_quantity(number, unit, self.target_unit)
        if exact is None:
            raise self._make_unit_error(unit, leaves or value.leaves)
        rounded = round_fraction(exact, self.decimals, self.rounding)
        quantity = f"{format_decimal(number)} {unit}"
        if rounded is None:
            detail = f"{quantity} is not a number of {self.target_unit} with {self.decimals} decimals"
            raise ConversionError(VALUE_DOES_NOT_FIT, detail, value.leaves)
        text = format_decimal(rounded) or "0"
        note = f"convert {quantity} to {text} {self.target_unit}"
        if rounded != exact:
            note += f" (rounded {self.rounding} to {self.decimals})"
        return value._replace(
            text=text, transforms=(*value.transforms, note), converted_unit=self.target_unit
        )

    def _make_unit_error(self, unit: str, leaves: Leaves) -> ConversionError:
        """Return the error for a unit that is not in the table (GW403) or has another dimension (GW404)."""
        from_unit, to_unit = self.units.get(unit), self.units.get(self.target_unit)
        if from_unit is None or to_unit is None:
            choices = describe_choices(self.units.list_convertible_units(self.target_unit))
            detail = f"{quote_value(unit)} is not in the table of units; expected is {choices}"
            return ConversionError(CODE_UNKNOWN, detail, leaves)
        detail = f"{unit} is a unit of {from_unit.dimension}, {self.target_unit} one of {to_unit.dimension}"
        return ConversionError(RULE_BROKEN, detail, leaves)

    def invert_value(self, text: str, unit: str | None = None) -> str | None:
        """Return the quantity in `unit` (or in the one unit that it can have) that is exactly `text`.

        None where there is no such finite decimal, or where it would not become `text` again.
        """
        origin = unit or self.source_unit
        if origin is None or not DECIMAL.fullmatch(text.strip()):
            return None
        back = self.units.convert_quantity(parse_fraction(text), self.target_unit, origin)
        return None if back is None else format_decimal(back)

    def infer_shape(self) -> ValueShape:
        """Return the format of the result."""
        return ValueShape("decimal", fraction_digits=self.decimals)

    def list_read_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings that the conversion reads beside the value and its unit: none."""
        yield from ()


ConversionStep = FormatStep | TranslationStep | UnitConversion


@dataclass(frozen=True, slots=True)
class ConvertedSource:
    """A source with its conversions, in order."""

    source: SourceExpression
    steps: tuple[ConversionStep, ...]

    @property
    def loss(self) -> str:
        """Return the loss: the worst loss of the source and the steps."""
        order = ("exact", "residue", "lossy")
        return max((self.source.loss, *(step.loss for step in self.steps)), key=order.index)

    @property
    def converted_unit(self) -> str | None:
        """Return the unit that all values are converted to, None without a conversion."""
        return next((step.target_unit for step in self.steps if isinstance(step, UnitConversion)), None)

    def evaluate_values(self, scope: Scope, rule: SourceMark) -> Iterable[EvaluatedValue]:
        """Return the converted values; raise `ConversionError` where one cannot be converted."""
        return (
            self._evaluate_converted_values(scope, rule)
            if self.steps
            else self.source.evaluate_values(scope, rule)
        )

    def _evaluate_converted_values(self, scope: Scope, rule: SourceMark) -> Iterator[EvaluatedValue]:
        """Yield the values of the source, converted by all steps, without those that a translation omits.

        Record a unit that was converted as consumed.
        """
        second_key = self.read_second_key(scope, rule)
        for value in self.source.evaluate_values(scope, rule):
            if self.converted_unit is not None and value.stated_unit is not None:
                scope.trace.record_fate(value.stated_unit[1], "consumed", rule)
            result = self._convert_value(value, second_key)
            if result is not None:
                yield result

    def read_second_key(self, scope: Scope, rule: SourceMark) -> str:
        """Return the second key of a translation, recorded as read; an empty text where there is none."""
        for step in self.steps:
            if isinstance(step, TranslationStep) and step.paired_field is not None:
                key_values = scope.read_values(step.paired_field, rule)
                return key_values[0].text.strip() if len(key_values) == 1 else ""
        return ""

    def _convert_value(self, value: EvaluatedValue, second_key: str) -> EvaluatedValue | None:
        """Return `value` converted by all steps, None if a translation omits it.

        `second_key` is used by a translation whose code list has two key columns. A `ConversionError` that is
        raised also contains the leaves of `value`.
        """
        result: EvaluatedValue | None = value
        try:
            for step in self.steps:
                result = step.convert_value(result, second_key) if result is not None else None
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
        """Return the format of the values."""
        shape = self.source.infer_shape()
        for step in self.steps:
            shape = step.infer_shape()
        return shape

    def is_always_present(self) -> bool:
        """Return whether there is always a value."""
        return self.source.is_always_present() and not any(
            isinstance(step, TranslationStep) and step.omits_unknown_codes for step in self.steps
        )

    def list_forwarded_sources(self) -> Iterator[Field]:
        """Yield the fields and meanings whose values reach the target."""
        yield from self.source.list_forwarded_sources()

    def list_read_sources(self) -> Iterator[Field]:
        """Yield every field and meaning that can change the outcome, the forwarded ones first."""
        yield from self.source.list_read_sources()
        for step in self.steps:
            yield from step.list_read_sources()

    def find_attribute_carrier(self) -> Field | None:
        """Return the field or meaning whose attribute the value carries."""
        return self.source.find_attribute_carrier()
