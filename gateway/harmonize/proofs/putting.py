"""Puts single values through the conversions of a line and back, without any submission around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.harmonize.language.sources import Convert, Converted, MisfitError, Via
from gateway.harmonize.language.values import Value
from gateway.harmonize.terms.asks import Ask

__all__ = ["Setting", "fits", "got", "put", "settings_of"]

_MOST_BESIDE = 400


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands beside a value that is converted: the value of another field, the unit it is given in."""

    beside: str = ""
    unit: str | None = None

    def __str__(self) -> str:
        unit = f" in {self.unit}" if self.unit is not None else ""
        return unit + (f" beside {self.beside}" if self.beside else "")


def settings_of(content: Converted) -> Iterator[Setting]:
    """Yield every setting that the line's conversions tell apart; none where these are not countable."""
    besides: list[str] = [""]
    units: list[str | None] = [None]
    for step in content.steps:
        if isinstance(step, Via) and step.beside is not None:
            besides = list(step.beside.shape.codes or ())[:_MOST_BESIDE]
        if isinstance(step, Convert):
            carried = content.source.carries()
            units = list(carried.units) if isinstance(carried, Ask) else [step.to]
    yield from (Setting(beside, unit) for beside in besides for unit in units)


def put(content: Converted, text: str, setting: Setting) -> str | None:
    """Return what becomes of a value; None where it is left out; raises `MisfitError` where it cannot be."""
    measured = None if setting.unit is None else (setting.unit, ())
    value: Value | None = Value(text, (), "", (), None, measured)
    for step in content.steps:
        value = step.apply(value, setting.beside) if value is not None else None
    return value.text if value is not None else None


def got(content: Converted, written: str, setting: Setting) -> str | None:
    """Return the value that was written, None where it cannot be read back."""
    text: str | None = written
    for step in reversed(content.steps):
        if text is None:
            return None
        if isinstance(step, Via):
            text = step.undo(text, setting.beside if step.beside is not None else None)
        elif isinstance(step, Convert):
            text = step.undo(text, setting.unit)
        else:
            text = step.undo(text)
    return text


def fits(content: Converted, text: str, setting: Setting) -> str | None:
    """Return what becomes of a value, None also where the line refuses it."""
    try:
        return put(content, text, setting)
    except MisfitError:
        return None
