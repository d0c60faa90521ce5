"""The values of what is stored, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["collect_values"]


def collect_values(new: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a dataclass with their values, which are not copied as `asdict` would."""
    return {name: getattr(new, name) for name in new.__dataclass_fields__}
