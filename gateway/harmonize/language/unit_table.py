"""The table of units: exact factors within one dimension, exact conversion, declared rounding."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gateway.harmonize.language.code_lists import read_csv_rows
from gateway.wire import SourceMark, YamlNode

_FACTOR: Final = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?|[0-9]{1,30}/[0-9]{1,30}")
_COLUMNS: Final = ("unit", "dimension", "factor", "source")
#: As many decimals as a product of ten numbers of 40 decimals has.
_MAX_DECIMALS: Final = 400
ROUNDING_NAMES: Final = ("half_up", "half_even", "down", "up", "exact")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: `factor` is its exact size in the base unit of its dimension."""

    code: str
    dimension: str
    factor: Fraction


@dataclass(frozen=True, slots=True)
class UnitTable:
    """The table of units, with its version and source."""

    units: Mapping[str, Unit] = field(default_factory=dict)
    version: str = ""
    source: str = ""

    def get(self, code: str) -> Unit | None:
        """Return the unit of a code, None when the table does not have it."""
        return self.units.get(code)

    def list_convertible_units(self, to: str) -> tuple[str, ...]:
        """Return the codes of the units that can be converted to the unit `to`, in the table's order."""
        target_unit = self.get(to)
        return tuple(
            unit.code
            for unit in self.units.values()
            if target_unit and unit.dimension == target_unit.dimension
        )

    def convert_quantity(self, number: Fraction, origin: str, to: str) -> Fraction | None:
        """Convert `number` from the unit `origin` to the unit `to`; None where they share no dimension."""
        source_unit, target_unit = self.get(origin), self.get(to)
        if source_unit is None or target_unit is None or source_unit.dimension != target_unit.dimension:
            return None
        return number * source_unit.factor / target_unit.factor


NO_UNITS: Final = UnitTable()


def read_unit_table(registry: YamlNode, read: Callable[[str], bytes]) -> UnitTable:
    """Return the units that a registry of code lists names under ``units``; none where it names none."""
    node = registry.read_table("codelists").get("units")
    if node is None:
        return NO_UNITS
    table = node.read_table("units")
    file = table.get_required("file").read_text("file")
    version, source = (
        table.get_required("version").read_text("version"),
        table.get_required("source").read_text("source"),
    )
    table.reject_unread_keys()
    units: dict[str, Unit] = {}
    for number, row in enumerate(read_csv_rows(read(file), file, _COLUMNS), 2):
        unit = _read_unit_row(row, SourceMark(file, number))
        if unit.code in units:
            raise SourceMark(file, number).make_error("unit", "each unit once", unit.code)
        units[unit.code] = unit
    return UnitTable(units, version, source)


def _read_unit_row(row: tuple[str, ...], mark: SourceMark) -> Unit:
    """Return the unit of a row; its factor is a positive decimal or a fraction such as ``1/3``."""
    code, dimension, factor, source = row
    if not dimension or not source:
        raise mark.make_error(code, "a dimension and a source", dimension or "no dimension")
    if not _FACTOR.fullmatch(factor):
        raise mark.make_error(code, "a factor as 0.45359237 or 1/3", factor)
    top, _, bottom = factor.partition("/")
    value = Fraction(top) / int(bottom or "1") if int(bottom or "1") else Fraction(0)
    if value <= 0:
        raise mark.make_error(code, "a factor above zero", factor)
    return Unit(code, dimension, value)


def round_fraction(number: Fraction, decimals: int, rounding: str) -> Fraction | None:
    """Return `number` rounded to `decimals`; None where `rounding` is exact and it would change.

    ``half_up`` and ``up`` round away from zero, ``down`` towards it, ``half_even`` a half to
    the even neighbour.
    """
    scale = 10**decimals
    whole, rest = divmod(abs(number) * scale, 1)
    if rest and rounding == "exact":
        return None
    half = Fraction(1, 2)
    rounds_up = {
        "exact": False,
        "down": False,
        "up": rest > 0,
        "half_up": rest >= half,
        "half_even": rest > half or (rest == half and whole % 2 == 1),
    }[rounding]
    rounded = Fraction(int(whole) + rounds_up, scale)
    return -rounded if number < 0 else rounded


def format_decimal(number: Fraction) -> str | None:
    """Return an exact number as a plain decimal; None where no finite decimal is equal to it."""
    rest, decimals = number.denominator, 0
    while rest % 10 == 0:
        rest, decimals = rest // 10, decimals + 1
    for prime in (2, 5):
        while rest % prime == 0:
            rest, decimals = rest // prime, decimals + 1
    if rest != 1 or decimals > _MAX_DECIMALS:
        return None
    digits = str(abs(number.numerator) * (10**decimals // number.denominator)).rjust(decimals + 1, "0")
    text = f"{digits[: len(digits) - decimals]}.{digits[len(digits) - decimals :]}".rstrip("0").rstrip(".")
    return f"-{text}" if number < 0 else text


def parse_fraction(text: str) -> Fraction:
    """Return the exact value of a decimal text."""
    return Fraction(Decimal(text.strip()))
