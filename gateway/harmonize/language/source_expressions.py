"""The primitives that give a target its value, and those that convert it: a closed set, in one place."""

from __future__ import annotations

from gateway.harmonize.language.combined_sources import (
    Concatenation,
    ConvertedSource,
    DefaultValue,
    KeyMatch,
    OccurrenceLookup,
)
from gateway.harmonize.language.conversion_steps import (
    DATE_FORMS,
    FORMS,
    ConversionStep,
    FormatStep,
    TranslationStep,
    UnitConversion,
)
from gateway.harmonize.language.evaluated_value import (
    EXACT,
    MOST_FACTORS,
    ROUNDINGS,
    ConversionError,
    EvaluatedValue,
    SourceExpression,
    format_plain_decimal,
)
from gateway.harmonize.language.simple_sources import (
    HUB_VALUES,
    Constant,
    FieldValue,
    GroupPosition,
    HubValue,
    ItemCount,
    Product,
    SerialNumber,
)

__all__ = [
    "DATE_FORMS",
    "EXACT",
    "FORMS",
    "HUB_VALUES",
    "MOST_FACTORS",
    "ROUNDINGS",
    "Concatenation",
    "Constant",
    "ConversionError",
    "ConversionStep",
    "ConvertedSource",
    "DefaultValue",
    "EvaluatedValue",
    "FieldValue",
    "FormatStep",
    "GroupPosition",
    "HubValue",
    "ItemCount",
    "KeyMatch",
    "OccurrenceLookup",
    "Product",
    "SerialNumber",
    "SourceExpression",
    "TranslationStep",
    "UnitConversion",
    "format_plain_decimal",
]
