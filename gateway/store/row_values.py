"""The values of what is stored, by their names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["collect_values"]


def collect_values(new: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a dataclass with their values, which are not copied as `asdict` would."""
    names, read = _get_fields(type(new))
    return dict(zip(names, read(new), strict=True))


@cache
def _get_fields(kind: type[DataclassInstance]) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the names of the fields of a dataclass, which has several, and what reads them at once."""
    names = tuple(kind.__dataclass_fields__)
    return names, attrgetter(*names)
