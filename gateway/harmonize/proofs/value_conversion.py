"""Converts single values by the steps of a line and inverts them, without a submission."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.harmonize.language import (
    ConversionError,
    ConvertedSource,
    EvaluatedValue,
    TranslationStep,
    UniqueField,
    UnitConversion,
)

_MAX_SECOND_KEYS = 400


@dataclass(frozen=True, slots=True)
class ConversionSetting:
    """The further inputs of a conversion: the value of another field, and the unit of the value."""

    paired_value: str = ""
    unit: str | None = None

    def __str__(self) -> str:
        unit = f" in {self.unit}" if self.unit is not None else ""
        return unit + (f" beside {self.paired_value}" if self.paired_value else "")


def list_settings(content: ConvertedSource) -> Iterator[ConversionSetting]:
    """Yield every setting that the line's conversions distinguish; none where these cannot be listed."""
    besides: list[str] = [""]
    units: list[str | None] = [None]
    for step in content.steps:
        if isinstance(step, TranslationStep) and step.paired_field is not None:
            besides = list(step.paired_field.shape.codes or ())[:_MAX_SECOND_KEYS]
        if isinstance(step, UnitConversion):
            carried = content.source.find_attribute_carrier()
            units = list(carried.units) if isinstance(carried, UniqueField) else [step.target_unit]
    yield from (ConversionSetting(second_key, unit) for second_key in besides for unit in units)


def convert_value(content: ConvertedSource, text: str, setting: ConversionSetting) -> str | None:
    """Return the converted value, None where it is omitted; raise `ConversionError` where it cannot be."""
    measured = None if setting.unit is None else (setting.unit, ())
    value: EvaluatedValue | None = EvaluatedValue(text, (), "", (), None, measured)
    for step in content.steps:
        value = step.convert_value(value, setting.paired_value) if value is not None else None
    return value.text if value is not None else None


def invert_value(content: ConvertedSource, written: str, setting: ConversionSetting) -> str | None:
    """Return the value that was written, None where it cannot be read back."""
    text: str | None = written
    for step in reversed(content.steps):
        if text is None:
            return None
        if isinstance(step, TranslationStep):
            text = step.invert_value(text, setting.paired_value if step.paired_field is not None else None)
        elif isinstance(step, UnitConversion):
            text = step.invert_value(text, setting.unit)
        else:
            text = step.invert_value(text)
    return text


def convert_if_fitting(content: ConvertedSource, text: str, setting: ConversionSetting) -> str | None:
    """Return the converted value, None where the line omits it or cannot convert it."""
    try:
        return convert_value(content, text, setting)
    except ConversionError:
        return None
