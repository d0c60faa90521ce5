"""The conversions of a value: a date's form, a code's translation, a quantity's unit; and their way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from gateway.errors import CODE_UNKNOWN, FIELD_MISSING, RULE_BROKEN, VALUE_DOES_NOT_FIT
from gateway.harmonize.language.values import MisfitError, Value
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.codelists import CodeList
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.shapes import DECIMAL, Shape
from gateway.harmonize.terms.units import Units, decimal_text, exact_number, round_exactly

__all__ = ["DATE_FORMS", "FORMS", "Convert", "Form", "Step", "Via"]

_SHOWN: Final = 60
FORMS: Final = {
    "iso": Shape("moment"),
    "date": Shape("date"),
    "CCYYMMDD": Shape("day"),
    "CCYYMM": Shape("digits", longest=6, exact=True),
    "CCYYMMDDHHMMSS": Shape("digits", longest=14, exact=True),
    "digits": Shape("digits"),
    "digits10": Shape("digits", longest=10, exact=True),
}
DATE_FORMS: Final = ("iso", "date", "CCYYMMDD", "CCYYMM", "CCYYMMDDHHMMSS")
_LOSSY: Final = ("date", "CCYYMMDD", "CCYYMM", "CCYYMMDDHHMMSS")


@dataclass(frozen=True, slots=True)
class Form:
    """Writes a date (or checks a code) in a named form; `unknown` stands for a time that was not given.

    A time that equals `unknown` is refused: it would read back as no time at all.
    """

    name: str
    unknown: str

    @property
    def loss(self) -> str:
        """Return what the form loses: a day the time, a month the day, a moment its zone and fractions."""
        return "lossy" if self.name in _LOSSY else "exact"

    def apply(self, value: Value, _beside: str = "") -> Value | None:
        """Return the value in this form."""
        text = value.text
        if self.name in ("iso", "digits", "digits10"):
            return value
        if self.name == "CCYYMMDDHHMMSS":
            text = self._with_time(text)
        else:
            size = 7 if self.name == "CCYYMM" else 10
            text = text[:size] if self.name == "date" else text[:size].replace("-", "")
        return value._replace(text=text, transforms=(*value.transforms, f"form {self.name}"))

    def undo(self, text: str) -> str | None:
        """Return the date that `text` was written from, in ISO 8601; None where it says none.

        A time that stands for "not given" reads back as a date without time, never as midnight.
        """
        if FORMS[self.name].refuse(text) is not None or self.name == "CCYYMM":
            return None
        if self.name in ("iso", "date", "digits", "digits10"):
            return text
        day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
        if self.name == "CCYYMMDDHHMMSS" and text[8:] != self.unknown:
            day = f"{day}T{text[8:10]}:{text[10:12]}:{text[12:14]}"
        return day if _exists(day) else None

    def _with_time(self, text: str) -> str:
        day, _, time = text.partition("T")
        if not time and not self.unknown:
            raise MisfitError(VALUE_DOES_NOT_FIT, "the time is not known and the form demands one")
        digits = time[:8].replace(":", "") if time else self.unknown
        if time and digits == self.unknown:
            detail = f"the time {time[:8]} cannot be told from a time that is not known ({self.unknown})"
            raise MisfitError(VALUE_DOES_NOT_FIT, detail)
        return day.replace("-", "") + digits

    def shape(self) -> Shape:
        """Return the form of the result."""
        return FORMS[self.name]

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield what the form reads beside the value: nothing."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Via:
    """Translates a code by a list; an unknown code is an error unless `omit` is declared.

    With `beside`, the code is looked up together with the value of that field or meaning.
    """

    codes: CodeList
    omit: bool
    beside: Ask | Meaning | None = None

    @property
    def loss(self) -> str:
        """Return what the translation loses."""
        if self.codes.direction != "both":
            return "lossy"
        return "exact" if self.beside is None else "residue"

    def apply(self, value: Value, beside: str = "") -> Value | None:
        """Return the translated value, None when it is unknown and may be left out."""
        text = self.codes.translate(value.text, beside)
        if text is None and self.omit:
            return None
        if text is None:
            detail = f"{value.text[:_SHOWN]!r} is not in the list {self.codes.name}"
            if self.beside is not None:
                detail += f" beside {beside[:_SHOWN]!r} ({self.beside.name})"
            raise MisfitError(CODE_UNKNOWN, detail)
        step = f"via {self.codes.name}@{self.codes.version}"
        if self.beside is not None:
            step += f" with {beside}"
        return value._replace(text=text, transforms=(*value.transforms, step))

    def undo(self, text: str, beside: str | None = None) -> str | None:
        """Return the one code that becomes `text`, given the value `beside` it; else None."""
        return self.codes.back(text, beside)

    def shape(self) -> Shape:
        """Return the form of the result."""
        return Shape("text", codes=self.codes.results, list_name=self.codes.name)

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield what the translation reads beside the value."""
        if self.beside is not None:
            yield self.beside


@dataclass(frozen=True, slots=True)
class Convert:
    """Converts a quantity exactly to another unit of its dimension, then rounds it as declared.

    `origin` is the unit of all values where there is only one.  What was given stays in the
    note of the transform, and so in the provenance.
    """

    units: Units
    to: str
    decimals: int
    rounding: str
    origin: str | None

    @property
    def loss(self) -> str:
        """Return what the conversion loses: nothing where it may not round and the unit is known."""
        return "exact" if self.rounding == "exact" and self.origin is not None else "lossy"

    def apply(self, value: Value, _beside: str = "") -> Value | None:
        """Return the value in the other unit."""
        unit, leaves = value.measured or (self.origin, ())
        if unit is None:
            raise MisfitError(FIELD_MISSING, f"{value.text[:_SHOWN]!r} has no unit", value.leaves)
        if not DECIMAL.fullmatch(value.text.strip()):
            raise MisfitError(RULE_BROKEN, f"{value.text[:_SHOWN]!r} is not a number", value.leaves)
        number = exact_number(value.text)
        exact = self.units.convert(number, unit, self.to)
        if exact is None:
            raise self._refusal(unit, leaves or value.leaves)
        rounded = round_exactly(exact, self.decimals, self.rounding)
        given = f"{decimal_text(number)} {unit}"
        if rounded is None:
            detail = f"{given} is not a number of {self.to} with {self.decimals} decimals"
            raise MisfitError(VALUE_DOES_NOT_FIT, detail, value.leaves)
        text = decimal_text(rounded) or "0"
        note = f"convert {given} to {text} {self.to}"
        if rounded != exact:
            note += f" (rounded {self.rounding} to {self.decimals})"
        return value._replace(text=text, transforms=(*value.transforms, note), unit=self.to)

    def _refusal(self, unit: str, leaves: tuple[int, ...]) -> MisfitError:
        known, wanted = self.units.get(unit), self.units.get(self.to)
        if known is None or wanted is None:
            return MisfitError(CODE_UNKNOWN, f"{unit[:_SHOWN]!r} is not in the table of units", leaves)
        detail = f"{unit} is a unit of {known.dimension}, {self.to} one of {wanted.dimension}"
        return MisfitError(RULE_BROKEN, detail, leaves)

    def undo(self, text: str, unit: str | None = None) -> str | None:
        """Return the quantity in `unit` (or in the one unit that it can have) that is exactly `text`.

        None where no finite decimal is, or where it would not become `text` again.
        """
        origin = unit or self.origin
        if origin is None or not DECIMAL.fullmatch(text.strip()):
            return None
        back = self.units.convert(exact_number(text), self.to, origin)
        return None if back is None else decimal_text(back)

    def shape(self) -> Shape:
        """Return the form of the result."""
        return Shape("decimal", fraction=self.decimals)

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield what the conversion reads beside the value and its unit: nothing."""
        yield from ()


Step = Form | Via | Convert


def _exists(text: str) -> bool:
    """Return whether a day, or a moment, is one of the calendar."""
    try:
        return bool(datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text))
    except ValueError:
        return False
