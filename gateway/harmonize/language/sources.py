"""The primitives that give a target its value, and those that convert it: a closed set, in one place."""

from __future__ import annotations

from gateway.harmonize.language.combined import Concat, Converted, Default, Match, Where
from gateway.harmonize.language.simple import HUB_VALUES, Const, Count, Hub, Index, Product, Serial, Taken
from gateway.harmonize.language.steps import DATE_FORMS, FORMS, Convert, Form, Step, Via
from gateway.harmonize.language.values import (
    EXACT,
    MOST_FACTORS,
    ROUNDINGS,
    MisfitError,
    Source,
    Value,
    plain,
)

__all__ = [
    "DATE_FORMS",
    "EXACT",
    "FORMS",
    "HUB_VALUES",
    "MOST_FACTORS",
    "ROUNDINGS",
    "Concat",
    "Const",
    "Convert",
    "Converted",
    "Count",
    "Default",
    "Form",
    "Hub",
    "Index",
    "Match",
    "MisfitError",
    "Product",
    "Serial",
    "Source",
    "Step",
    "Taken",
    "Value",
    "Via",
    "Where",
    "plain",
]
